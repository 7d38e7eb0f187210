"""What an accepted window looked like, in a few thousand numbers: what later windows are compared with."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from modit.data.catalog import NOT_SCORED, POSITIVE
from modit.data.hashing import string_hashes
from modit.data.interactions import Interactions
from modit.data.items import Items
from modit.data.labels import RetrievalLabels
from modit.data.rules import DAY
from modit.data.vectors import nearest_centroid

Json = dict[str, Any]

# Samples of one size, so that a two-sample test means the same on small and on large windows.
SAMPLE = 2_000
_COUNTED = 20_000
_CODEBOOK_POINTS = 8_192
_DAY_BLOCK = 1 << 20
_MIX = np.uint64(0x9E3779B97F4A7C15)


def by_day(key: np.ndarray, place: np.ndarray, fingerprint: np.ndarray) -> dict[str, list[int]]:
    """Rows of each day, and a sum over them that tells whether they are the same rows: YYYY-MM-DD -> [rows, sum].

    Args:
        key: int64 [T], microseconds.
        place: int32 [T], the item of each row.
        fingerprint: uint64 [N], a number for each item.
    """
    if not len(key):
        return {}
    first, last = int(key.min()) // DAY, int(key.max()) // DAY
    rows, sums = np.zeros(last - first + 1, np.int64), np.zeros(last - first + 1)
    for start in range(0, len(key), _DAY_BLOCK):
        block = key[start : start + _DAY_BLOCK]
        day = block // DAY - first
        mixed = (fingerprint[place[start : start + _DAY_BLOCK]] ^ block.astype(np.uint64)) * _MIX
        rows += np.bincount(day, minlength=len(rows))
        # 24 bits a row: float64 adds them exactly up to 500 million rows a day
        sums += np.bincount(day, weights=(mixed >> np.uint64(40)).astype(np.float64), minlength=len(rows))
    names = (np.datetime64("1970-01-01") + np.arange(first, last + 1)).astype(str)
    return {str(n): [int(count), int(total)] for n, count, total in zip(names, rows, sums, strict=True) if count}


def profile(items: Items, interactions: Interactions, labels: RetrievalLabels | None, codebook: np.ndarray) -> Json:
    """Describes the good rows of a window; the codebook, float32 [C, d], has the cells of the embedding space."""
    item_hash = string_hashes(pa.array(items.item_ids.tolist(), pa.string()))
    cells = nearest_centroid(items.embeddings, codebook)
    rows = interactions.rows
    dated = interactions.order == "timestamp"
    content: Json = {
        "items": {"rows": len(items.item_ids), "dimension": int(items.embeddings.shape[1])},
        "interactions": {"rows": len(rows.item), "by_day": by_day(rows.key, rows.item, item_hash) if dated else {}},
        "attribute_rates": {
            name: [int((column == POSITIVE).sum()), *[int((column != NOT_SCORED).sum())] * 2]
            for name, column in items.verdicts.items()
        },
        "columns": _item_columns(items, cells) | _interaction_columns(interactions, cells),
        "codebook": encode(codebook),
    }
    if labels is not None:
        time, item = labels.rows["timestamp"].cast(pa.int64()).to_numpy(), labels.rows["item"].to_numpy()
        content["retrieval_labels"] = {"rows": len(item), "by_day": by_day(time, item, item_hash)}
        content["label_rates"] = _label_rates(labels.rows)
        content["columns"] |= _label_columns(labels.rows, cells)
    return content


def learn_codebook(embeddings: np.ndarray, cells: int) -> np.ndarray:
    """Centroids of the embeddings, float32 [C, d]: the patterns whose occupancy is watched."""
    points = embeddings[_spread(len(embeddings), _CODEBOOK_POINTS)]
    with threadpool_limits(1):  # one thread: the sums, and so the bytes, do not depend on the machine
        return KMeans(min(cells, len(points)), n_init=1, random_state=0).fit(points).cluster_centers_.astype(np.float32)


def encode(codebook: np.ndarray) -> Json:
    """A codebook as JSON."""
    return {"shape": list(codebook.shape), "float32": base64.b64encode(codebook.astype("<f4").tobytes()).decode()}


def decode(value: Json) -> np.ndarray:
    """What `encode` was given."""
    return np.frombuffer(base64.b64decode(value["float32"]), "<f4").reshape(value["shape"])


def _item_columns(items: Items, cells: np.ndarray) -> Json:
    columns = {"items.embedding_norm": _numbers(items.norms), "items.embedding_cell": _categories(cells)}
    for name, column in items.verdicts.items():
        columns[f"items.attr_{name}"] = _categories(column)
    return columns


def _interaction_columns(interactions: Interactions, cells: np.ndarray) -> Json:
    rows = interactions.rows
    if not len(rows.item):
        return {}
    chosen, sequence = _spread(len(rows.item), _COUNTED), _spread(len(rows.offsets) - 1, SAMPLE)
    columns = {
        "interactions.item_id (cell of its embedding)": _categories(cells[rows.item[chosen]]),
        "interactions.sequence_id (rows of it)": _numbers(
            np.log1p(rows.offsets[sequence + 1] - rows.offsets[sequence])
        ),
    }
    if interactions.order == "timestamp":
        columns["interactions.timestamp (hour)"] = _categories(rows.key[chosen] // 3_600_000_000 % 24)
        later = chosen[chosen > 0]
        later = later[rows.offsets[np.searchsorted(rows.offsets, later)] != later]  # not the first of its sequence
        gaps = (rows.key[later] - rows.key[later - 1]) / 1e6
        columns["interactions.timestamp (log seconds since the row before)"] = _numbers(np.log1p(gaps))
    return columns


def _label_columns(rows: pa.Table, cells: np.ndarray) -> Json:
    if not len(rows):
        return {}
    chosen = rows.take(pa.array(_spread(len(rows), _COUNTED)))
    return {
        "retrieval_labels.domain": _categories(np.array(chosen["domain"].to_pylist())),
        "retrieval_labels.label": _categories(chosen["label"].cast(pa.int8()).to_numpy()),
        "retrieval_labels.rank": _numbers(chosen["rank"].to_numpy()),
        "retrieval_labels.anchor_item_id (cell of its embedding)": _categories(cells[chosen["anchor"].to_numpy()]),
        "retrieval_labels.item_id (cell of its embedding)": _categories(cells[chosen["item"].to_numpy()]),
    }


def _label_rates(rows: pa.Table) -> dict[str, list[int]]:
    """Domain -> positives, rows, lists. Labels of one list resemble each other: a rate's error counts lists."""
    rates = rows.group_by("domain").aggregate([("label", "sum"), ("label", "count"), ("request_id", "count_distinct")])
    return {domain: counts for domain, *counts in sorted(zip(*rates.to_pydict().values(), strict=True))}


def _numbers(values: np.ndarray) -> Json:
    sample = np.sort(np.asarray(values, np.float64)[_spread(len(values), SAMPLE)])
    return {"kind": "number", "sample": [float(f"{value:.6g}") for value in sample]}


def _categories(values: np.ndarray) -> Json:
    names, counts = np.unique(values[_spread(len(values), _COUNTED)], return_counts=True)
    return {"kind": "category", "counts": {str(n): int(c) for n, c in zip(names, counts, strict=True)}}


def _spread(count: int, most: int) -> np.ndarray:
    """Up to `most` places, ascending: all, or drawn with replacement (evenly spaced ones fall in step with ranks)."""
    return np.arange(count) if count <= most else np.sort(np.random.default_rng(0).integers(0, count, most))
