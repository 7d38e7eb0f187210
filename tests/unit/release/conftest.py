import numpy as np
import pytest
import torch

from modit.model.dit import DiTConfig, MODiT
from modit.model.sampler import Sampler
from modit.release.registry.registry import MlflowRegistry
from modit.release.sampler.info import SamplerInfo
from modit.release.sampler.runtime import load_sampler
from tests.unit.conftest import draw_geometry

DIMENSION, SEEDS, STEPS, SAMPLES = 8, 12, 2, 3


def build_sampler(copy_heads=2, depth=2, samples=SAMPLES):
    """Random everywhere: at initialisation the zeros of adaLN-Zero would hide most branches."""
    torch.manual_seed(7)
    model = MODiT(DiTConfig(dimension=DIMENSION, width=16, depth=depth, heads=2, copy_heads=copy_heads))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return Sampler(model, draw_geometry(DIMENSION, 8), STEPS, samples).eval()


def describe(**changes):
    facts = {
        "domain": "drama",
        "dimension": DIMENSION,
        "maximum_seeds": SEEDS,
        "steps": STEPS,
        "samples": SAMPLES,
        "guidance": 3.0,
        "model_digest": "a" * 64,
        "geometry_digest": "b" * 64,
    }
    return SamplerInfo(**facts | changes)


@pytest.fixture(scope="session")
def exported(sampler_file):
    return load_sampler(sampler_file, threads=1)


@pytest.fixture(scope="session")
def shared_registry(tmp_path_factory):
    """One SQLite for all tests: MLflow needs seconds to make its tables. Tests use domains of their own."""
    folder = tmp_path_factory.mktemp("registry")
    return MlflowRegistry(f"sqlite:///{folder}/mlflow.db", f"file://{folder}/artifacts")


@pytest.fixture
def world(tmp_path, shared_registry, sampler_file):
    from tests.unit.release.world import World  # which imports this file

    return World(tmp_path, shared_registry, sampler_file)


@pytest.fixture
def inputs():
    generator = np.random.default_rng(3)
    seeds = generator.normal(size=(4, 5, DIMENSION)).astype(np.float32)
    return seeds, np.ones((4, 5), bool), generator.normal(size=(4, DIMENSION)).astype(np.float32)
