"""What the evaluation of a domain works on: its items, index and cases, and which items count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from modit.data.catalog import Catalog
from modit.data.splits import Split
from modit.index.item_index import ItemIndex
from modit.index.params import RetrievalParams
from modit.metric.cases import Cases
from modit.metric.list_metrics import visible_depth
from modit.metric.patterns import Patterns
from modit.metric.predictor import DensityPredictor, DomainGeometry


@dataclass(frozen=True)
class EvaluationContext:
    """One domain as the evaluation sees it.

    Attributes:
        catalog: Items, titles and the scorer's verdicts.
        domain: Name of the attribute domain.
        patterns: Of the domain.
        predictor: The density predictor.
        geometry: Of the domain.
        index: Over the whole catalogue.
        cases: Split -> its cases.
        k: K, results judged where all items are scored.
    """

    catalog: Catalog
    domain: str
    patterns: Patterns
    predictor: DensityPredictor
    geometry: DomainGeometry
    index: ItemIndex
    cases: Mapping[str, Cases]
    k: int

    @classmethod
    def load(cls, folders: Mapping[str, Path], domain: str, retrieval: RetrievalParams) -> EvaluationContext:
        """Reads the artifacts of a domain.

        Args:
            folders: Of `catalog`, `patterns`, `predictor`, `cases` and `index`.
            domain: Name of the attribute domain.
            retrieval: Section `retrieval`.
        """
        catalog = Catalog.load(folders["catalog"])
        return cls(
            catalog=catalog,
            domain=domain,
            patterns=Patterns.load(folders["patterns"] / f"{domain}.npz"),
            predictor=DensityPredictor.load(folders["predictor"] / "predictor.npz"),
            geometry=DomainGeometry.load(folders["predictor"] / "geometry.npz"),
            index=ItemIndex.load(folders["index"]),
            cases={split: Cases.load(folders["cases"] / f"{split}.npz") for split in Split},
            k=retrieval.depth(len(catalog)),
        )

    @cached_property
    def positive(self) -> np.ndarray:
        """Items that the scorer says have the attribute, bool [N]."""
        return self.catalog.positive(self.domain)

    @cached_property
    def scored(self) -> np.ndarray:
        """Items that the scorer has judged, bool [N]; only they count as results."""
        return self.catalog.scored(self.domain)

    @cached_property
    def judged(self) -> np.ndarray | None:
        """Items that may be results on the hold-outs, bool [N]; None for all."""
        return None if self.scored.all() else self.scored

    @cached_property
    def visible(self) -> np.ndarray:
        """Items that may be results on validation, bool [N]: scored ones that are no test items."""
        return self.patterns.visible_for_validation & self.scored

    @property
    def judged_k(self) -> int:
        """Results judged on the hold-outs: the same share of the items that may be results as K is of all."""
        if self.judged is None:
            return self.k
        return visible_depth(self.k, len(self.catalog), int(self.scored.sum()))

    @property
    def validation_k(self) -> int:
        """Results judged on validation: the same share of the items that may be results."""
        return visible_depth(self.k, len(self.catalog), int(self.visible.sum()))
