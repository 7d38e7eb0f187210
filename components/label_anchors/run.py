"""Collects sparse density labels by querying the staged index."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from modit.core.seeds import derived_seed
from modit.data.catalog import Catalog
from modit.index import ItemIndex
from modit.metric.anchors import label_anchors
from modit.metric.patterns import Patterns

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads `catalog`, `patterns`, `index`; writes `retrieval_labels`: labels.parquet in the contract's columns."""
    catalog = Catalog.load(context.input("catalog"))
    index = ItemIndex.load(context.input("index"))
    trainable = Patterns.load(context.input("patterns") / f"{context.domain}.npz").trainable
    k = context.params.retrieval.depth(len(catalog))
    seed = derived_seed(context.seed, "anchors", context.domain)
    labels = label_anchors(catalog, index, context.domain, trainable, context.params.label_anchors.anchors, k, seed)
    pq.write_table(labels, context.output("retrieval_labels") / "labels.parquet")
    return {"rows": len(labels)}
