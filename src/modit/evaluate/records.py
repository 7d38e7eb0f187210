"""What the stages before the evaluation noted: training curves, HPPO's rounds and the predictor's validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from modit.core.errors import ArtifactError
from modit.evaluate.storage import read_json
from modit.hppo.params import Variant

CURVE_FILE, BLENDS_FILE, ROUNDS_FILE, VALIDATION_FILE = "curve.json", "blends.json", "rounds.json", "validation.json"
_CURVE_FIELDS = {"step", "loss"}


VARIANTS_FILE = "variants.json"
VARIANT_WORDS: dict[str, str] = {
    "off_policy": "off-policy",
    "adaptive": "adaptive",
    "pareto": "Pareto",
    "pareto_epsilon": "Pareto-epsilon",
}


@dataclass(frozen=True)
class TrainedVariant:
    """A variant that was trained.

    Attributes:
        name: of the variant, as in the parameters.
        folder: with model.pt, rounds.json and curve.json.
    """

    name: Variant
    folder: Path

    @property
    def row(self) -> str:
        """Name of its row."""
        return f"HPPO {VARIANT_WORDS[self.name]}"

    @property
    def stage(self) -> str:
        """Name of its training stage."""
        return f"hppo_{self.name}"


class Variants(NamedTuple):
    """Which variants there are.

    Attributes:
        hppo: the one of the row HPPO.
        trained: the others, in the order of their rows; often none.
    """

    hppo: Variant
    trained: tuple[TrainedVariant, ...]


def read_variants(folder: Path) -> Variants:
    """Reads the artifact of a domain."""
    content = read_json(folder / VARIANTS_FILE)
    return Variants(content["hppo"], tuple(TrainedVariant(name, folder / name) for name in content["names"]))


def read_records(
    stages: Mapping[str, Path],
    finetuned: Path,
    hppo_rounds: Sequence[Path],
    predictor: Path,
    variants: Variants | None = None,
) -> dict[str, Any]:
    """Collects the records of a domain.

    Args:
        stages: stages before stage 2 -> artifact folder with `curve.json`, a list of {step, loss, ...}.
        finetuned: artifact folder of stage 2 with `curve.json` and `blends.json`, the scores of weights on validation.
        hppo_rounds: artifact folders of the rounds in order, at least one, each with `curve.json` and `rounds.json`,
            whose field `rounds` lists all rounds so far.
        predictor: artifact folder with `validation.json`.
        variants: of HPPO; what was trained of them has a curve and rounds of its own.

    Returns:
        The keys `training` (stage -> [{step, loss}]), `blends`, `rounds` and `predictor` of `evaluation.json`, and
        `variants` where any was trained.

    Raises:
        ArtifactError: a file is missing, an entry has no step or loss, or there is no list of rounds.
    """
    trained = variants.trained if variants else ()
    folders = {**stages, "finetuned": finetuned} | {
        f"hppo_{number}": folder for number, folder in enumerate(hppo_rounds, 1)
    }
    folders |= {variant.stage: variant.folder for variant in trained}
    records = {
        "training": {name: _curve(folder / CURVE_FILE) for name, folder in folders.items()},
        "blends": read_json(finetuned / BLENDS_FILE),
        "rounds": read_rounds(hppo_rounds[-1]),
        "predictor": read_json(predictor / VALIDATION_FILE),
    }
    if variants and trained:
        rows = [{"row": variant.row, "rounds": read_rounds(variant.folder)} for variant in trained]
        records["variants"] = {"hppo": VARIANT_WORDS[variants.hppo], "trained": rows}
    return records


def _curve(path: Path) -> list[dict[str, Any]]:
    entries = read_json(path)
    for number, entry in enumerate(entries):
        if not entry.keys() >= _CURVE_FIELDS:
            raise ArtifactError(f"{path}: entry {number} has fields {sorted(entry)}; needed: {sorted(_CURVE_FIELDS)}")
    return [{"step": entry["step"], "loss": entry["loss"]} for entry in entries]


def round_guidance(rounds: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The guidance scales that validation chose before HPPO and for the last kept round: what MO-DiT and HPPO serve at.

    Raises:
        ArtifactError: record 0 is missing, or a kept record has no guidance.
    """
    kept = [record.get("guidance") for record in rounds if record["kept"]]
    scales = [float(scale) for scale in kept if scale is not None]
    if not scales or len(scales) < len(kept):
        raise ArtifactError(
            f"{ROUNDS_FILE}: guidance of the kept rounds is {kept}; needed: a number for each, round 0 too"
        )
    return scales[0], scales[-1]


def read_rounds(folder: Path) -> list[dict[str, Any]]:
    """The records of the rounds in a stage's artifact.

    Raises:
        ArtifactError: `rounds.json` is missing or has no list of rounds.
    """
    path = folder / ROUNDS_FILE
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("rounds"), list):
        raise ArtifactError(f"{path}: has no field rounds with a list of records")
    return content["rounds"]
