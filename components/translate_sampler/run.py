"""Translates the parts of a sampler's graph for networks of the size of the pretrained one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modit.export.sampler_parts import SamplerParts
from modit.training.checkpoint import load_model

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> None:
    """Reads the size of `pretrained`; writes `sampler_parts`: the parts of the graph, one of them vote.onnx."""
    config, params = load_model(context.input("pretrained") / "model.pt").config, context.params
    sizes = params.sampler.steps, params.sampler.samples, params.build_trajectories.seeds
    SamplerParts.translate(config, *sizes).save(context.output("sampler_parts"))
