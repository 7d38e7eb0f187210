"""Judges BM25, the towers and both fused on the judged lists of the test queries and on the whole catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modit.core.names import SEARCH
from modit.core.seeds import derived_seed
from modit.data.catalog import Catalog
from modit.data.judged_queries import JudgedQueries, QueryPart
from modit.evaluate.bm25 import bm25_grid
from modit.evaluate.evaluation import EvaluationSettings, evaluate_task, headline
from modit.evaluate.report.task_page import save_page
from modit.evaluate.search.names import ALIKE, FOLDERS, FUSED, INDEXED, SPACE, SYMMALIGNER
from modit.evaluate.search.rows import Bm25Row, IndexedTowers, ScoredTexts, SpaceScorer, TowerScorer
from modit.evaluate.search.task import SearchTask
from modit.evaluate.storage import save_evaluation
from modit.evaluate.task import Row
from modit.index.consistent_index import ConsistentIndex
from modit.inference.search import load_search, ties_of
from modit.release.bundle.judged_once import exported_digests
from modit.release.gate.champion import Champion, load_champion_judged_once
from modit.release.kinds import OF_TEXTS
from modit.towers.alignment import misalignment
from modit.towers.encoder import load_towers
from modit.towers.training import titles_of

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads `catalog`, `towers`, `consistent_index`, `exported_towers` and `search_champion`.

    The row that is compared with all others is both lists fused, as the exported files answer. Writes
    `search_evaluation`: evaluation.json, per_case.npz and report.html. BM25's settings are chosen on validation
    queries; those of the fused row were at the export.
    """
    catalog, judged = Catalog.load(context.input("catalog")), JudgedQueries.load(context.input("catalog"))
    titles, ties, least = titles_of(catalog), ties_of(catalog.item_ids), context.params.train_towers.relevant_min
    towers = {name: load_towers(context.input("towers") / folder) for name, folder in FOLDERS.items()}
    scorers = {name: TowerScorer(model, model.encode(titles, "item")) for name, model in towers.items()}
    records = {
        name: misalignment(model, judged, QueryPart.TEST, titles, scorers[name].items, least)
        for name, model in towers.items()
    }
    index, exported = ConsistentIndex.load(context.input("consistent_index")), context.input("exported_towers")
    served = load_search(exported, catalog.item_ids)
    models = [
        *(Row(name, "model", ScoredTexts(scorer, ties)) for name, scorer in scorers.items()),
        Row(INDEXED, "model", IndexedTowers(scorers[SYMMALIGNER], index)),
        Row(ALIKE, "model", ScoredTexts(served.words, ties)),
        Row(FUSED, "model", served),
    ]
    if (space := towers[SYMMALIGNER].space) is not None:
        models.append(Row(SPACE, "model", ScoredTexts(SpaceScorer(space), ties)))
    champion = Champion.load(context.input("search_champion"))
    baseline = load_champion_judged_once(SEARCH, champion, context.input("search_champion"))
    params = context.params.evaluate_search
    task = SearchTask(judged, least, params, {"items": len(catalog), "misalignment": records})
    settings = EvaluationSettings(derived_seed(context.seed, "evaluate_search"), params.resamples)
    evaluation = evaluate_task(task, [Bm25Row(titles, ties, bm25_grid(params.stemmer))], models, settings, baseline)
    # What was judged, for the gate: the candidate by its files, the champion by its version.
    judged_files = exported_digests(OF_TEXTS, exported) | {"champion": champion.facts}
    folder = context.output("search_evaluation")
    save_evaluation(folder, evaluation, judged_files)
    save_page(folder, evaluation.content, context.run_config.catalogue.rstrip("/").rsplit("/", 1)[-1])
    return headline(evaluation.content, task.primary)
