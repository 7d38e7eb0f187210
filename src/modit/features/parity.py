"""Compares what Feast answers, online and offline, with what the run computed, bit by bit, and records the proof."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from modit.core.errors import ArtifactError
from modit.core.step import ALL_BUCKETS
from modit.data.hash_unit import hash_unit
from modit.features.changes import same_bits
from modit.features.lookup import shown
from modit.features.rows import arrow_type
from modit.features.tables import FeatureTable

if TYPE_CHECKING:
    from feast import FeatureStore


def sample_of(table: FeatureTable, size: int) -> np.ndarray:
    """Rows to compare, chosen by the hash of their ids: int64 [min(size, N)]."""
    return np.argsort(hash_unit(table.item_ids, "feature-parity"), kind="stable")[:size]


def compare_online(store: FeatureStore, table: FeatureTable, rows: np.ndarray) -> list[str]:
    """Ids of those rows, int [n], that the online store answers otherwise than a table says."""
    if not len(rows):
        return []  # a shard without an item; Feast refuses to be asked for none
    answer = store.get_online_features(references(table), {"item_id": table.item_ids[rows].tolist()}).to_dict()
    return differing(table, rows, answer)


def references(table: FeatureTable) -> list[str]:
    """Feast's names of the table's features."""
    return [f"{table.view}:{name}" for name in table.columns]


def differing(table: FeatureTable, rows: np.ndarray, answer: Any) -> list[str]:
    """Ids of those rows whose values in an answer have other bits; null and NaN are the same.

    Args:
        table: what the run computed.
        rows: int [n], of the table.
        answer: feature name -> n values, a mapping or a frame.
    """
    same = [
        same_bits(pa.array(answer[name], arrow_type(values), from_pandas=True), values[rows])
        for name, values in table.columns.items()
    ]
    return table.item_ids[rows[~np.logical_and.reduce(same)]].tolist()


def write_parity(folder: Path, bucket: int, matrix: str, tables: Sequence[FeatureTable]) -> None:
    """Records the matrix and tables of a night, after `publish` compared every row with them.

    Where the step's summary says `status: older`, nothing was published or compared, and the record is no proof.

    Args:
        folder: of the artifact `features`.
        bucket: whose items the tables hold.
        matrix: sha256 of the catalogue's file of embeddings, which is the table of the embedding view.
        tables: one for each view.
    """
    content = {"matrix": matrix, "views": {table.view: table.digest for table in tables}}
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    (folder / f"parity-{bucket:02}.json").write_text(text, encoding="utf-8")


def proven_matrix(folder: Path) -> str:
    """Reads the sha256 of the embeddings from the records of all buckets.

    All published rows were compared with them, unless the step's summary says `status: older`.

    Args:
        folder: of the artifact `features`.

    Raises:
        ArtifactError: a bucket has no record, or buckets name different files.
    """
    files = [folder / f"parity-{bucket:02}.json" for bucket in ALL_BUCKETS]
    if missing := [file.name for file in files if not file.is_file()]:
        raise ArtifactError(f"{folder} has no {shown(missing)}: not all rows were compared with the matrix")
    found = {json.loads(file.read_text(encoding="utf-8"))["matrix"] for file in files}
    if len(found) != 1:
        raise ArtifactError(f"{folder}: field matrix has the values {shown(sorted(found))}; one is expected")
    return found.pop()
