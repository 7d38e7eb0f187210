"""Tries an exported retriever as the service runs it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from components.judged_once import retriever_of
from modit.release.bundle.judged_once import exported_digests
from modit.release.gate.servability import MEASURED, judge_trial, save_servability, try_in_fresh_process
from modit.release.kinds import CATALOG, RETRIEVER, kind_of

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads the exported retriever and the catalogue; writes the trial: servability.json.

    What was measured is the summary.
    """
    params, retriever = context.params.servability, retriever_of(context.step)
    kind = kind_of(retriever.name)
    folders = {RETRIEVER: context.input(retriever.exported), CATALOG: context.input("catalog")}
    digests = exported_digests(kind, folders[RETRIEVER])
    found = try_in_fresh_process(folders, digests, context.scratch, params, kind.retriever)
    checks = judge_trial(found, params)
    for check in checks:
        context.logger.log(logging.INFO if check.holds else logging.ERROR, "%s: %s", check.name, check.sentence)
    save_servability(context.output(retriever.servability), checks, digests, params)
    return {name: found[name] for name in MEASURED if name in found}
