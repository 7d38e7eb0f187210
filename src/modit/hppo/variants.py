"""Variants of HPPO beside the one that the steps run: each a whole chain of rounds from the same SFT model."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from modit.core.params import Params
from modit.hppo.chain import run_chain
from modit.hppo.inputs import load_inputs
from modit.model.storage import load_model
from modit.train.journal import Journal


def train_variants(
    folders: dict[str, Path],
    domain: str,
    params: Params,
    rounds: int,
    seed: int,
    output: Path,
    scratch: Path,
    logger: logging.Logger,
) -> dict[str, Any]:
    """Trains the variants that section `hppo_variants` names; of section `hppo` only `variant` differs.

    Args:
        folders: of the artifacts that `load_inputs` reads, and of `finetuned`.
        domain: which one.
        params: of the run.
        rounds: of each chain, >= 1.
        seed: that of HPPO's own chain, so that rows differ by their variant alone.
        output: gets NAME/ with model.pt, rounds.json and curve.json for each variant.
        scratch: local folder that survives a crash; what is finished there is not trained again.
        logger: for progress.

    Returns:
        The record of the last kept round of each variant, by its name.
    """
    reference = load_model(folders["finetuned"] / "model.pt")
    inputs = load_inputs(folders, domain, params)
    best: dict[str, Any] = {}
    for name in params.hppo_variants.names:
        section = params.hppo.model_copy(update={"variant": name})
        own, folder = scratch / name, output / name
        for place in (own, folder):
            place.mkdir(parents=True, exist_ok=True)
        journal = Journal(f"hppo_{name}", rounds * section.steps, logger, own / "curve.jsonl")
        state = run_chain(reference, inputs, section, rounds, seed, journal, own)
        state.save(folder)
        journal.save(folder / "curve.json")
        best[name] = [record for record in state.rounds if record["kept"]][-1]
    return best
