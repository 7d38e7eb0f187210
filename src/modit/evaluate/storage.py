"""The artifact `evaluation`: `evaluation.json` and `per_case.npz`; the same evaluation gives the same bytes."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modit.core.arrays import save_arrays
from modit.core.errors import ArtifactError

EVALUATION_FILE, PER_CASE_FILE = "evaluation.json", "per_case.npz"
SCHEMA_VERSION = 4
_DECIMALS = 6


@dataclass(frozen=True)
class Evaluation:
    """The judgement of one domain.

    Attributes:
        content: what goes into `evaluation.json`.
        per_case: "SPLIT/ROW/joint" and ".../same" -> float64 [n]; "SPLIT/patterns" -> int32 [n].
    """

    content: dict[str, Any]
    per_case: dict[str, np.ndarray]


def rounded(value: Any) -> Any:
    """A JSON value with floats at 6 decimals; NaN and infinities, which JSON cannot hold, become null."""
    if isinstance(value, dict):
        return {str(key): rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(entry) for entry in value]
    if isinstance(value, float):
        # Adding 0.0 turns -0.0 into 0.0.
        return round(value, _DECIMALS) + 0.0 if math.isfinite(value) else None
    return value


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON value with sorted keys, rounded."""
    text = json.dumps(rounded(content), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        ArtifactError: it is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing") from error
    except json.JSONDecodeError as error:
        raise ArtifactError(f"{path} is not JSON: {error}") from error


def save_evaluation(folder: Path, evaluation: Evaluation, records: dict[str, Any]) -> None:
    """Writes both files into an existing folder.

    Args:
        folder: of the artifact.
        evaluation: what was measured.
        records: what the stages before noted (`modit.evaluate.records.read_records`).
    """
    write_json(folder / EVALUATION_FILE, evaluation.content | records)
    arrays: dict[str, Any] = dict(sorted(evaluation.per_case.items()))
    save_arrays(folder / PER_CASE_FILE, **arrays)


def load_evaluation(folder: Path) -> dict[str, Any]:
    """The content of `evaluation.json`.

    Raises:
        ArtifactError: it is missing, damaged or of another schema.
    """
    content = read_json(folder / EVALUATION_FILE)
    found = content.get("schema_version")
    if found != SCHEMA_VERSION:
        raise ArtifactError(
            f"{folder / EVALUATION_FILE}: schema_version is {found!r}; this version of modit reads {SCHEMA_VERSION}"
        )
    return content


ROUNDS_TABLE, CURVES_FOLDER = "rounds.csv", "curves"
CURVE_FIGURES = ("step", "loss")
# What every record of a round has, that of the model before the first too.
ROUND_FIGURES = ("round", "kept", "joint", "item_joint", "pattern_joint", "item_same", "pattern_same")


def save_tables(folder: Path, records: Mapping[str, Any]) -> None:
    """Writes `rounds.csv` and `curves/STAGE.csv` into an existing folder; equal records give equal bytes.

    Args:
        folder: of the artifact.
        records: `training` (stage -> points of its curve) and `rounds` (see `modit.evaluate.records`).
    """
    (folder / CURVES_FOLDER).mkdir(exist_ok=True)
    for stage, points in records["training"].items():
        _write_table(folder / CURVES_FOLDER / f"{stage}.csv", CURVE_FIGURES, points)
    _write_table(folder / ROUNDS_TABLE, ROUND_FIGURES, records["rounds"])


def _write_table(path: Path, fields: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fields, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {name: int(value) if isinstance(value, bool) else value for name, value in row.items()} for row in rows
        )
