"""Retrieval labels: what the index returns for an anchor, and what the scorer says of it (specification section 4)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from modit.data.catalog import Catalog
from modit.index import ItemIndex

SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("timestamp", pa.timestamp("us", tz="UTC")),
        ("domain", pa.string()),
        ("anchor_item_id", pa.string()),
        ("rank", pa.int32()),
        ("item_id", pa.string()),
        ("label", pa.bool_()),
    ]
)


def label_anchors(
    catalog: Catalog, index: ItemIndex, domain: str, trainable: np.ndarray, count: int, k: int, seed: int
) -> pa.Table:
    """Queries the staged index with sampled anchors and asks the scorer about the results.

    Only trainable items are anchors or results: these labels fit the predictor, and nothing held out may.

    Args:
        catalog: items and the scorer's verdicts.
        index: the staged index.
        domain: whose scorer.
        trainable: bool [N].
        count: most anchors.
        k: results of an anchor; the anchor itself is not one.
        seed: of the sample.

    Returns:
        A table in the contract's `retrieval_labels` columns; `timestamp` is empty, as nobody asked at a time.
    """
    anchors = np.flatnonzero(trainable)
    if len(anchors) > count:
        anchors = np.sort(np.random.default_rng(seed).choice(anchors, count, replace=False))
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
        pa.array(catalog.attributes[domain][found]),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def anchor_density(labels: pa.Table, catalog: Catalog) -> tuple[np.ndarray, np.ndarray]:
    """Attr@K of each anchor.

    Returns:
        Catalogue rows of the anchors [A], ascending, and their density [A] in [0, 1].
    """
    grouped = labels.group_by("anchor_item_id").aggregate([("label", "mean")])
    row_of = {name: row for row, name in enumerate(catalog.item_ids.tolist())}
    rows = np.array([row_of[name] for name in grouped["anchor_item_id"].to_pylist()])
    order = np.argsort(rows)
    return rows[order], grouped["label_mean"].to_numpy()[order]
