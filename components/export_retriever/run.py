"""Exports the retriever after its last alignment, and refuses it unless it decodes the same IDs as torch."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from modit.core.storage import sha256_of_file
from modit.data.catalog import Catalog
from modit.data.sessions import SessionPart, Sessions
from modit.evaluate.next_item.task import DEPTH
from modit.export.next_item import export_decoder, search_parity
from modit.index.item_codes import CODES_FILE
from modit.index.item_neighbours import NEIGHBOURS_FILE, ItemNeighbours
from modit.index.quantizer import QUANTIZER_FILE, Quantizer
from modit.inference.answers import Answer, save_answers
from modit.inference.exported_files import PARITY_FILE, item_ids_digest
from modit.inference.next_item import SessionRetriever, load_next_item, open_network
from modit.inference.next_item_files import NextItemInfo
from modit.inference.sessions import SessionQuery
from modit.semantic_ids.retriever import MODEL_FILE, load_decoder, load_retriever

if TYPE_CHECKING:
    from modit.core.context import StepContext

# Sessions whose answers are kept, and those that torch and the files are compared on.
_ANSWERS, _SESSIONS = 32, 65


def run(context: StepContext) -> dict[str, object]:
    """Reads the retriever after the last alignment, the IDs, quantiser and neighbours of items; writes its files.

    The artifact `exported_retriever`: encode.onnx, step.onnx, vectors of nodes and items as .npy, item_codes.npz,
    quantizer.npz, neighbours.npz, retriever.json, parity.json, and answers.json with what torch recommends after the
    first sessions. Beams are those that the evaluation judges.

    Raises:
        ParityError: the files do not decode the same IDs as torch.
    """
    catalog, folder = Catalog.load(context.input("catalog")), context.output("exported_retriever")
    trained, codes = context.input("next_item_retriever_adagrpo"), context.input("item_codes")
    near = context.input("item_neighbours") / NEIGHBOURS_FILE
    by_torch = load_retriever(trained, codes, beams=context.params.evaluate_next_item.beams)
    by_torch = replace(by_torch, neighbours=ItemNeighbours.load(near))
    model = load_decoder(trained / MODEL_FILE, by_torch.codes)
    export_decoder(model, folder)
    for file in (codes / CODES_FILE, codes / QUANTIZER_FILE, near):
        shutil.copyfile(file, folder / file.name)
    info = NextItemInfo(
        vocabulary=model.config.vocabulary,
        width=model.config.width,
        depth=model.config.depth,
        heads=model.config.heads,
        session_items=by_torch.session_items,
        items=len(catalog),
        item_tokens=model.config.items,
        within_trie=model.config.within_trie,
        dimension=Quantizer.load(folder / QUANTIZER_FILE).dimension,
        beams=by_torch.beams,
        k=DEPTH,
        item_ids_digest=item_ids_digest(catalog.item_ids),
        model_digest=sha256_of_file(trained / MODEL_FILE),
    )
    sessions = _sessions(Sessions(catalog.sequences))
    exported = replace(by_torch, network=open_network(folder, info))
    parity = search_parity(by_torch, exported, [*sessions, np.empty(0, np.int64)])
    (folder / PARITY_FILE).write_text(json.dumps(parity, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    save_answers(folder, _answers(SessionRetriever(by_torch), sessions[:_ANSWERS], catalog.item_ids))
    info.save(folder)
    load_next_item(folder)
    context.logger.info("parity: greatest difference %.1e", parity["greatest_difference"])
    return {"greatest_difference": parity["greatest_difference"]}


def _sessions(sessions: Sessions) -> list[np.ndarray]:
    """What comes before the validation item, of sessions evenly drawn."""
    histories = sessions.histories(SessionPart.VALIDATION)
    chosen = np.unique(np.linspace(0, len(histories) - 1, min(_SESSIONS, len(histories))).round().astype(int))
    return [histories[index].astype(np.int64) for index in chosen.tolist()]


def _answers(retriever: SessionRetriever, sessions: list[np.ndarray], item_ids: np.ndarray) -> list[Answer]:
    """What the service has to answer, by torch; items of the session are no results."""
    found = retriever.retrieve([SessionQuery(rows, DEPTH, rows) for rows in sessions])
    return [
        Answer(item_ids[rows].tolist(), item_ids[each.rows].tolist(), each.scores.tolist())
        for rows, each in zip(sessions, found, strict=True)
    ]
