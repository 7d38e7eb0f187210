"""Retrieval labels: what the index returns for an anchor, and what the scorer says of it (specification section 4).

Anchors and results are rows of the catalogue throughout; ids become rows once, when the logs are accepted.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modit.data.catalog import Catalog
from modit.data.parquet import read_parquet
from modit.index.searchable import SearchableIndex

# A scored result of an anchor. `rank`: its place in the anchor's list, from 1. `logged`: it comes from production's
# logs, not from the staged index.
ANCHOR_LABELS = pa.schema(
    [
        ("anchor", pa.int32()),
        ("rank", pa.int32()),
        ("item", pa.int32()),
        ("label", pa.bool_()),
        ("logged", pa.bool_()),
    ]
)


def logged_labels(logs: pa.Table, domain: str, trainable: np.ndarray, k: int) -> pa.Table:
    """Takes the labels of trainable anchors from the logs: the first K trainable results of each list.

    Production's lists hold held-out items, too. Without them a list is what a search among trainable items would have
    returned. A list with fewer than K / 2 results left says too little and is left out.

    Args:
        logs: the accepted logs, in the columns of `modit.data.catalog.RETRIEVAL_LABEL_SCHEMA`.
        domain: whose labels.
        trainable: bool [N].
        k: results of an anchor; the anchor itself is not one.

    Returns:
        A table in the columns of `ANCHOR_LABELS`.
    """
    logs = logs.filter(pc.equal(logs["domain"], domain)).sort_by([("request_id", "ascending"), ("rank", "ascending")])
    anchor, item = logs["anchor"].to_numpy(), logs["item"].to_numpy()
    logs = logs.take(pa.array(np.flatnonzero(trainable[anchor] & trainable[item] & (anchor != item))))
    requests = logs["request_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    _, first, request, length = np.unique(requests, return_index=True, return_inverse=True, return_counts=True)
    rank = np.arange(len(logs)) - first[request] + 1
    kept = pa.array((rank <= k) & (2 * length[request] >= k))
    columns = [logs["anchor"], pa.array(rank, pa.int32()), logs["item"], logs["label"], pa.repeat(True, len(logs))]
    return pa.Table.from_arrays(columns, schema=ANCHOR_LABELS).filter(kept)


def draw_anchors(trainable: np.ndarray, logged: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draws the rows that the index is asked about: trainable ones that the logs say nothing of.

    Args:
        trainable: bool [N].
        logged: rows that the logs know.
        count: most anchors, those of the logs among them.
        seed: of the sample.

    Returns:
        Rows, ascending.
    """
    anchors = np.setdiff1d(np.flatnonzero(trainable), logged)
    count = max(0, count - len(logged))
    if len(anchors) > count:
        anchors = np.sort(np.random.default_rng(seed).choice(anchors, count, replace=False))
    return anchors


def label_anchors(
    catalog: Catalog, index: SearchableIndex, domain: str, trainable: np.ndarray, anchors: np.ndarray, k: int
) -> pa.Table:
    """Queries the staged index with anchors, and looks up what the scorer says of the results.

    Only trainable items are anchors or results: these labels fit the predictor, and nothing held out may. A result
    that is not scored takes its place in the list but has no label.

    Args:
        catalog: items and the scorer's verdicts.
        index: the staged index.
        domain: whose scorer.
        trainable: bool [N].
        anchors: int64 [A], trainable rows.
        k: results of an anchor; the anchor itself is not one.

    Returns:
        A table in the columns of `ANCHOR_LABELS`.
    """
    if not len(anchors):
        return ANCHOR_LABELS.empty_table()
    rows = index.search(np.asarray(catalog.embeddings)[anchors], k, allowed=trainable, exclude=anchors[:, None]).rows
    anchor, rank, item = np.repeat(anchors, k), np.tile(np.arange(1, k + 1), len(anchors)), rows.ravel()
    kept = (item >= 0) & catalog.scored(domain)[item]
    anchor, rank, item = anchor[kept], rank[kept], item[kept]
    label, logged = catalog.positive(domain)[item], np.zeros(len(item), bool)
    columns = zip((anchor, rank, item, label, logged), ANCHOR_LABELS.types, strict=True)
    return pa.Table.from_arrays([pa.array(column, kind) for column, kind in columns], schema=ANCHOR_LABELS)


def write_labels(labels: pa.Table, folder: Path, bucket: int) -> None:
    """Writes the labels of the anchors of one bucket.

    Args:
        labels: in the columns of `ANCHOR_LABELS`.
        folder: of the artifact.
        bucket: its number.
    """
    pq.write_table(labels, folder / f"labels-{bucket:02}.parquet")


def read_labels(folder: Path) -> pa.Table:
    """Reads all labels of an artifact, in the columns of `ANCHOR_LABELS`."""
    return pa.concat_tables([read_parquet(file) for file in sorted(folder.glob("labels-*.parquet"))])


def anchor_density(labels: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Attr@K of each anchor: the share of positives among its scored results.

    Args:
        labels: in the columns of `ANCHOR_LABELS`.

    Returns:
        Rows of the anchors that have a label int64 [A], ascending, and their density [A] in [0, 1].
    """
    rows, place = np.unique(labels["anchor"].to_numpy().astype(np.int64), return_inverse=True)
    label = labels["label"].to_numpy().astype(float)
    return rows, np.bincount(place, label, len(rows)) / np.bincount(place, minlength=len(rows))
