"""Retrieval labels: what the index returns for an anchor, and what the scorer says of it (specification section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modit.data.catalog import Catalog
from modit.data.contract import LABEL_SCHEMA
from modit.index.item_index import ItemIndex


def logged_labels(logs: pa.Table, catalog: Catalog, domain: str, trainable: np.ndarray, k: int) -> pa.Table:
    """What the logs say of a domain, without what is held out: the first K trainable results of trainable anchors.

    Production's lists hold held-out items, too. Without them a list is what a search among trainable items would have
    returned; one with fewer than K / 2 left says too little, and is left out.

    Args:
        logs: accepted `retrieval_labels`.
        catalog: the items; all ids of the logs are in it.
        domain: whose labels.
        trainable: bool [N].
        k: results of an anchor; the anchor itself is not one.

    Returns:
        A table in the contract's columns, ranks from 1.
    """
    logs = logs.filter(pc.equal(logs["domain"], domain)).sort_by([("request_id", "ascending"), ("rank", "ascending")])
    names = pa.array(catalog.item_ids.tolist(), pa.string())
    anchor, item = (pc.index_in(logs[name], names).to_numpy() for name in ("anchor_item_id", "item_id"))
    kept = np.flatnonzero(trainable[anchor] & trainable[item] & (anchor != item))
    logs = logs.take(pa.array(kept))
    requests = logs["request_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    _, first, request, length = np.unique(requests, return_index=True, return_inverse=True, return_counts=True)
    rank = np.arange(len(logs)) - first[request] + 1
    logs = logs.set_column(logs.schema.get_field_index("rank"), "rank", pa.array(rank, pa.int32()))
    return logs.filter(pa.array((rank <= k) & (2 * length[request] >= k))).cast(LABEL_SCHEMA)


def draw_anchors(trainable: np.ndarray, logged: Sequence[int] | np.ndarray, count: int, seed: int) -> np.ndarray:
    """Rows to ask the index about, ascending: a sample of the trainable ones that the logs say nothing of.

    Args:
        trainable: bool [N].
        logged: rows that the logs know.
        count: most anchors, those of the logs among them.
        seed: of the sample.
    """
    anchors = np.setdiff1d(np.flatnonzero(trainable), logged)
    count = max(0, count - len(logged))
    if len(anchors) > count:
        anchors = np.sort(np.random.default_rng(seed).choice(anchors, count, replace=False))
    return anchors


def label_anchors(
    catalog: Catalog, index: ItemIndex, domain: str, trainable: np.ndarray, anchors: np.ndarray, k: int
) -> pa.Table:
    """Queries the staged index with anchors and asks the scorer about the results.

    Only trainable items are anchors or results: these labels fit the predictor, and nothing held out may.

    Args:
        catalog: items and the scorer's verdicts.
        index: the staged index.
        domain: whose scorer.
        trainable: bool [N].
        anchors: int64 [A], trainable rows.
        k: results of an anchor; the anchor itself is not one.

    Returns:
        A table in the contract's `retrieval_labels` columns; `timestamp` is empty, as nobody asked at a time.
    """
    if not len(anchors):
        return LABEL_SCHEMA.empty_table()
    rows = index.search(np.asarray(catalog.embeddings)[anchors], k, allowed=trainable, exclude=anchors[:, None]).rows
    anchor, rank = np.repeat(anchors, k), np.tile(np.arange(1, k + 1, dtype=np.int32), len(anchors))
    found = rows.ravel()
    anchor, rank, found = anchor[found >= 0], rank[found >= 0], found[found >= 0]
    names = catalog.item_ids
    columns = [
        pa.array([f"{domain}/{name}" for name in names[anchor]]),
        pa.nulls(len(anchor), pa.timestamp("us", tz="UTC")),
        pa.array([domain] * len(anchor)),
        pa.array(names[anchor].tolist()),
        pa.array(rank),
        pa.array(names[found].tolist()),
        pa.array(catalog.positive(domain)[found]),
    ]
    return pa.Table.from_arrays(columns, schema=LABEL_SCHEMA)


def write_labels(labels: pa.Table, folder: Path, bucket: int) -> None:
    """Writes the labels of the anchors of one bucket.

    Args:
        labels: in the contract's columns.
        folder: of the artifact.
        bucket: its number.
    """
    pq.write_table(labels, folder / f"labels-{bucket:02}.parquet")


def read_labels(folder: Path) -> pa.Table:
    """All labels of an artifact, in the contract's columns."""
    return pa.concat_tables([pq.read_table(file) for file in sorted(folder.glob("labels-*.parquet"))])


def anchor_density(labels: pa.Table, catalog: Catalog) -> tuple[np.ndarray, np.ndarray]:
    """Attr@K of each anchor.

    Returns:
        Catalogue rows of the anchors [A], ascending, and their density [A] in [0, 1].
    """
    grouped = labels.group_by("anchor_item_id").aggregate([("label", "mean")])
    names = pa.array(catalog.item_ids.tolist(), pa.string())
    rows = pc.index_in(grouped["anchor_item_id"], names).to_numpy().astype(np.int64)
    order = np.argsort(rows)
    return rows[order], grouped["label_mean"].to_numpy()[order]
