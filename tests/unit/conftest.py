"""Small models, and geometries of a domain, whose every part has a say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from modit.model.axes import Geometry
from modit.model.dit import DiTConfig, MODiT
from modit.model.flow import normalize

DIMENSION = 10


def perturb(model: MODiT, seed: int = 0) -> MODiT:
    """Moves every parameter: modulations, gates and heads start at zero, and a zero hides mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def draw_geometry(dimension: int = DIMENSION, seed: int = 0) -> Geometry:
    """Directions, mean and a whitening that is no multiple of the identity."""
    generator = torch.Generator().manual_seed(seed)
    density, attribute, mean = torch.randn(3, dimension, generator=generator)
    spread = torch.randn(dimension, dimension, generator=generator)
    whitening = torch.linalg.inv(spread @ spread.T / dimension + 0.1 * torch.eye(dimension))
    return Geometry(normalize(density), normalize(attribute), 0.1 * mean, whitening)


@pytest.fixture
def make_model() -> Callable[..., MODiT]:
    """Builds a perturbed model: `make_model(seed=0, depth=2, ...)`."""

    def build(seed: int = 0, **config: object) -> MODiT:
        torch.manual_seed(seed)
        sizes = {"dimension": DIMENSION, "width": 16, "depth": 2, "heads": 2, "copy_heads": 2}
        return perturb(MODiT(DiTConfig(**sizes | config)), seed)

    return build


@pytest.fixture(scope="session")
def exported(sampler_file: Path) -> object:
    """That file, loaded."""
    from modit.inference.runtime import load_sampler

    return load_sampler(sampler_file, threads=1)


@pytest.fixture
def inputs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seeds [4, 5, d], mask and noise for it."""
    from tests.unit.samplers import DIMENSION

    generator = np.random.default_rng(3)
    seeds = generator.normal(size=(4, 5, DIMENSION)).astype(np.float32)
    return seeds, np.ones((4, 5), bool), generator.normal(size=(4, DIMENSION)).astype(np.float32)
