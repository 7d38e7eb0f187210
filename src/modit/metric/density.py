"""The density predictor: ridge from an embedding to the attribute's share around it (specification section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modit.core.arrays import save_arrays


@dataclass(frozen=True)
class DensityPredictor:
    """An affine map from an embedding to predicted attribute density.

    Attributes:
        direction: float32 [d].
        offset: scalar.
        alpha: the ridge strength chosen by leave-one-out error.
    """

    direction: np.ndarray
    offset: float
    alpha: float

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        """Predicted density [N] of embeddings [N, d]; used to order items only, so it is not clipped to [0, 1]."""
        return np.asarray(embeddings) @ self.direction + np.float32(self.offset)

    def save(self, path: Path) -> None:
        """Writes one `.npz`."""
        save_arrays(path, direction=self.direction, offset=self.offset, alpha=self.alpha)

    @classmethod
    def load(cls, path: Path) -> DensityPredictor:
        """Reads what `save` wrote."""
        with np.load(path) as stored:
            return cls(stored["direction"], float(stored["offset"]), float(stored["alpha"]))
