"""One task for all families: the exported retrievers of all runs answer the test sessions of `next_item`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from modit.core.errors import ArtifactError
from modit.data.sessions import SessionPart, Sessions
from modit.evaluate.evaluation import EvaluationSettings, evaluate_task
from modit.evaluate.families.facts import Member, Run
from modit.evaluate.families.families import MO_DIT, SEMANTIC_IDS
from modit.evaluate.next_item.names import EASE, ITEM_KNN, SASREC_BINARY, SASREC_FULL
from modit.evaluate.next_item.rows import Columns, SessionRow, sasrec_row, simple_rows
from modit.evaluate.next_item.task import NextItemTask
from modit.evaluate.params import NextItemParams
from modit.evaluate.storage import load_evaluation
from modit.evaluate.task import Json, Row
from modit.inference.items import load_items
from modit.inference.next_item import load_next_item
from modit.inference.retrieval import Query, Retriever, SearchResult, retriever_over
from modit.inference.runtime import load_sampler
from modit.inference.sampler_file import SAMPLER_FILE
from modit.inference.sessions import SessionQuery
from modit.metric.second_stage import SecondStage


@dataclass(frozen=True, eq=False)
class SeedsFromSessions:
    """A retriever of the task `seeds` that answers sessions: their last items are the seeds.

    Attributes:
        first: Answers with the seeds.
        embeddings: Of the catalogue, [N, d].
        most: Seeds that it takes at most.
    """

    first: Retriever[Query]
    embeddings: np.ndarray
    most: int

    def retrieve(self, requests: Sequence[SessionQuery]) -> list[SearchResult]:
        """Answers all requests; every one needs an item in its history."""
        return self.first.retrieve(
            [
                Query(self.embeddings[each.history[-self.most :]], each.k, exclude=each.exclude, allowed=each.allowed)
                for each in requests
            ]
        )


def judge_on_sessions(runs: Sequence[Run], cases: int, seed: int) -> Json:
    """Judges families that can answer sessions, and rows that a team would try first, on a catalogue's test sessions.

    Settings of the simple rows are those that the evaluation of a run of `semantic_ids` chose; without such a run,
    they are chosen on validation here.

    Args:
        runs: Over the same items.
        cases: Most test sessions, evenly drawn; 0 for all.
        seed: Of the bootstrap over users.

    Returns:
        As `evaluation.json` of the task `next_item`, with `left_out`: row -> why it is not there. Where nothing can be
        judged, {"missing": reason}.
    """
    members = [member for run in runs for member in run.members() if member.family in (MO_DIT, SEMANTIC_IDS)]
    if not members:
        return {"missing": "no run has a retriever that can answer sessions", "left_out": {}}
    source = next((each for each in members if each.family is SEMANTIC_IDS), members[0])
    catalog, left_out = source.run.catalog, dict[str, str]()
    columns, models = Columns.of(catalog.item_ids), list[Row[SessionQuery]]()
    several = len(runs) > 1 and len({(each.family.name, each.domain) for each in members}) < len(members)
    for member in members:
        name = f"{member.name} ({member.run.name})" if several else member.name
        try:
            models.append(Row(name, "model", _retriever(member)))
        except ArtifactError as error:
            left_out[name] = member.reason(error)
    if not models:
        return {"missing": "no run has an exported retriever", "left_out": left_out}
    for name, folder in ((SASREC_BINARY, "binary"), (SASREC_FULL, "full")):
        if source.manifest("sasrec"):
            models.append(sasrec_row(name, source.folder("sasrec") / folder / "model.pt", columns))
    sessions, chosen = Sessions(catalog.sequences), _chosen(source)
    if len(sessions.training.items) == 0 or not len(sessions.targets(SessionPart.TEST)):
        return {"missing": "the catalogue has no session of three items and more", "left_out": left_out}
    params = _params(source).model_copy(update={"test_cases": cases})
    ease = params.ease_items_max if EASE in chosen else 0
    simple = [_at(row, chosen) for row in simple_rows(sessions.training, columns, ease)]
    task = NextItemTask(sessions, len(catalog), models[0].name, ITEM_KNN, params)
    evaluation = evaluate_task(task, simple, models, EvaluationSettings(seed, params.resamples))
    return evaluation.content | {"left_out": left_out}


def _retriever(member: Member) -> Retriever[SessionQuery]:
    """What a run exported of a family, as it answers sessions."""
    folder = member.folder(member.exported)
    return load_next_item(folder) if member.family is not MO_DIT else _sampler(member)


def _sampler(member: Member) -> SeedsFromSessions:
    """The queries are those of the service, with what is known of the patterns; lists are not reranked."""
    folder = member.folder("sampler")
    sampler, digests = load_sampler(folder / SAMPLER_FILE), (member.info()["index_digest"], "")
    items = load_items(member.folder("index"), member.folder("catalog"), digests)
    patterns = None
    if member.manifest("second_stage"):
        patterns = SecondStage.load(member.folder("second_stage"), *items.embeddings.shape).patterns
    retriever = replace(retriever_over(sampler, items, patterns), together=True)
    return SeedsFromSessions(retriever, np.asarray(items.embeddings), sampler.info.maximum_seeds)


def _chosen(source: Member) -> dict[str, Json]:
    """Row -> the setting that its evaluation chose on validation; nothing where there is no evaluation to read."""
    if source.family is not SEMANTIC_IDS:
        return {}
    try:
        content = load_evaluation(source.folder(source.family.evaluation))
    except ArtifactError:
        return {}
    rows = content["splits"][str(SessionPart.TEST)].get("rows", [])
    return {row["name"]: row["tuned"]["setting"] for row in rows if row["tuned"]}


def _at(row: SessionRow, chosen: dict[str, Json]) -> SessionRow:
    return replace(row, grid=[chosen[row.name]]) if row.name in chosen else row


def _params(source: Member) -> NextItemParams:
    """Those of the run's own evaluation, so that equal cases get equal figures."""
    manifest = source.manifest(source.family.evaluation)
    section = manifest.key_parts.get("params", {}).get("evaluate_next_item", {}) if manifest else {}
    return NextItemParams.model_validate(section)
