"""The records of training as CSV files beside `evaluation.json`, for tools that plot tables."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

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
        _write(folder / CURVES_FOLDER / f"{stage}.csv", CURVE_FIGURES, points)
    _write(folder / ROUNDS_TABLE, ROUND_FIGURES, records["rounds"])


def _write(path: Path, fields: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fields, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {name: int(value) if isinstance(value, bool) else value for name, value in row.items()} for row in rows
        )
