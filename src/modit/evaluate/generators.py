"""Rows that are models: the same cases and the same noise for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from modit.metric.density import DensityPredictor
from modit.model.sampler import Sampler, generate_queries
from modit.model.storage import load_model


@dataclass(frozen=True)
class Generator:
    """A row of the table that is a model.

    Attributes:
        name: of the row.
        sampler: the model with the order of its seeds and its steps.
        guidance: the scale at which it is judged.
    """

    name: str
    sampler: Sampler
    guidance: float


def load_generator(name: str, path: Path, predictor: DensityPredictor, steps: int, guidance: float) -> Generator:
    """A row from a `model.pt`.

    Args:
        name: of the row.
        path: of the model file.
        predictor: its direction orders the seeds.
        steps: Euler steps.
        guidance: scale of this row.

    Raises:
        ArtifactError: the file is missing or holds no model.
    """
    direction = torch.from_numpy(np.asarray(predictor.direction, np.float32))
    return Generator(name, Sampler(load_model(path), direction, steps).eval(), guidance)


def fan_queries(
    sampler: Sampler, embeddings: np.ndarray, seeds: np.ndarray, guidance: Sequence[float], noise_seed: int
) -> np.ndarray:
    """Queries at several guidance scales from the noise of each case.

    Args:
        sampler: of the row.
        embeddings: [N, d]; may be memory-mapped, only the seeds' rows are read.
        seeds: int32 [n, m], padded with -1.
        guidance: R scales.
        noise_seed: the same for all rows that are compared.

    Returns:
        Unit float32 [n, R, d].
    """
    used = np.unique(seeds[seeds >= 0])
    compact = np.where(seeds >= 0, np.searchsorted(used, seeds), -1)
    table = torch.from_numpy(np.array(embeddings[used], np.float32))
    return generate_queries(sampler, table, torch.from_numpy(compact).long(), guidance, noise_seed).numpy()


def model_queries(generator: Generator, embeddings: np.ndarray, seeds: np.ndarray, noise_seed: int) -> np.ndarray:
    """One query for each case at the row's own guidance [n, d]; arguments as in `fan_queries`."""
    return fan_queries(generator.sampler, embeddings, seeds, [generator.guidance], noise_seed)[:, 0]
