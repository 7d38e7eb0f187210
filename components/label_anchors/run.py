"""Collects sparse density labels by querying the staged index."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pyarrow as pa

from modit.core.seeds import derived_seed
from modit.data.catalog import RETRIEVAL_LABELS, Catalog
from modit.data.hashing import bucket_of
from modit.data.parquet import read_parquet
from modit.index.engines.staging import load_searched
from modit.metric.anchors import ANCHOR_LABELS, anchor_density, draw_anchors, label_anchors, logged_labels, write_labels
from modit.metric.patterns import Patterns

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads `catalog`, `patterns`, `index`; writes `retrieval_labels`: labels-BUCKET.parquet (`ANCHOR_LABELS`).

    What the logs say of trainable anchors is taken from them. The index is asked about others, bucket by bucket, so
    that its answers cannot depend on which other anchors the same task asks about.
    """
    catalog = Catalog.load(context.input("catalog"))
    index = load_searched(context.input("index"))
    trainable = Patterns.load(context.input("patterns") / f"{context.domain}.npz").trainable
    k = context.params.retrieval.depth(len(catalog))
    logs, logged = context.input("catalog") / RETRIEVAL_LABELS, ANCHOR_LABELS.empty_table()
    if logs.exists():
        logged = logged_labels(read_parquet(logs), context.domain, trainable, k)
    known, _ = anchor_density(logged)
    seed = derived_seed(context.seed, "anchors", context.domain)
    anchors = draw_anchors(trainable, known, context.params.label_anchors.anchors, seed)
    counts: Counter[str] = Counter()
    bucket = bucket_of(catalog.item_ids)
    bucket_of_logged = bucket[logged["anchor"].to_numpy()]
    for number in context.shard.buckets:
        asked = anchors[bucket[anchors] == number]
        from_logs = logged.filter(pa.array(bucket_of_logged == number))
        labels = pa.concat_tables([from_logs, label_anchors(catalog, index, context.domain, trainable, asked, k)])
        write_labels(labels, context.output("retrieval_labels"), number)
        known_here = int((bucket[known] == number).sum())
        counts.update(rows=len(labels), anchors_from_logs=known_here, anchors_asked=len(asked))
    return {**counts}
