"""A sampler's file with weights of 8 bits, made from its file of float32 (docs/adr/0032)."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from modit.core.errors import ArtifactError
from modit.inference.sampler_file import FLOAT32, INT8, SamplerInfo


def quantize_sampler(source: Path, target: Path) -> None:
    """Writes `target`, under a temporary name first; the same source gives the same bytes.

    Inputs and output are those of the source. Weights of matrix products are rounded to 8 bits, and at run time so is
    what they are multiplied with. What orders the seeds stays float32: seeds that change places are another question.

    Args:
        source: that `export_sampler` wrote.
        target: path of the file.

    Raises:
        ArtifactError: the source is of another precision, or no sampler.
    """
    model = onnx.load(source)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if (precision := SamplerInfo.from_metadata(metadata, source).precision) != FLOAT32:
        raise ArtifactError(f"{source}: precision is {precision}; allowed: {FLOAT32}")
    made = _quantized(model)
    onnx.helper.set_model_props(made, metadata | {"modit.precision": INT8})
    onnx.checker.check_model(made)
    temporary = target.with_suffix(target.suffix + ".tmp")
    temporary.write_bytes(made.SerializeToString(deterministic=True))
    temporary.replace(target)


def ordering_nodes(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes that the order of the seeds depends on, sorted."""
    makers = {name: node for node in graph.node for name in node.output}
    found: set[str] = set()
    open_values = [name for node in graph.node if node.op_type == "TopK" for name in node.input]
    while open_values:
        node = makers.get(open_values.pop())
        if node is not None and node.name not in found:
            found.add(node.name)
            open_values += node.input
    return sorted(found)


def _quantized(model: onnx.ModelProto) -> onnx.ModelProto:
    """As onnxruntime does it, into a file and with advice to prepare the graph, which gains nothing here."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory(prefix="modit-") as folder:
            place = Path(folder, "quantized.onnx")
            excluded = ordering_nodes(model.graph)
            quantize_dynamic(model, place, weight_type=QuantType.QInt8, nodes_to_exclude=excluded)
            return onnx.load(place)
    finally:
        root.setLevel(level)
