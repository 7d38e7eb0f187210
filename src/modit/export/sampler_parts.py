"""The parts of a sampler's graph, translated once for all domains.

The samplers of a run differ in their weights alone, and what takes torch long, tracing and translating, does not depend
on them. So the weights are inputs of the parts, and `modit.export.sampler` binds those of a domain within a second
(docs/adr/0067).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.func import functional_call

from modit.export.graph import NETWORK_QUERY, open_graph, single_graph, write_model
from modit.export.translations import translate
from modit.inference.sampler_file import FLOAT, INPUTS, GraphValue, graph_output
from modit.inference.vote_file import VOTE_FILE, vote_inputs, vote_metadata
from modit.model.axes import Geometry, case_axes
from modit.model.dit import ConditionCache, DiTConfig, MODiT
from modit.model.flow import euler_step, normalize
from modit.model.readout import BLENDS, EVIDENCE, STEPS, Readout, step_directions, vote
from modit.model.sampler import (
    Sampler,
    blends_of_seeds,
    guided_velocity,
    guided_visibility,
    noise_companions,
    sort_seeds,
)

PARTS_FILE = "sampler_parts.json"
# What a vote reads besides where the network has a share in it.
SHARE = "share"
# Parts that can be run only with the weights of a domain.
_OPEN_PARTS = ("conditions", "step", "network_vote")
# Any sizes other than 0 and 1, which torch would take for constants.
_EXAMPLE_BATCH, _EXAMPLE_SEEDS, _EXAMPLE_MOVES = 3, 7, 5


class Conditions(nn.Module):
    """What a sampler does once: seeds [B, M, d], mask [B, M], noise [B, d] to the starts [B, S, d] and the cache."""

    def __init__(self, sampler: Sampler) -> None:
        super().__init__()
        self.sampler = sampler

    def forward(self, seeds: Tensor, mask: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        """The starts, then the cache as a flat tuple."""
        geometry = self.sampler.geometry
        ordered, lengths = sort_seeds(normalize(seeds), mask, geometry.density)
        cache = self.sampler.model.encode(ordered, lengths, case_axes(ordered, lengths, geometry))
        return (normalize(noise_companions(noise, self.sampler.samples)), *_flat(cache))


class GuidedStep(nn.Module):
    """What a sampler does at every step: z [B, S, d], time [1, 1], guidance [B, 1] and the cache to the next z."""

    def __init__(self, sampler: Sampler) -> None:
        super().__init__()
        self.sampler = sampler

    def forward(self, z: Tensor, time: Tensor, guidance: Tensor, cached: list[Tensor]) -> Tensor:
        """One Euler step of all S samples of a row."""
        cache = _cache(cached, self.sampler.model.config.depth)
        visibility = guided_visibility(cache, self.sampler.samples)
        velocity = guided_velocity(self.sampler.model, z, time, cache, visibility, guidance)
        return euler_step(z, velocity, 1.0 / self.sampler.steps)


class VoteOfMoves(nn.Module):
    """The vote of any moves in any geometry. Inputs: `modit.inference.vote_file.vote_inputs`.

    The network's share [] and its query [B, d] come after these where it has a share.
    """

    def forward(self, seeds: Tensor, mask: Tensor, evidence: Tensor, *given: Tensor) -> Tensor:
        """The unit vote [B, d]."""
        geometry, (blends, lengths, evidence_weights, weights) = Geometry(*given[:4]), given[4:8]
        share, network = given[8:] or (weights.new_zeros(()), None)
        steps = lengths @ step_directions(geometry)
        readout = Readout(share, blends, lengths, steps, evidence_weights, weights)
        return vote(blends_of_seeds(seeds, mask, geometry), readout, evidence, network)


class _WithWeights(nn.Module):
    """A module whose weights are an argument, so that the exporter folds none of them."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._module = (module,)  # where torch finds no weights of its own

    def forward(self, weights: dict[str, Tensor], arguments: tuple[Any, ...]) -> Any:
        return functional_call(self._module[0], weights, arguments, tie_weights=False)


@dataclass(frozen=True)
class SamplerParts:
    """The graphs of all samplers of one size.

    Attributes:
        config: Size of the network.
        steps: Euler steps.
        samples: How many are averaged into a query.
        maximum_seeds: Most seeds of a request.
        conditions: What is done once, with the weights as inputs.
        step: One Euler step, likewise.
        network_vote: The vote in which the network has a share, with geometry and moves as inputs.
        vote: The vote of moves alone, likewise.
    """

    config: DiTConfig
    steps: int
    samples: int
    maximum_seeds: int
    conditions: onnx.ModelProto
    step: onnx.ModelProto
    network_vote: onnx.ModelProto
    vote: onnx.ModelProto

    @classmethod
    def translate(cls, config: DiTConfig, steps: int, samples: int, maximum_seeds: int) -> SamplerParts:
        """Translates the parts; the same sizes give the same ones."""
        sampler = Sampler(MODiT(config), Geometry.blank(config.dimension), steps, samples).eval()
        votes = vote_graph(config.dimension, network=True), vote_graph(config.dimension)
        return cls(config, steps, samples, maximum_seeds, *_network_graphs(sampler), *votes)

    def save(self, folder: Path) -> None:
        """Writes the parts. That of the vote, `VOTE_FILE`, is a file that can be run."""
        for name in _OPEN_PARTS:
            (folder / f"{name}.onnx").write_bytes(getattr(self, name).SerializeToString(deterministic=True))
        write_vote(self.vote, self.config.dimension, self.maximum_seeds, folder / VOTE_FILE)
        (folder / PARTS_FILE).write_text(json.dumps(self.sizes, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> SamplerParts:
        """Reads what `save` wrote."""
        sizes = json.loads((folder / PARTS_FILE).read_text(encoding="utf-8"))
        parts = {name: onnx.load(folder / f"{name}.onnx") for name in _OPEN_PARTS}
        return cls(DiTConfig(**sizes.pop("config")), **sizes, **parts, vote=onnx.load(folder / VOTE_FILE))

    @property
    def sizes(self) -> dict[str, Any]:
        """All that the graphs depend on."""
        sizes = {name: getattr(self, name) for name in ("steps", "samples", "maximum_seeds")}
        return {"config": asdict(self.config)} | sizes


@torch.no_grad()
def vote_graph(dimension: int, *, network: bool = False) -> onnx.ModelProto:
    """Translates the vote of moves and a geometry that are not known yet.

    Args:
        dimension: d, width of an embedding.
        network: Whether the network has a share: its query and the share are further inputs.
    """
    inputs = vote_inputs(dimension, len(STEPS), len(EVIDENCE))
    if network:
        inputs += (GraphValue(SHARE, FLOAT, ()), GraphValue(NETWORK_QUERY, FLOAT, ("batch", dimension)))
    sizes: dict[str | int, int] = {"batch": _EXAMPLE_BATCH, "count": _EXAMPLE_SEEDS, "moves": _EXAMPLE_MOVES}
    dims = {name: torch.export.Dim(str(name)) for name in sizes}
    example = [
        torch.ones([sizes.get(each) or int(each) for each in value.dims], dtype=getattr(torch, value.kind))
        for value in inputs
    ]
    dynamic = [{axis: dims[each] for axis, each in enumerate(value.dims) if each in dims} for value in inputs]
    voted = translate(VoteOfMoves().eval(), tuple(example), (*dynamic[:3], tuple(dynamic[3:])))
    return single_graph(voted, "vote", inputs, [graph_output(dimension)])


def write_vote(model: onnx.ModelProto, dimension: int, maximum_seeds: int, path: Path) -> None:
    """Writes a graph of `vote_graph` without a network as a file that can be run; see `modit.inference.vote_file`."""
    write_model(model, vote_metadata(dimension, maximum_seeds, BLENDS, STEPS, EVIDENCE), path)


@torch.no_grad()
def _network_graphs(sampler: Sampler) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Conditions and step."""
    batch, count, tokens = (torch.export.Dim(name) for name in ("batch", "count", "tokens"))
    seeds = torch.randn(_EXAMPLE_BATCH, _EXAMPLE_SEEDS, sampler.model.config.dimension)
    example = (seeds, torch.ones(seeds.shape[:2], dtype=torch.bool), seeds[:, 0])
    first = Conditions(sampler).eval()
    conditions = _open(first, example, ({0: batch, 1: count}, {0: batch, 1: count}, {0: batch}), INPUTS[:3])
    z, *cached = first(*example)
    shapes = [_dynamic(value, batch, tokens) for value in cached]
    shapes[-1] = {0: batch}  # the axes of the case are always as many
    arguments = (z, torch.zeros(1, 1), torch.ones(_EXAMPLE_BATCH, 1), cached)
    names = ("z", "time", "scales", *(f"cached_{number}" for number in range(len(cached))))
    return conditions, _open(GuidedStep(sampler).eval(), arguments, ({0: batch}, {}, {0: batch}, shapes), names)


def _open(
    module: Conditions | GuidedStep, arguments: tuple[Any, ...], shapes: tuple[Any, ...], names: tuple[str, ...]
) -> onnx.ModelProto:
    """A part whose inputs are the weights of the sampler by their names, then those of the module by these names."""
    weights = module.sampler.state_dict()
    given = {f"sampler.{name}": value.clone() for name, value in weights.items()}
    every: tuple[dict[str, Any], tuple[Any, ...]] = ({name: {} for name in given}, shapes)
    part = translate(_WithWeights(module).eval(), (given, arguments), every)
    return open_graph(part, type(module).__name__.lower(), (*weights, *names))


def _flat(cache: ConditionCache) -> list[Tensor]:
    return [tensor for field in cache for tensor in (field if isinstance(field, tuple) else (field,))]


def _cache(values: Iterable[Tensor], depth: int) -> ConditionCache:
    """The inverse of `_flat`: keys and values have one tensor a block, other fields are one tensor."""
    left = iter(values)
    per_block = ("keys", "values")
    fields: dict[str, Any] = {
        name: tuple(islice(left, depth)) if name in per_block else next(left) for name in ConditionCache._fields
    }
    return ConditionCache(**fields)


def _dynamic(value: Tensor, batch: Any, tokens: Any) -> dict[int, Any]:
    """Dynamic axes of a part of the cache: [B], [B, d], [B, C, d] and [B, A, C, E]; none where it is empty."""
    if value.numel() == 0:
        return {}
    return {0: batch} | {3: {1: tokens}, 4: {2: tokens}}.get(value.ndim, {})
