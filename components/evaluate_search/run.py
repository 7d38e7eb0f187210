"""Judges BM25, the towers and both fused on the judged lists of the test queries and on the whole catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from modit.core.seeds import derived_seed
from modit.data.catalog import Catalog
from modit.data.judged_queries import JudgedQueries, QueryPart
from modit.evaluate.evaluation import EvaluationSettings, evaluate_task, headline
from modit.evaluate.report.task_page import save_page
from modit.evaluate.search.names import BM25, FOLDERS, FUSED, INDEXED, SYMMALIGNER
from modit.evaluate.search.rows import Bm25Row, Bm25Scorer, FusedRow, IndexedTowers, ScoredTexts, TowerScorer, ties_of
from modit.evaluate.search.task import SearchTask
from modit.evaluate.storage import save_evaluation
from modit.evaluate.task import Row
from modit.inference.texts import TextQuery
from modit.towers.alignment import misalignment
from modit.towers.consistent_index import ConsistentIndex
from modit.towers.encoder import load_towers
from modit.towers.training import titles_of

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads `catalog`, `towers` and `consistent_index`.

    Writes `search_evaluation`: evaluation.json, per_case.npz and report.html. BM25's numbers and the constant of the
    fusion are chosen on validation queries.
    """
    catalog, judged = Catalog.load(context.input("catalog")), JudgedQueries.load(context.input("catalog"))
    titles, ties, least = titles_of(catalog), ties_of(catalog.item_ids), context.params.train_towers.relevant_min
    towers = {name: load_towers(context.input("towers") / folder) for name, folder in FOLDERS.items()}
    scorers = {name: TowerScorer(model, model.encode(titles, "item")) for name, model in towers.items()}
    records = {
        name: misalignment(model, judged, QueryPart.TEST, titles, scorers[name].items, least)
        for name, model in towers.items()
    }
    index = ConsistentIndex.load(context.input("consistent_index"))
    models = [
        *(Row(name, "model", ScoredTexts(scorer, ties)) for name, scorer in scorers.items()),
        Row(INDEXED, "model", IndexedTowers(scorers[SYMMALIGNER], index)),
    ]
    params = context.params.evaluate_search
    task = SearchTask(judged, least, params, {"items": len(catalog), "misalignment": records})
    settings = EvaluationSettings(derived_seed(context.seed, "evaluate_search"), params.resamples)

    def with_bm25(rows: Mapping[str, Row[TextQuery]]) -> list[FusedRow]:
        bm25 = Bm25Scorer(titles, **rows[BM25].setting["tuned"].setting)
        return [FusedRow(FUSED, [bm25, scorers[SYMMALIGNER]], ties)]

    evaluation = evaluate_task(task, [Bm25Row(titles, ties)], models, settings, derive=with_bm25)
    folder = context.output("search_evaluation")
    save_evaluation(folder, evaluation, {})
    save_page(folder, evaluation.content, context.run_config.catalogue.rstrip("/").rsplit("/", 1)[-1])
    return headline(evaluation.content, task.primary)
