"""The sampler as one ONNX graph: conditions exported once, one Euler step exported once and repeated.

Exporting the unrolled loop through torch took 85 s for 8 steps of the small model, because every step is traced and
translated again. Here each half is translated once and the step's nodes are copied under new names (docs/adr/0020). The
weights stay one set of initializers; onnxruntime folds what depends on the step's time alone when it loads the file.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from modit.export.translations import TRANSLATIONS
from modit.inference.sampler_file import EVIDENCE_INPUT, INPUTS, OPSET, OUTPUT, GraphValue, graph_inputs, graph_output
from modit.inference.vote_file import vote_inputs
from modit.model.axes import Geometry, case_axes
from modit.model.dit import ConditionCache
from modit.model.flow import euler_step, normalize
from modit.model.readout import EVIDENCE, STEPS, Readout, step_directions, vote
from modit.model.sampler import (
    Sampler,
    blends_of_seeds,
    guided_velocity,
    guided_visibility,
    noise_companions,
    sort_seeds,
)

_SUBGRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
_IR_VERSION = 10  # of opset 20's time: older readers take it
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


class Vote(nn.Module):
    """The vote of a sampler's readout: seeds [B, M, d], mask [B, M] and what it reads besides, to unit vectors [B, d].

    That is the network's query [B, d] and the evidence [B, E, d], each where the readout uses it.
    """

    def __init__(self, sampler: Sampler) -> None:
        super().__init__()
        self.sampler = sampler

    def forward(self, seeds: Tensor, mask: Tensor, *read: Tensor) -> Tensor:
        """The unit vote."""
        sampler, left = self.sampler, list(read)
        network = left.pop(0) if sampler.uses_network else None
        evidence = left.pop(0) if sampler.uses_evidence else None
        return vote(blends_of_seeds(seeds, mask, sampler.geometry), sampler.readout, evidence, network)


class VoteOfMoves(nn.Module):
    """The vote of any moves in any geometry, without a network. Inputs: `modit.inference.vote_file.vote_inputs`."""

    def forward(self, seeds: Tensor, mask: Tensor, evidence: Tensor, *given: Tensor) -> Tensor:
        """The unit vote [B, d]."""
        geometry, (blends, lengths, evidence_weights, weights) = Geometry(*given[:4]), given[4:]
        steps = lengths @ step_directions(geometry)
        readout = Readout(weights.new_zeros(()), blends, steps, evidence_weights, weights)
        return vote(blends_of_seeds(seeds, mask, geometry), readout, evidence)


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


@torch.no_grad()
def sampler_graph(sampler: Sampler) -> onnx.ModelProto:
    """Translates a sampler in evaluation mode; the weights are copied.

    Returns:
        A model with inputs seeds float32 [B, M, d], mask bool [B, M], noise float32 [B, d], guidance float32 [1] or [B]
        (a graph input has one rank), evidence float32 [B, E, d], and output query float32 [B, d].
    """
    dimension = sampler.model.config.dimension
    seeds = torch.randn(_EXAMPLE_BATCH, _EXAMPLE_SEEDS, dimension)
    mask = torch.ones(_EXAMPLE_BATCH, _EXAMPLE_SEEDS, dtype=torch.bool)
    batch, count = torch.export.Dim("batch"), torch.export.Dim("count")
    graph = _JoinedGraph(dimension)
    query = ""
    if sampler.uses_network:
        first = Conditions(sampler).eval()
        example = (seeds, mask, seeds[:, 0])
        once = translate(first, example, ({0: batch, 1: count}, {0: batch, 1: count}, {0: batch}))
        z, *cached = first(*example)
        tokens = torch.export.Dim("tokens")
        shapes = [_dynamic(value, batch, tokens) for value in cached]
        shapes[-1] = {0: batch}  # the axes of the case are always as many
        arguments = (z, torch.zeros(1, 1), torch.ones(_EXAMPLE_BATCH, 1), cached)
        step = translate(GuidedStep(sampler).eval(), arguments, ({0: batch}, {}, {0: batch}, shapes))
        query = graph.add_network(once, step, sampler.steps)
    if sampler.votes:
        read = {query: seeds[:, 0]} if query else {}
        if sampler.uses_evidence:
            read[EVIDENCE_INPUT] = torch.randn(_EXAMPLE_BATCH, len(EVIDENCE), dimension)
        dynamic = ({0: batch, 1: count}, {0: batch, 1: count}, ({0: batch},) * len(read))
        query = graph.add_vote(translate(Vote(sampler).eval(), (seeds, mask, *read.values()), dynamic), list(read))
    return graph.finish(query)


@torch.no_grad()
def vote_graph(dimension: int) -> onnx.ModelProto:
    """Translates the vote of moves and a geometry that are not known yet, over embeddings of this width."""
    inputs = vote_inputs(dimension, len(STEPS), len(EVIDENCE))
    sizes: dict[str | int, int] = {"batch": _EXAMPLE_BATCH, "count": _EXAMPLE_SEEDS, "moves": _EXAMPLE_MOVES}
    dims = {name: torch.export.Dim(str(name)) for name in sizes}
    example = [
        torch.ones([sizes.get(each) or int(each) for each in value.dims], dtype=getattr(torch, value.kind))
        for value in inputs
    ]
    dynamic = [{axis: dims[each] for axis, each in enumerate(value.dims) if each in dims} for value in inputs]
    shapes = (*dynamic[:3], tuple(dynamic[3:]))
    graph = _JoinedGraph(dimension, inputs)
    voted = translate(VoteOfMoves().eval(), tuple(example), shapes)
    return graph.finish(graph.add_vote(voted, [value.name for value in inputs[2:]]))


def translate(module: nn.Module, arguments: tuple[Any, ...], shapes: tuple[Any, ...]) -> onnx.GraphProto:
    """Exports a module of tensors.

    Args:
        module: in evaluation mode.
        arguments: examples, of sizes other than 0 and 1 where these are dynamic.
        shapes: dynamic dimensions of each argument, as `torch.export` takes them.
    """
    with _quiet():
        program = torch.export.export(module, arguments, dynamic_shapes=shapes, strict=False)
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            custom_translation_table=TRANSLATIONS,
        )
    if exported is None:  # only its legacy form, which writes a file, returns nothing
        raise TypeError("torch.onnx.export returned no program")
    return exported.model_proto.graph


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


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its stages and what constants it merges, and warns of torchvision; none is of interest."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class _JoinedGraph:
    """The main graph, to which translated parts are added one after another."""

    def __init__(self, dimension: int, inputs: Sequence[GraphValue] | None = None) -> None:
        """Begins a graph; its inputs are those of a sampler unless others are given."""
        self._dimension, self._inputs = dimension, inputs or graph_inputs(dimension)
        self._weights = _Weights()
        self._nodes: list[onnx.NodeProto] = []
        self._rows = self._weights.add("rows_axis", np.array([1], np.int64))

    def add_network(self, once: onnx.GraphProto, step: onnx.GraphProto, steps: int) -> str:
        """Adds conditions, then `steps` copies of the step, each fed by the one before.

        Returns:
            The name of the unit mean of the samples [B, d].
        """
        renamed = dict(zip((value.name for value in once.input), INPUTS, strict=False))
        self._nodes += _copied(once, "conditions", renamed, self._weights)
        z, *cached = (renamed[value.name] for value in once.output)
        self._nodes += [
            helper.make_node("Shape", ["noise"], ["batch_size"], start=0, end=1),
            helper.make_node("Expand", ["guidance", "batch_size"], ["guidance_rows"]),
            helper.make_node("Unsqueeze", ["guidance_rows", self._rows], ["guidance_column"]),
        ]
        for index in range(steps):
            time = self._weights.add(f"time_{index}", np.array([[index / steps]], np.float32))
            given = (z, time, "guidance_column", *cached)
            renamed = dict(zip((value.name for value in step.input), given, strict=True))
            self._nodes += _copied(step, f"step_{index}", renamed, self._weights)
            z = renamed[step.output[0].name]
        self._nodes += [
            helper.make_node("ReduceMean", [z, self._rows], ["mean_of_samples"], keepdims=0),
            helper.make_node("LpNormalization", ["mean_of_samples"], ["network_query"], axis=-1, p=2),
        ]
        return "network_query"

    def add_vote(self, voted: onnx.GraphProto, read: Sequence[str]) -> str:
        """Adds the vote of moves, which reads seeds, mask and other values by name, and returns its name."""
        names = ("seeds", "mask", *read)
        renamed = dict(zip((value.name for value in voted.input), names, strict=True))
        self._nodes += _copied(voted, "vote", renamed, self._weights)
        return renamed[voted.output[0].name]

    def finish(self, query: str) -> onnx.ModelProto:
        """The model whose output is the query of a name."""
        self._nodes.append(helper.make_node("Identity", [query], [OUTPUT]))
        declared = [_declared(each) for each in self._inputs], [_declared(graph_output(self._dimension))]
        return _model(helper.make_graph(self._nodes, "sampler", *declared, self._weights.initializers))


def single_graph(
    part: onnx.GraphProto, name: str, inputs: Sequence[GraphValue], outputs: Sequence[GraphValue]
) -> onnx.ModelProto:
    """A translated module as a model of its own.

    Args:
        part: the module.
        name: of the graph.
        inputs: its inputs as the file declares them, in their order.
        outputs: its outputs likewise.
    """
    weights = _Weights()
    renamed = dict(zip((value.name for value in part.input), (value.name for value in inputs), strict=True))
    nodes = list(_copied(part, name, renamed, weights))
    for made, value in zip(part.output, outputs, strict=True):
        nodes.append(helper.make_node("Identity", [renamed[made.name]], [value.name]))
    declared = [_declared(value) for value in inputs], [_declared(value) for value in outputs]
    return _model(helper.make_graph(nodes, name, *declared, weights.initializers))


def write_model(model: onnx.ModelProto, metadata: dict[str, str], path: Path) -> None:
    """Checks a model and writes it with its metadata, under a temporary name first."""
    exporters = {"modit.onnx_version": onnx.__version__, "modit.torch_version": torch.__version__}
    helper.set_model_props(model, metadata | exporters)
    onnx.checker.check_model(model, full_check=True)
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_bytes(model.SerializeToString(deterministic=True))
    temporary.replace(path)


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION, producer_name="modit"
    )


def _declared(value: GraphValue) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(value.kind))
    return helper.make_tensor_value_info(value.name, kind, list(value.dims))


class _Weights:
    """Initializers of the joined graph; equal ones of the two halves and all copies are kept once, under one name."""

    def __init__(self) -> None:
        self.initializers: list[TensorProto] = []
        self._known: dict[tuple[int, tuple[int, ...], bytes], str] = {}

    def add(self, name: str, value: np.ndarray) -> str:
        """Adds an array and returns its name in the joined graph."""
        return self.take(numpy_helper.from_array(value), lambda: name)

    def take(self, tensor: TensorProto, name: Callable[[], str]) -> str:
        """Adds a tensor under a name that is asked for only if no equal one is there."""
        value = numpy_helper.to_array(tensor)  # ascontiguousarray would give a scalar an axis
        key = (tensor.data_type, value.shape, value.tobytes())
        if key not in self._known:
            self._known[key] = name()
            self.initializers.append(numpy_helper.from_array(value, self._known[key]))
        return self._known[key]


def _copied(
    graph: onnx.GraphProto, prefix: str, renamed: dict[str, str], weights: _Weights
) -> Iterator[onnx.NodeProto]:
    """Copies of a graph's nodes with systematic names; `renamed` maps its values to the joined graph's, and grows.

    Exporter names, stack traces and paths of this machine are left behind.
    """
    for tensor in graph.initializer:
        renamed[tensor.name] = weights.take(tensor, lambda: f"weight_{len(weights.initializers)}")
    for number, node in enumerate(graph.node):
        if any(attribute.type in _SUBGRAPHS for attribute in node.attribute):
            raise ValueError(f"{prefix}: node {node.op_type} has a subgraph, whose values would not be renamed")
        for place, name in enumerate(node.output):
            renamed[name] = f"{prefix}_{number}_{place}" if name else ""
        copy = onnx.NodeProto(op_type=node.op_type, domain=node.domain, name=f"{prefix}_{number}")
        copy.input.extend(renamed[name] if name else "" for name in node.input)
        copy.output.extend(renamed[name] for name in node.output)
        copy.attribute.extend(sorted(node.attribute, key=lambda attribute: attribute.name))
        yield copy
