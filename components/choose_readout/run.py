"""Chooses the readout of a domain on validation cases."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from components.choose_readout import MODEL
from modit.core.seeds import derived_seed
from modit.data.catalog import Catalog
from modit.hppo.chain import MODEL_FILE, serving_guidance
from modit.hppo.readout import choose_readout
from modit.hppo.validation import fold_validators, load_validator
from modit.model.readout import READOUT_FILE
from modit.training.checkpoint import load_model

if TYPE_CHECKING:
    from modit.core.context import StepContext

# Parts that what training sees is dealt into; each has this share of the cases that a kind of validation has.
FOLDS, FOLD_SHARE = 4, 0.2


def run(context: StepContext) -> dict[str, object]:
    """Reads the last HPPO model, the domain's items, geometry and validation cases; writes `readout`: readout.json."""
    folders = {name: context.input(name) for name in ("catalog", "patterns", "predictor", "cases", "index")}
    validator = load_validator(folders, context.domain, context.params)
    folder = context.input(MODEL)
    seed = derived_seed(context.seed, "choose_readout", context.domain)
    catalog, patterns, params = Catalog.load(folders["catalog"]), validator.patterns, context.params
    cases = math.ceil(FOLD_SHARE * params.build_trajectories.validation_cases)
    folds = fold_validators(catalog, patterns, context.domain, validator.index, params, FOLDS, cases, seed)
    choice = choose_readout(load_model(folder / MODEL_FILE), serving_guidance(folder), validator, folds)
    text = json.dumps(choice.as_json(), indent=1, sort_keys=True) + "\n"
    (context.output("readout") / READOUT_FILE).write_text(text, encoding="utf-8")
    context.logger.info("the network's share of the vote: %g", choice.share)
    return {"share": choice.share}
