"""What the stages before the evaluation noted: training curves, HPPO's rounds and the predictor's validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modit.core.errors import ArtifactError
from modit.evaluate.storage import read_json

CURVE_FILE, ROUNDS_FILE, VALIDATION_FILE = "curve.json", "rounds.json", "validation.json"
_CURVE_FIELDS = {"step", "loss"}


def read_records(stages: Mapping[str, Path], hppo_rounds: Sequence[Path], predictor: Path) -> dict[str, Any]:
    """Collects the records of a domain.

    Args:
        stages: stage name -> artifact folder with `curve.json`, a list of {step, loss, ...}.
        hppo_rounds: artifact folders of the rounds in order, each with `curve.json` and `rounds.json`
            (all rounds so far).
        predictor: artifact folder with `validation.json`.

    Returns:
        The keys `training` (stage -> [{step, loss}]), `rounds` and `predictor` of `evaluation.json`.

    Raises:
        ArtifactError: a file is missing, or an entry has no step or loss.
    """
    folders = dict(stages) | {f"hppo_{number}": folder for number, folder in enumerate(hppo_rounds, 1)}
    return {
        "training": {name: _curve(folder / CURVE_FILE) for name, folder in folders.items()},
        "rounds": read_json(hppo_rounds[-1] / ROUNDS_FILE) if hppo_rounds else [],
        "predictor": read_json(predictor / VALIDATION_FILE),
    }


def _curve(path: Path) -> list[dict[str, Any]]:
    entries = read_json(path)
    for number, entry in enumerate(entries):
        if not entry.keys() >= _CURVE_FIELDS:
            raise ArtifactError(f"{path}: entry {number} has fields {sorted(entry)}; needed: {sorted(_CURVE_FIELDS)}")
    return [{"step": entry["step"], "loss": entry["loss"]} for entry in entries]
