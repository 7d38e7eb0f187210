"""Publishes embedding, activity, and pattern and density of every domain to the feature store."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modit.core.step import WHOLE
from modit.core.storage import Storage, sha256_of_file
from modit.data.catalog import EMBEDDINGS_FILE, Catalog
from modit.data.hashing import bucket_of
from modit.features.parity import write_parity
from modit.features.publish import publish
from modit.features.store import service_name, store_folder
from modit.features.tables import FeatureTable, Night, feature_tables, newest_interaction
from modit.metric.patterns import Patterns
from modit.metric.predictor import DensityPredictor
from modit.release.bundle.embedding_space import Space
from modit.release.model_registry.registry_access import runs_in_use

if TYPE_CHECKING:
    from modit.core.context import StepContext

REPOSITORY = Path(__file__).resolve().parents[2] / "feature_repo"


def run(context: StepContext) -> dict[str, object]:
    """Reads `catalog`, `patterns` and every domain's `predictor`; writes `features`: parity-BUCKET.json."""
    catalog, domains = Catalog.load(context.input("catalog")), list(context.domains)
    as_of = _as_of(context, catalog)
    patterns = {domain: Patterns.load(context.input("patterns") / f"{domain}.npz") for domain in domains}
    folders = context.inputs_by_domain("predictor")
    predictors = {domain: DensityPredictor.load(folders[domain] / "predictor.npz") for domain in domains}
    tables, bucket = feature_tables(catalog, patterns, predictors, as_of), bucket_of(catalog.item_ids)
    if context.shard != WHOLE:
        mine = np.flatnonzero(np.isin(bucket, context.shard.buckets))
        tables, bucket = [table.take(mine) for table in tables], bucket[mine]
    folder = store_folder(context.run_uri, context.run_config.catalogue)
    space = Space.of(catalog.item_ids, catalog.embeddings).version
    night = Night(as_of, context.run_uri, domains, tables, context.shard.buckets, space)
    facts = publish(
        folder, REPOSITORY, night, context.params.publish_features, in_use=lambda: runs_in_use(context.run_uri)
    )
    _write_parity(tables, bucket, context)
    context.logger.info("%s as of %s: %s", folder, as_of.isoformat(), facts)
    services = {domain: service_name(domain, context.run_uri) for domain in domains}
    return {"store": str(folder), "as_of": as_of.isoformat(), "services": services, **facts}


def _write_parity(tables: list[FeatureTable], bucket: np.ndarray, context: StepContext) -> None:
    """Records the matrix and tables that `publish` compared the rows with; it raises where one bit differs."""
    matrix = sha256_of_file(context.input("catalog") / EMBEDDINGS_FILE)
    for number in context.shard.buckets:
        chosen = np.flatnonzero(bucket == number)
        write_parity(context.output("features"), number, matrix, [table.take(chosen) for table in tables])


def _as_of(context: StepContext, catalog: Catalog) -> datetime:
    """The night's instant: the end of the run's window, later than all that it read; else that of its newest row."""
    if context.days is not None:
        return context.days.end_instant
    return newest_interaction(catalog) or _first_attempt(context.notes)


def _first_attempt(notes: Storage) -> datetime:
    """The time of the first attempt, for inputs without times: other shards and attempts are of the same night."""
    notes.create_json("night.json", {"as_of": datetime.now(UTC).isoformat()})
    return datetime.fromisoformat((notes.read_json("night.json") or {})["as_of"])
