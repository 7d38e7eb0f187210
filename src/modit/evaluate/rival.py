"""Exported files among the rows, the champion that answers today above all, on the same cases and the same noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

CHAMPION = "Champion"


class ExportedSampler(Protocol):
    """What runs an exported file (`modit.inference.runtime.OnnxSampler`)."""

    def queries(
        self, seeds: np.ndarray, mask: np.ndarray, noise: np.ndarray, guidance: float | np.ndarray | None = None
    ) -> np.ndarray:
        """Unit queries [B, d] of seeds [B, M, d] with mask [B, M] and noise [B, d]; None: the scale that is served."""


@dataclass(frozen=True, eq=False)
class ExportedRow:
    """An exported file as the evaluation sees it.

    Attributes:
        sampler: the file, which orders seeds itself and is asked at the guidance that it is served with.
        maximum_seeds: that it takes; of longer lists it gets an even selection, as a caller would have to choose.
    """

    sampler: ExportedSampler
    maximum_seeds: int

    def queries(self, embeddings: np.ndarray, seeds: np.ndarray, noise_seed: int) -> np.ndarray:
        """One query for each case [n, d], from the noise that `generate_queries` gives every other model.

        Args:
            embeddings: [N, d]; may be memory-mapped, only the seeds' rows are read.
            seeds: int32 [n, m], padded with -1.
            noise_seed: as for the other rows.
        """
        import torch  # for the noise alone: who only fetches or previews an exported file does without

        from modit.model.flow import sample_noise

        noise = sample_noise((len(seeds), embeddings.shape[1]), torch.Generator().manual_seed(noise_seed)).numpy()
        rows = even_selection(seeds, self.maximum_seeds)
        vectors = np.asarray(embeddings[np.maximum(rows, 0)], np.float32)
        return self.sampler.queries(vectors, rows >= 0, noise)


@dataclass(frozen=True, eq=False)
class Rival(ExportedRow):
    """The champion.

    Attributes:
        new_items: bool [N], items of the catalogue that its own catalogue did not have.
    """

    new_items: np.ndarray


def even_selection(seeds: np.ndarray, most: int) -> np.ndarray:
    """At most so many seeds of each row, evenly spaced and in their order, int32 [n, <= most] padded with -1."""
    lengths = (seeds >= 0).sum(1)
    if lengths.max(initial=0) <= most:
        return seeds[:, :most]
    chosen = np.full((len(seeds), most), -1, seeds.dtype)
    for row, length in enumerate(lengths):
        places = np.linspace(0, length - 1, min(most, length)).round().astype(int)
        chosen[row, : len(places)] = seeds[row, places]
    return chosen
