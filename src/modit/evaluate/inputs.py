"""What an evaluation works on, read from artifacts."""

from __future__ import annotations

from pathlib import Path

from modit.data.catalog import Catalog
from modit.data.splits import Split
from modit.evaluate.world import World
from modit.index.item_index import ItemIndex
from modit.index.params import RetrievalParams
from modit.metric.cases import Cases
from modit.metric.list_metrics import visible_depth
from modit.metric.patterns import Patterns
from modit.metric.predictor import DensityPredictor, DomainGeometry


def load_world(folders: dict[str, Path], domain: str, retrieval: RetrievalParams) -> World:
    """Reads the artifacts of a domain.

    Args:
        folders: of `catalog`, `patterns`, `predictor`, `cases` and `index`.
        domain: which one.
        retrieval: section `retrieval`.
    """
    catalog = Catalog.load(folders["catalog"])
    patterns = Patterns.load(folders["patterns"] / f"{domain}.npz")
    k = retrieval.depth(len(catalog))
    return World(
        catalog=catalog,
        domain=domain,
        patterns=patterns,
        predictor=DensityPredictor.load(folders["predictor"] / "predictor.npz"),
        geometry=DomainGeometry.load(folders["predictor"] / "geometry.npz"),
        index=ItemIndex.load(folders["index"]),
        cases={split: Cases.load(folders["cases"] / f"{split}.npz") for split in Split},
        k=k,
        validation_k=visible_depth(k, len(catalog), int(patterns.visible_for_validation.sum())),
    )
