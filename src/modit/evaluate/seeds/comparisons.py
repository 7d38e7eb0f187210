"""Which rows of the task `seeds` are compared: HPPO and what is served of it with others, and MO-DiT with Pre. GR."""

from __future__ import annotations

from collections.abc import Mapping

from modit.evaluate import names
from modit.evaluate.task import Comparisons, Row, Scores, greatest, rows_of_kind
from modit.inference.retrieval import Query


def compared_rows(rows: Mapping[str, Row[Query]], scores: Mapping[str, Scores], primary: str) -> Comparisons:
    """The pairs of rows of a split.

    Args:
        rows: Of the split by name; classical ones say what validation gave.
        scores: Of the rows, on its cases.
        primary: Name of the figure that decides.
    """
    classical, two_stage = rows_of_kind(rows, "classical"), rows_of_kind(rows, "two_stage")
    on_test = greatest({name: float(scores[name][primary].mean()) for name in classical})
    on_validation = greatest({name: rows[name].setting["tuned"].validation for name in classical})
    variants = [name for name in rows_of_kind(rows, "model") if name not in names.STAGES]
    others = [*classical, *two_stage, *variants]
    pairs = {
        names.AGAINST_SFT: (names.POLICY, names.SFT),
        names.SFT_GAIN: (names.SFT, names.PRETRAINED),
        # Against the row that is best on the test cases themselves: harder than any choice made on validation.
        names.AGAINST_CLASSICAL: (names.POLICY, on_test),
        names.AGAINST_VALIDATED: (names.POLICY, on_validation),
    } | {names.against(name): (names.POLICY, name) for name in others}
    pairs[names.SERVED_AGAINST_AVERAGE] = (names.SERVED, names.AVERAGE)
    if names.FROM_ENGINE in rows:
        pairs[names.ENGINE_COST] = (names.FROM_ENGINE, names.SERVED)
    if names.CHAMPION in rows:
        pairs[names.AGAINST_CHAMPION] = (names.SERVED, names.CHAMPION)
    best = {"test": on_test, "validation": on_validation}
    if two_stage:
        best["two_stage"] = greatest({name: float(scores[name][primary].mean()) for name in two_stage})
        pairs[names.AGAINST_TWO_STAGE] = (names.SERVED, best["two_stage"])
    return Comparisons(best, pairs)
