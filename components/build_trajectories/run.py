"""Draws the ordered sequences that train, and freezes the cases that judge."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from modit.core.seeds import derived_seed, stream
from modit.data.catalog import Catalog
from modit.data.splits import HOLDOUTS, Split
from modit.metric.cases import build_cases
from modit.metric.patterns import Patterns, build_views, shared_items
from modit.metric.predictor import DensityPredictor
from modit.metric.trajectories import build_trajectories, density_ranks

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads `catalog`, `patterns`, `predictor`.

    Writes `trajectories`: own.npz for the domain's stages, shared.npz without what any domain holds out, views.npz; and
    `cases`: a file for each split and skipped.json with patterns too small to be judged.
    """
    catalog, params = Catalog.load(context.input("catalog")), context.params.build_trajectories
    every = {path.stem: Patterns.load(path) for path in context.input("patterns").glob("*.npz")}
    patterns, positive, scored = every[context.domain], catalog.positive(context.domain), catalog.scored(context.domain)
    density = DensityPredictor.load(context.input("predictor") / "predictor.npz").predict(catalog.embeddings)
    folder = context.output("trajectories")
    ranks = density_ranks(density, catalog.item_ids)
    own = patterns.trainable & scored
    allowed = {"own": own, "shared": own & shared_items(list(every.values()))}
    counts: dict[str, object] = {}
    for name, trainable in allowed.items():
        seed = derived_seed(context.seed, "views", context.domain, name)
        views = build_views(catalog.embeddings, positive, trainable, context.params.assign_patterns, seed)
        generator = stream(context.seed, "trajectories", context.domain, name)
        trajectories = build_trajectories(views, positive, trainable, ranks, params, generator)
        trajectories.save(folder / f"{name}.npz")
        counts[name] = len(trajectories)
        if name == "own":
            views.save(folder / "views.npz")
    skipped = {}
    for split in Split:
        wanted = params.cases if split in HOLDOUTS else params.validation_cases
        generator = stream(context.seed, "cases", context.domain, split)
        cases, skipped[split] = build_cases(patterns, positive, scored, ranks, split, wanted, params, generator)
        cases.save(context.output("cases") / f"{split}.npz")
        counts[split] = len(cases)
    (context.output("cases") / "skipped.json").write_text(json.dumps(skipped, indent=1, sort_keys=True))
    return counts
