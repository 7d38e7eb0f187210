"""The sampler of a release in a model repository of Triton Inference Server.

Triton answers with the query alone: who asks it brings noise and searches himself (docs/how-to/serve-with-kserve.md).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from modit.core.artifacts import ArtifactStore
from modit.core.storage import Storage
from modit.inference.retrieval import Query, SamplerInputs, sampler_inputs
from modit.inference.sampler_file import BOOL, FLOAT, INPUTS, GraphValue, graph_inputs, graph_output
from modit.release.bundle.bundle import CANARIES_FILE, expect_part
from modit.release.bundle.canaries import load_canaries
from modit.release.bundle.loading import Release, Source, load_release, open_bundle

CONFIG_FILE, MODEL_FILE, WARMUP = "config.pbtxt", "model.onnx", "warmup"
MOST_ROWS = 64  # of a batch, as of `/v1/retrieve/batch`
_TYPES = {FLOAT: "TYPE_FP32", BOOL: "TYPE_BOOL"}


def write_triton_model(source: Source, repository: Path) -> Path:
    """Writes `MODEL/VERSION/model.onnx`, `MODEL/config.pbtxt` and a request to warm up with, the first canary.

    Only this version is served, whatever others the folder has: the configuration names it.

    Args:
        source: a version; its bundle is verified and answers its canaries before anything is written.
        repository: made if it is not there.

    Returns:
        The model's folder.

    Raises:
        ArtifactError: as `load_release`.
    """
    release = load_release(source)
    folder = repository / source.model
    with tempfile.TemporaryDirectory(prefix="modit-") as scratch:
        store = ArtifactStore(Storage(source.run_uri), Path(scratch))
        own, bundle = open_bundle(store, source)
        sampler = expect_part(store, bundle.parts["sampler"]) / "sampler.onnx"
        asked = _asked(release, load_canaries(own / CANARIES_FILE)[0].seeds)
        _put(folder / str(source.version) / MODEL_FILE, sampler.read_bytes())
    for name, value in zip(INPUTS, asked, strict=True):
        _put(folder / WARMUP / name, np.ascontiguousarray(value).tobytes())
    _put(folder / CONFIG_FILE, _config(release, asked).encode())
    return folder


def _asked(release: Release, seeds: list[str]) -> SamplerInputs:
    vectors = release.items.embeddings[release.items.rows_of(seeds)].astype(np.float32)
    return sampler_inputs(release.sampler.info, [Query(vectors, k=1)])


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def _config(release: Release, asked: SamplerInputs) -> str:
    """A `ModelConfig` in the text form of protocol buffers."""
    info, source = release.sampler.info, release.source
    taken, given = graph_inputs(info.dimension), graph_output(info.dimension)
    facts = {
        "version": source.label,
        "bundle_digest": source.bundle_digest,
        "sampler_digest": source.sampler_digest,
        "guidance": str(info.guidance),
        "maximum_seeds": str(info.maximum_seeds),
    }
    lines = [
        f'name: "{source.model}"',
        'backend: "onnxruntime"',
        f"max_batch_size: {MOST_ROWS}",
        f"version_policy {{ specific {{ versions: [ {source.version} ] }} }}",
        *(f"input {{ {_value(each)} }}" for each in taken),
        f"output {{ {_value(given)} }}",
        "instance_group { kind: KIND_CPU }  # where it was checked against torch",
        "dynamic_batching { }",
        *_warmup(taken, asked),
        *(f'parameters {{ key: "modit.{name}" value {{ string_value: "{fact}" }} }}' for name, fact in facts.items()),
    ]
    return "\n".join(lines) + "\n"


def _value(value: GraphValue) -> str:
    """An input or output. Triton counts no batch axis, and a value without another one as [1]."""
    dims = [size if isinstance(size, int) else -1 for size in value.dims[1:]]
    reshape = "" if dims else " reshape { shape: [ ] }"
    return f'name: "{value.name}" data_type: {_TYPES[value.kind]} dims: {_list(dims or [1])}{reshape}'


def _warmup(taken: Iterable[GraphValue], asked: SamplerInputs) -> list[str]:
    rows = [
        f'  inputs {{ key: "{value.name}" value {{ data_type: {_TYPES[value.kind]} '
        f'dims: {_list(array.shape[1:] or [1])} input_data_file: "{value.name}" }} }}'
        for value, array in zip(taken, asked, strict=True)
    ]
    return ["model_warmup {", '  name: "canary" batch_size: 1', *rows, "}"]


def _list(numbers: Iterable[int]) -> str:
    return f"[ {', '.join(map(str, numbers))} ]"
