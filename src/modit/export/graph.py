"""Graphs of ONNX: a translated module as a file, and parts of a sampler joined into one graph with its weights.

Exporting the unrolled loop through torch took 85 s for 8 steps of the small model, because every step is traced and
translated again. Here each part is translated once and the step's nodes are copied under new names (docs/adr/0020). The
weights stay one set of initializers; onnxruntime folds what depends on weights or the step's time alone when it loads
the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from modit.inference.sampler_file import OPSET, OUTPUT, GraphValue, graph_inputs, graph_output

_SUBGRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
_IR_VERSION = 10  # of opset 20's time: older readers take it
# What the joined graph calls the network's unit query [B, d].
NETWORK_QUERY = "network_query"


class SamplerGraph:
    """The graph of a sampler, to which parts are added one after another."""

    def __init__(self, dimension: int, constants: Mapping[str, np.ndarray]) -> None:
        """Begins a graph.

        Args:
            dimension: d, width of an embedding.
            constants: What inputs of the parts are bound to, by name.
        """
        self._dimension, self._constants = dimension, constants
        self._weights = _Weights()
        self._nodes: list[onnx.NodeProto] = []

    def add_network(self, conditions: onnx.GraphProto, step: onnx.GraphProto, steps: int) -> None:
        """Adds conditions, then `steps` copies of the step, each fed by the one before, and their `NETWORK_QUERY`."""
        z, *cached = self.add("conditions", conditions)
        rows = self._weights.add("rows_axis", np.array([1], np.int64))
        self._nodes += [
            helper.make_node("Shape", ["noise"], ["batch_size"], start=0, end=1),
            helper.make_node("Expand", ["guidance", "batch_size"], ["guidance_rows"]),
            helper.make_node("Unsqueeze", ["guidance_rows", rows], ["guidance_column"]),
        ]
        free = [value.name for value in step.input if value.name not in self._constants]
        for index in range(steps):
            time = self._weights.add(f"time_{index}", np.array([[index / steps]], np.float32))
            given = (z, time, "guidance_column", *cached)
            (z,) = self.add(f"step_{index}", step, dict(zip(free, given, strict=True)))
        self._nodes += [
            helper.make_node("ReduceMean", [z, rows], ["mean_of_samples"], keepdims=0),
            helper.make_node("LpNormalization", ["mean_of_samples"], [NETWORK_QUERY], axis=-1, p=2),
        ]

    def add(self, prefix: str, part: onnx.GraphProto, values: Mapping[str, str] | None = None) -> list[str]:
        """Adds the nodes of a part.

        Args:
            prefix: Of their names.
            part: Its inputs are constants, or values of this graph.
            values: Input of the part -> value of this graph, where they have not one name.

        Returns:
            The names of its outputs in this graph.
        """
        read = {name for node in part.node for name in node.input}
        renamed = {}
        for name in (value.name for value in part.input):
            if name not in self._constants:
                renamed[name] = (values or {}).get(name, name)
            elif name in read:
                renamed[name] = self._weights.add(name, self._constants[name])
        self._nodes += _copied(part, prefix, renamed, self._weights)
        return [renamed[value.name] for value in part.output]

    def finish(self, query: str) -> onnx.ModelProto:
        """The model whose output is the query of a name."""
        self._nodes.append(helper.make_node("Identity", [query], [OUTPUT]))
        declared = (
            [_declared(each) for each in graph_inputs(self._dimension)],
            [_declared(graph_output(self._dimension))],
        )
        return _model(helper.make_graph(self._nodes, "sampler", *declared, self._weights.initializers))


def open_graph(part: onnx.GraphProto, name: str, inputs: Sequence[str]) -> onnx.ModelProto:
    """A translated module as a part of a later graph: a model of its own whose inputs have these names."""
    weights = _Weights()
    renamed = dict(zip((value.name for value in part.input), inputs, strict=True))
    given = [onnx.ValueInfoProto(name=renamed[value.name], type=value.type) for value in part.input]
    nodes = list(_copied(part, name, renamed, weights))
    made = [onnx.ValueInfoProto(name=renamed[value.name], type=value.type) for value in part.output]
    return _model(helper.make_graph(nodes, name, given, made, weights.initializers))


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
