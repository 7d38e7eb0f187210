"""Fits the density predictor of a domain and validates it on held-out groups."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from modit.core.seeds import derived_seed
from modit.data.catalog import Catalog
from modit.metric.anchors import anchor_density, read_labels
from modit.metric.patterns import Patterns
from modit.metric.predictor import fit_geometry, fit_predictor, validate_predictor, validation_groups

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads `catalog`, `patterns`, `retrieval_labels`; writes `predictor`.

    The artifact: predictor.npz, geometry.npz, validation.json.
    """
    catalog = Catalog.load(context.input("catalog"))
    patterns = Patterns.load(context.input("patterns") / f"{context.domain}.npz")
    rows, density = anchor_density(read_labels(context.input("retrieval_labels")))
    embeddings = np.asarray(catalog.embeddings)[rows]
    groups = validation_groups(catalog.item_ids[rows], patterns, rows, derived_seed(context.seed, "super-patterns"))
    table = validate_predictor(embeddings, density, groups)
    folder = context.output("predictor")
    predictor = fit_predictor(embeddings, density)
    predictor.save(folder / "predictor.npz")
    positive, seed = catalog.positive(context.domain), derived_seed(context.seed, "geometry", context.domain)
    trainable = patterns.trainable & catalog.scored(context.domain)
    geometry = fit_geometry(catalog.embeddings, positive, trainable, predictor.direction, seed)
    geometry.save(folder / "geometry.npz")
    (folder / "validation.json").write_text(json.dumps(table, indent=1))
    return {"validation": table}
