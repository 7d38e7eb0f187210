"""A small sampler whose every part has a say, and what its file says of itself."""

import torch

from modit.export.sampler_parts import SamplerParts
from modit.inference.sampler_file import SamplerInfo
from modit.model.dit import DiTConfig, MODiT
from modit.model.readout import Move, Readout
from modit.model.sampler import Sampler
from tests.unit.conftest import draw_geometry

DIMENSION, SEEDS, STEPS, SAMPLES = 8, 12, 2, 3
SHARE, MOVES = 0.6, (Move("mean", "density", 0.3, "30", 1.0), Move("best", "both", 0.6))


def build_sampler(copy_heads=2, depth=2, samples=SAMPLES):
    """Random everywhere: at initialisation the zeros of adaLN-Zero would hide most branches."""
    torch.manual_seed(7)
    model = MODiT(DiTConfig(dimension=DIMENSION, width=16, depth=depth, heads=2, copy_heads=copy_heads))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    geometry = draw_geometry(DIMENSION, 8)
    readout = Readout.of(SHARE, MOVES, [0.7, 0.3], geometry)
    return Sampler(model, geometry, STEPS, samples, readout).eval()


def translate(sampler):
    """The parts of its graph."""
    return SamplerParts.translate(sampler.model.config, sampler.steps, sampler.samples, SEEDS)


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
        "network_share": SHARE,
        "uses_evidence": True,
    }
    return SamplerInfo(**facts | changes)
