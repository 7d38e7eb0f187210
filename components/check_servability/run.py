"""Tries the candidate of a domain as the service would run it, beside what answers today."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from modit.inference.retrieval import Query, generate_queries
from modit.inference.sampler_file import PRECISIONS, digest_name
from modit.release.gate.change_preview import preview_change, save_change
from modit.release.gate.servability import (
    judge_trial,
    judge_variants,
    measured_figures,
    save_servability,
    try_in_fresh_process,
)

if TYPE_CHECKING:
    from modit.core.context import StepContext

_DIGESTS = ("index_digest", *(digest_name(precision) for precision in PRECISIONS))


def run(context: StepContext) -> dict[str, object]:
    """Reads the sampler with index and catalogue, and `champion`.

    Writes `servability`: servability.json; and `change`: change.json, change.md. What was measured is the summary.
    """
    params, folders = context.params.servability, {name: context.input(name) for name in context.step.inputs}
    facts = json.loads((folders["sampler"] / "sampler.json").read_text(encoding="utf-8"))
    digests = {name: facts[name] for name in _DIGESTS if name in facts}
    tried = {name: folders[name] for name in ("sampler", "index", "catalog")}
    found = try_in_fresh_process(tried, digests, context.scratch, params)
    variants = judge_variants(found, digests, params).values()
    for check in [*judge_trial(found, params), *(check for checks in variants for check in checks)]:
        context.logger.log(20 if check.holds else 40, "%s: %s", check.name, check.sentence)
    save_servability(context.output("servability"), found, digests, params)
    change = preview_change(folders, context.domain, lambda of, seeds: generate_queries(of, [Query(seeds, k=1)])[0])
    save_change(context.output("change"), change)
    return measured_figures(found)
