"""Fits the second stage of a domain: the attribute model, its calibration, and depth and weight of the rerank."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from components.fit_second_stage import MODEL
from modit.core.seeds import derived_seed
from modit.hppo.chain import MODEL_FILE, serving_guidance
from modit.hppo.second_stage import choose_rerank, served_queries
from modit.hppo.validation import load_validator
from modit.metric.attribute_model import fit_attribute_odds
from modit.metric.known_patterns import KnownPatterns
from modit.metric.second_stage import SecondStage
from modit.model.axes import Geometry
from modit.model.readout import READOUT_FILE, readout_of_json
from modit.train.checkpoint import load_model

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
    queries = served_queries(load_model(folder / MODEL_FILE), readout, serving_guidance(folder), validator)
    patterns = KnownPatterns.of(validator.verdicts, validator.patterns.labels)
    choice = choose_rerank(queries, validator, odds.log_odds, patterns, params)
    enabled = choice.helps if params.default == "auto" else params.default == "on"
    facts = odds.facts() | {"validation": choice.as_json()}
    stage = SecondStage(odds.log_odds, patterns, *choice.setting, params.sharpness, enabled, facts)
    stage.save(context.output("second_stage"))
    summary = {"kind": odds.kind, "patterns": len(patterns.centres), **choice.setting._asdict(), "enabled": enabled}
    context.logger.info("second stage: %s", summary)
    return summary
