"""Tries the candidate of a domain as the service runs it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from modit.core.storage import sha256_of_file
from modit.metric.second_stage import SECOND_STAGE_FILE
from modit.release.documents import read_strictly
from modit.release.gate.servability import MEASURED, judge_trial, save_servability, try_in_fresh_process

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads sampler and second stage with index and catalogue; writes `servability`: servability.json.

    What was measured is the summary.
    """
    params, folders = context.params.servability, {name: context.input(name) for name in context.step.inputs}
    facts = read_strictly(folders["sampler"] / "sampler.json")
    digests = {name: facts[name] for name in ("index_digest", "sampler_digest")}
    digests["second_stage_digest"] = sha256_of_file(folders["second_stage"] / SECOND_STAGE_FILE)
    found = try_in_fresh_process(folders, digests, context.scratch, params)
    checks = judge_trial(found, params)
    for check in checks:
        context.logger.log(logging.INFO if check.holds else logging.ERROR, "%s: %s", check.name, check.sentence)
    save_servability(context.output("servability"), checks, digests, params)
    return {name: found[name] for name in MEASURED if name in found}
