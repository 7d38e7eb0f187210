"""Tries the exported retriever as the service runs it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from modit.release.bundle.making import exported_digests
from modit.release.gate.servability import MEASURED, judge_trial, save_servability, try_in_fresh_process
from modit.release.kinds import SEMANTIC_IDS

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads the exported retriever and the catalogue; writes `next_item_servability`: servability.json.

    What was measured is the summary.
    """
    params = context.params.servability
    folders = {"retriever": context.input("exported_retriever"), "catalog": context.input("catalog")}
    digests = exported_digests(folders["retriever"])
    found = try_in_fresh_process(folders, digests, context.scratch, params, SEMANTIC_IDS)
    checks = judge_trial(found, params)
    for check in checks:
        context.logger.log(logging.INFO if check.holds else logging.ERROR, "%s: %s", check.name, check.sentence)
    save_servability(context.output("next_item_servability"), checks, digests, params)
    return {name: found[name] for name in MEASURED if name in found}
