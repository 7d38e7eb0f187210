"""Publishes embedding, activity, and pattern and density of every domain to the feature store."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modit.core.shards import WHOLE
from modit.core.storage import Storage
from modit.data.catalog import Catalog
from modit.data.hashing import bucket_of
from modit.features.publish import Night, publish
from modit.features.store import service_name, store_folder
from modit.features.tables import FeatureTable, feature_tables, newest_interaction
from modit.metric.density import DensityPredictor
from modit.metric.patterns import Patterns
from modit.release.registry.usage import runs_in_use

if TYPE_CHECKING:
    from modit.core.context import StepContext

REPOSITORY = Path(__file__).resolve().parents[2] / "feature_repo"


def run(context: StepContext) -> dict[str, object]:
    """Reads `catalog`, `patterns` and every domain's `predictor`; writes `features`: digests-BUCKET.json, by view."""
    catalog, domains = Catalog.load(context.input("catalog")), list(context.domains)
    as_of = _as_of(context, catalog)
    patterns = {domain: Patterns.load(context.input("patterns") / f"{domain}.npz") for domain in domains}
    folders = context.inputs_by_domain("predictor")
    predictors = {domain: DensityPredictor.load(folders[domain] / "predictor.npz") for domain in domains}
    tables, bucket = feature_tables(catalog, patterns, predictors, as_of), bucket_of(catalog.item_ids)
    _write_digests(tables, bucket, context)
    if context.shard != WHOLE:
        mine = np.flatnonzero(np.isin(bucket, context.shard.buckets))
        tables = [table.take(mine) for table in tables]
    folder = store_folder(context.run_uri, context.run_config.catalogue)
    night = Night(as_of, context.run_uri, domains, tables, context.shard.buckets)
    facts = publish(
        folder, REPOSITORY, night, context.params.publish_features, in_use=lambda: runs_in_use(context.run_uri)
    )
    context.logger.info("%s as of %s: %s", folder, as_of.isoformat(), facts)
    services = {domain: service_name(domain, context.run_uri) for domain in domains}
    return {"store": str(folder), "as_of": as_of.isoformat(), "services": services, **facts}


def _write_digests(tables: list[FeatureTable], bucket: np.ndarray, context: StepContext) -> None:
    for number in context.shard.buckets:
        rows = np.flatnonzero(bucket == number)
        text = json.dumps({table.view: table.take(rows).digest for table in tables}, indent=1, sort_keys=True)
        (context.output("features") / f"digests-{number:02}.json").write_text(text + "\n", encoding="utf-8")


def _as_of(context: StepContext, catalog: Catalog) -> datetime:
    """The night's instant: the end of the run's window, later than all that it read; else that of its newest row."""
    if context.days is not None:
        return context.days.end_instant
    return newest_interaction(catalog) or _first_attempt(context.notes)


def _first_attempt(notes: Storage) -> datetime:
    """The time of the first attempt, for inputs without times: other shards and attempts are of the same night."""
    notes.create_json("night.json", {"as_of": datetime.now(UTC).isoformat()})
    return datetime.fromisoformat((notes.read_json("night.json") or {})["as_of"])
