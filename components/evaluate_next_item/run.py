"""Judges semantic IDs, SASRec, EASE, item-kNN and popularity on the last item of each session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modit.core.names import NEXT_ITEM
from modit.core.seeds import derived_seed
from modit.data.catalog import Catalog
from modit.data.sessions import Sessions
from modit.evaluate.evaluation import EvaluationSettings, evaluate_task, headline
from modit.evaluate.next_item.names import (
    ITEM_KNN,
    SASREC_BINARY,
    SASREC_FULL,
    SASREC_NEIGHBOURS,
    SEMANTIC_IDS,
    SEMANTIC_IDS_ADAGRPO,
    SEMANTIC_IDS_RAD_DPO,
    SERVED,
)
from modit.evaluate.next_item.rows import Columns, sasrec_row, simple_rows, voted_row
from modit.evaluate.next_item.task import NextItemTask
from modit.evaluate.report.task_page import save_page
from modit.evaluate.storage import save_evaluation
from modit.evaluate.task import Row
from modit.index.id_retrieval import IdRetriever
from modit.inference.next_item import SessionRetriever, load_next_item
from modit.release.bundle.judged_once import exported_digests
from modit.release.gate.champion import Champion, load_champion_judged_once
from modit.release.kinds import OF_SESSIONS
from modit.semantic_ids.retriever import load_retriever

if TYPE_CHECKING:
    from modit.core.context import StepContext


_LAST = "next_item_retriever_adagrpo"
# The network before, between and after its alignments.
_NETWORKS = {
    SEMANTIC_IDS: "next_item_retriever",
    SEMANTIC_IDS_RAD_DPO: "next_item_retriever_rad_dpo",
    SEMANTIC_IDS_ADAGRPO: _LAST,
}


def run(context: StepContext) -> dict[str, object]:
    """Reads `catalog`, `item_codes`, `sasrec`, the retriever before and after each alignment, and the champion.

    The row that is compared with all others is the retriever after the last alignment with the votes of neighbours, as
    its exported files answer.
    Writes `next_item_evaluation`: evaluation.json, per_case.npz and report.html.
    """
    catalog = Catalog.load(context.input("catalog"))
    sessions, params = Sessions(catalog.sequences), context.params.evaluate_next_item
    sessions.require_training()
    codes, columns = context.input("item_codes"), Columns.of(catalog.item_ids)
    exported = context.input("exported_retriever")
    free = load_retriever(context.input(_LAST), codes, constrained=False, beams=params.beams)
    champion = Champion.load(context.input("next_item_champion"))
    baseline = load_champion_judged_once(NEXT_ITEM, champion, context.input("next_item_champion"))
    models = [
        *(
            Row(name, "model", SessionRetriever(load_retriever(context.input(artifact), codes, beams=params.beams)))
            for name, artifact in _NETWORKS.items()
        ),
        Row(SERVED, "model", load_next_item(exported)),
        *(
            sasrec_row(name, context.input("sasrec") / loss / "model.pt", columns)
            for name, loss in ((SASREC_BINARY, "binary"), (SASREC_FULL, "full"))
        ),
    ]
    task = NextItemTask(sessions, len(catalog), SERVED, SASREC_FULL, params, _over_all_tokens(free))
    settings = EvaluationSettings(derived_seed(context.seed, "evaluate_next_item"), params.resamples)
    simple = simple_rows(sessions.training, columns, params.ease_items_max)
    evaluation = evaluate_task(
        task,
        simple,
        models,
        settings,
        baseline,
        lambda rows: [voted_row(SASREC_NEIGHBOURS, rows[SASREC_FULL], rows[ITEM_KNN])],
    )
    # What was judged, for the gate: the candidate by its files, the champion by its version.
    records = exported_digests(OF_SESSIONS, exported) | {"champion": champion.facts}
    folder = context.output("next_item_evaluation")
    save_evaluation(folder, evaluation, records)
    save_page(folder, evaluation.content, context.run_config.catalogue.rstrip("/").rsplit("/", 1)[-1])
    return headline(evaluation.content, task.primary)


def _over_all_tokens(free: IdRetriever) -> SessionRetriever | None:
    """Decodes without the trie; None for a network that was trained within it, as it knows no other IDs."""
    return SessionRetriever(free) if free.softmax is None else None
