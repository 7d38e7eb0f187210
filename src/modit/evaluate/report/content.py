"""`report.json`: the evaluations of all domains, the facts of the run, and the cells that are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from modit.data.splits import HOLDOUTS
from modit.evaluate import names
from modit.evaluate.bootstrap import MINIMUM_PATTERNS, TOO_FEW, direction

Json = dict[str, Any]

SCHEMA_VERSION = 4
HEADLINES = (
    names.AGAINST_SFT,
    names.SFT_GAIN,
    names.AGAINST_CLASSICAL,
    names.AGAINST_AVERAGE,
    names.AGAINST_TWO_STAGE,
)


@dataclass(frozen=True)
class RunFacts:
    """Facts of the run for the report.

    Attributes:
        catalogue: name of the input.
        preset: size preset.
        seed: of the run.
        skipped_domains: domain -> why it was not trained.
    """

    catalogue: str
    preset: str
    seed: int
    skipped_domains: Mapping[str, str]


def build_report(evaluations: Mapping[str, Json], facts: RunFacts) -> Json:
    """Puts the evaluations of all domains together.

    Args:
        evaluations: domain -> content of its `evaluation.json`.
        facts: of the run.

    Returns:
        `schema_version`, `run`, `rules`, `cells` (a domain and split each), `mean_joint` and `counts` over the cells,
        `domains`, and `whole_catalogue` with the same cells, means and counts where every scored item may be a result.
    """
    domains = dict(sorted(evaluations.items()))
    cells, whole = _cells(domains), _cells(domains, "whole_catalogue")
    return {
        "schema_version": SCHEMA_VERSION,
        "run": asdict(facts) | {"skipped_domains": dict(sorted(facts.skipped_domains.items()))},
        "rules": protocol_rules(domains),
        "cells": cells,
        "mean_joint": _mean_joint(cells),
        "counts": {name: _count(name, cells) for name in _compared(cells)},
        "whole_catalogue": {
            "cells": whole,
            "mean_joint": _mean_joint(whole),
            "counts": {name: _count(name, whole) for name in _compared(whole)},
        },
        "domains": domains,
    }


def _cells(domains: Mapping[str, Json], scope: str | None = None) -> list[Json]:
    return [
        _cell(domain, split, (content[scope] if scope else content)["splits"][split])
        for domain, content in domains.items()
        for split in HOLDOUTS
    ]


def _cell(domain: str, split: str, result: Json) -> Json:
    cell = {"domain": domain, "split": split, "cases": result["cases"], "reason": result.get("reason")}
    if not result["cases"]:
        return cell
    joint = {row["name"]: row["joint"] for row in result["rows"]}
    compared = {entry["name"]: entry for entry in result["comparisons"]}
    best = result["best_classical"]
    rows = {
        "average": names.AVERAGE,
        "best_classical": best["test"],
        "mo_dit": names.SFT,
        "hppo": names.POLICY,
        "best_two_stage": best["two_stage"],
        "hppo_reranked": names.reranked(names.POLICY),
        "filter": names.FILTER,
    }
    headlines: tuple[str, ...] = HEADLINES
    if names.UNTRAINED in joint:
        rows["before_training"], headlines = names.UNTRAINED, (*HEADLINES, names.AGAINST_UNTRAINED)
    return cell | {
        "patterns": result["patterns"],
        "best_classical": best["test"],
        "best_two_stage": best["two_stage"],
        "joint": {key: joint[name] for key, name in rows.items()},
        "differences": {name: compared[name]["joint"] for name in headlines},
        "same_differences": {name: compared[name]["same"] for name in headlines},
    }


def _compared(cells: list[Json]) -> tuple[str, ...]:
    """The comparisons of the headline; that with before training where a domain was added to a run."""
    added = any(names.AGAINST_UNTRAINED in cell.get("differences", {}) for cell in cells)
    return (*HEADLINES, names.AGAINST_UNTRAINED) if added else HEADLINES


def _mean_joint(cells: list[Json]) -> dict[str, float]:
    """Mean Joint@K over the judged cells; empty where none was judged."""
    judged = [cell["joint"] for cell in cells if cell["cases"]]
    return {name: sum(joint[name] for joint in judged) / len(judged) for name in judged[0]} if judged else {}


def _count(name: str, cells: list[Json]) -> Json:
    """How many cells lie above or below zero: by the mean, by the interval over patterns, and by the one over cases."""
    found = [cell["differences"][name] for cell in cells if cell["cases"]]
    sides = [direction(entry) for entry in found]
    return {
        "cells": len(found),
        "mean_above": sum(entry["mean"] > 0 for entry in found),
        "above": sides.count(1),
        "below": sides.count(-1),
        "too_few_patterns": sides.count(None),
        "above_by_case": sum(entry["case_low"] > 0 for entry in found),
    }


def protocol_rules(domains: Mapping[str, Json]) -> list[str]:
    """The rules under which the figures were measured, in words."""
    content = next(iter(domains.values()))
    k, resamples, items = content["k"], content["resamples"], content["catalog"]["items"]
    return [
        "Discovery: only items whose verdict nobody has used can be results, because where a verdict is known a filter "
        f"finds the item. Of {items:,} items these are the scored ones whose role is test. K shrinks with their share, "
        f"to {k} here, so that a list covers the same neighbourhood. Choices are made in the same way, on the items "
        "whose role is validation. Beside it stands the whole catalogue, where every scored item can be a result; it "
        f"decides nothing. Every query searches the {content['catalog']['index_kind']} index. There are no sampled "
        "negatives.",
        "The seeds of a case are never counted as results: left out of the list, which is filled up from below.",
        "Item hold-out: the seeds and tails of a case are items that a hash of their id set aside, in patterns that "
        "training saw. Pattern hold-out: whole patterns that no stage which updates weights, and no choice, has seen.",
        "In a domain an item is test if it or its pattern is, else validation if either is. Weights learn from train "
        "items only, and their rewards come from searches that can return train items only. Choices are made on "
        "validation cases.",
        "The setting of each classical row, reranked or not, is chosen on the validation cases of the matching kind by "
        "mean Joint; the guidance of each model on those of both kinds. “Best classical” and “best two-stage” are "
        "the rows that are best on the test cases themselves, which is harder to beat than any choice that validation "
        "could make.",
        "Classical rows answer with one closed-form query, made of the seeds and of the verdicts of train items. "
        "Two-stage rows fetch a list that is up to 25 times longer and order it by inner product + weight * log-odds "
        "of the attribute, of a model that is fitted on the verdicts of train items: logistic regression, nearest "
        "neighbours, boosted trees, or their mean. Where that is better on validation, items outside the known pattern "
        "nearest to the seeds come last. HPPO + rerank is the second stage that is served: it orders by inner product "
        "+ weight * log P(attribute and pattern). Its attribute model is the one of least log-loss on validation "
        "items, calibrated there; how likely an item lies in the pattern follows from the centres of the patterns that "
        "training knows; and it is off where it is worse on validation by more than one standard error.",
        "All rows see the same cases, and all models the same noise for a case.",
        f"Intervals are 95 % of a paired bootstrap with {resamples:,} resamples of whole patterns, because cases of "
        f"one pattern are not independent. With fewer than {MINIMUM_PATTERNS} patterns a cell has no such interval: "
        f"{TOO_FEW}. "
        "Intervals that resample cases, as the paper does, are shown too. They are too narrow and decide nothing.",
        "Joint: results with the attribute and in the seeds' pattern. Attr: with the attribute. Same: in the pattern. "
        "Cond: Joint over Attr, averaged over the cases that retrieved the attribute at all. AUC: how often a held-out "
        "high-density item of the group is nearer to the query than a seed.",
        "The row Before training is there where a domain was added to a run: what the verdicts of its train items give "
        "without training. Directions are fitted on them, and moves vote with the mean weights of the domains that the "
        "run before has trained, as `modit query --verdicts` and the service answer.",
        "The row Champion, where there is one, is the exported sampler that answers today, at the guidance that it is "
        "served with. Of patterns that are held out today it may have seen some: that is in its favour.",
        "Oracle rows look at the answer: the centroid of the held-out tail, the best of eight candidates by its true "
        "Joint, and the filter: the positives nearest to the seeds' mean, which needs the verdict of every item. They "
        "are ceilings, not competitors.",
    ]
