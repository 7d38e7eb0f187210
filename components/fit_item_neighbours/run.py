"""Finds the neighbours of each item in sessions, and how much their votes count beside the retriever."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from modit.data.catalog import Catalog
from modit.data.sessions import SessionPart, Sessions
from modit.semantic_ids.neighbours import fit_neighbours
from modit.semantic_ids.retriever import load_retriever

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, Any]:
    """Reads `catalog`, `item_codes` and the retriever after the last alignment; writes `item_neighbours`.

    That is neighbours.npz, and settings.json with the NDCG@10 of each setting on validation cases.

    Returns:
        The setting that is chosen.
    """
    sessions = Sessions(Catalog.load(context.input("catalog")).sequences)
    task, folder = context.params.evaluate_next_item, context.output("item_neighbours")
    retriever = load_retriever(
        context.input("next_item_retriever_adagrpo"), context.input("item_codes"), beams=task.beams
    )
    may_repeat = sessions.repeat_share(SessionPart.VALIDATION) >= task.repeats_min
    found, content = fit_neighbours(
        retriever, sessions, context.params.fit_item_neighbours, may_repeat, task.validation_cases, context.logger
    )
    found.save(folder)
    (folder / "settings.json").write_text(json.dumps(content, indent=1) + "\n")
    chosen: dict[str, Any] = content["chosen"]
    return chosen
