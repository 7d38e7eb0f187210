"""Translates the parts of a sampler's graph for networks of the size that the run trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modit.data.catalog import Catalog
from modit.export.sampler_parts import SamplerParts
from modit.training.session import network_config

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> None:
    """Reads the width of an embedding from `catalog`; writes `sampler_parts`, of which vote.onnx is one."""
    params = context.params
    config = network_config(Catalog.load(context.input("catalog")).dimension, params.model)
    sizes = params.sampler.steps, params.sampler.samples, params.build_trajectories.seeds
    SamplerParts.translate(config, *sizes).save(context.output("sampler_parts"))
