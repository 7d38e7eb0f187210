"""Fits the second stage of a domain: the attribute model, its calibration, and whether lists are reranked."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from components.fit_second_stage import MODEL
from modit.core.seeds import derived_seed
from modit.hppo.chain import MODEL_FILE, serving_guidance
from modit.hppo.second_stage import served_queries, try_rerank
from modit.hppo.validation import load_validator
from modit.metric.attribute_model import fit_attribute_odds
from modit.metric.known_patterns import KnownPatterns
from modit.metric.second_stage import SecondStage
from modit.model.axes import Geometry
from modit.model.readout import READOUT_FILE, readout_of_json
from modit.training.checkpoint import load_model

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads the domain's verdicts, the last HPPO model and the readout.

    Writes `second_stage`: log_odds.npy, patterns.npz, second_stage.json.
    """
    folders = {name: context.input(name) for name in ("catalog", "patterns", "predictor", "cases", "index")}
    params, domain = context.params.fit_second_stage, context.domain
    validator = load_validator(folders, domain, context.params)
    seed = derived_seed(context.seed, "second-stage", domain)
    odds = fit_attribute_odds(validator.verdicts, validator.visible, params.kinds, params.fewest_of_a_kind, seed)

    folder = context.input(MODEL)
    content = json.loads((context.input("readout") / READOUT_FILE).read_text(encoding="utf-8"))
    readout = readout_of_json(content, Geometry.of(validator.geometry))
    patterns = KnownPatterns.of(validator.verdicts, validator.patterns.labels)
    queries = served_queries(load_model(folder / MODEL_FILE), readout, serving_guidance(folder), validator, patterns)
    stage = SecondStage(odds.log_odds, patterns, params.depth, params.weight, params.sharpness, True)
    trial = try_rerank(queries, validator, stage)
    enabled = not trial.hurts if params.default == "auto" else params.default == "on"
    facts = odds.facts() | {"validation": trial.as_json()}
    replace(stage, enabled=enabled, facts=facts).save(context.output("second_stage"))
    summary = {"kind": odds.kind, "patterns": len(patterns.centres), "enabled": enabled}
    context.logger.info("second stage: %s", summary)
    return summary
