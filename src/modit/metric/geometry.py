"""What a domain knows of its space: where density and attribute grow, and how the catalogue spreads (docs/adr/0011)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modit.core.arrays import save_arrays


@dataclass(frozen=True)
class DomainGeometry:
    """Linear facts about a domain's embeddings, fitted on items that the domain may learn from.

    Attributes:
        density: unit direction of the density predictor, float32 [d].
        attribute: unit direction of a linear probe for the item's own attribute, float32 [d].
        mean: mean embedding, float32 [d].
        whitening: regularised inverse covariance, float32 [d, d].
    """

    density: np.ndarray
    attribute: np.ndarray
    mean: np.ndarray
    whitening: np.ndarray

    def save(self, path: Path) -> None:
        """Writes one `.npz`."""
        save_arrays(path, density=self.density, attribute=self.attribute, mean=self.mean, whitening=self.whitening)

    @classmethod
    def load(cls, path: Path) -> DomainGeometry:
        """Reads what `save` wrote."""
        with np.load(path) as stored:
            return cls(**{name: stored[name] for name in stored.files})
