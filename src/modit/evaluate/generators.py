"""Rows that are models: the same cases and the same noise for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from modit.core.memory import at_once
from modit.data.splits import VALIDATIONS
from modit.evaluate.world import World, validation_joint
from modit.model.axes import Geometry
from modit.model.sampler import CASES_AT_ONCE, Sampler, generate_queries
from modit.train.checkpoint import load_model
from modit.train.params import SamplerParams

_VALIDATION_NOISE = 0


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


def load_generator(
    name: str,
    path: Path,
    world: World,
    params: SamplerParams,
    guidance: float | None = None,
    knows_domain: bool = True,
) -> Generator:
    """A row from a `model.pt`.

    Args:
        name: of the row.
        path: of the model file.
        world: its validation cases choose the guidance.
        params: steps, samples and the scales to choose from.
        guidance: of the row; None takes the one that validation prefers.
        knows_domain: False for a model trained before any domain: it is judged without the domain's axes, as trained.

    Raises:
        ArtifactError: the file is missing or holds no model.
    """
    blank = Geometry.blank(world.catalog.dimension)
    geometry = Geometry.of(world.geometry) if knows_domain else blank
    sampler = Sampler(load_model(path), geometry, params.steps, params.samples).eval()
    return Generator(name, sampler, choose_guidance(world, sampler, params.guidance) if guidance is None else guidance)


def choose_guidance(world: World, sampler: Sampler, scales: Sequence[float]) -> float:
    """The scale of greatest mean Joint@K, item and pattern validation weighing the same, as HPPO's stop rule has it.

    Args:
        world: of the domain; a kind of validation without cases does not count.
        sampler: of the row.
        scales: to choose from; the first of equals is taken.
    """
    total = np.zeros(len(scales))
    for split in VALIDATIONS:
        cases = world.cases[split]
        if len(cases):
            fan = fan_queries(sampler, world.catalog.embeddings, cases.seeds, scales, _VALIDATION_NOISE)
            total += [validation_joint(world, cases, queries) for queries in fan.transpose(1, 0, 2)]
    return scales[int(total.argmax())]


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
    rows, block = torch.from_numpy(compact).long(), at_once(CASES_AT_ONCE)
    return generate_queries(sampler, table, rows, guidance, noise_seed, block).numpy()


def model_queries(generator: Generator, embeddings: np.ndarray, seeds: np.ndarray, noise_seed: int) -> np.ndarray:
    """One query for each case at the row's own guidance [n, d]; arguments as in `fan_queries`."""
    return fan_queries(generator.sampler, embeddings, seeds, [generator.guidance], noise_seed)[:, 0]
