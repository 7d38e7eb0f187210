"""What the evaluation of a domain works on: its items, index and cases, and which items count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from modit.data.catalog import Catalog
from modit.data.splits import ResultScope, Split
from modit.index.item_index import ItemIndex
from modit.index.params import RetrievalParams
from modit.index.searchable import SearchableIndex
from modit.metric.cases import Cases
from modit.metric.evidence import KnownVerdicts
from modit.metric.known_patterns import KnownPatterns
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
        k: K, results judged where all items may be results.
        scope: Which items may be results.
    """

    catalog: Catalog
    domain: str
    patterns: Patterns
    predictor: DensityPredictor
    geometry: DomainGeometry
    index: SearchableIndex
    cases: Mapping[str, Cases]
    k: int
    scope: ResultScope = ResultScope.DISCOVERY

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
        """Items that the scorer has judged, bool [N]; only they can be judged as results."""
        return self.catalog.scored(self.domain)

    @cached_property
    def known_verdicts(self) -> KnownVerdicts:
        """The verdicts that a row may use: those of scored training items."""
        known = self.patterns.trainable & self.scored
        return KnownVerdicts(self.catalog.embeddings, self.positive, known)

    @cached_property
    def known_patterns(self) -> KnownPatterns:
        """The patterns that a row may know: those of the known positives."""
        return KnownPatterns.of(self.known_verdicts, self.patterns.labels)

    def allowed(self, split: Split) -> np.ndarray:
        """Items that may be results of a split's cases, bool [N]: scored ones in the scope. Always the same object."""
        if split not in self._allowed:
            self._allowed[split] = self.patterns.may_be_results(split, self.scope) & self.scored
        return self._allowed[split]

    def depth(self, split: Split) -> int:
        """Results judged: the same share of the items that may be results as K is of all."""
        return visible_depth(self.k, len(self.catalog), int(self.allowed(split).sum()))

    @cached_property
    def _allowed(self) -> dict[Split, np.ndarray]:
        return {}
