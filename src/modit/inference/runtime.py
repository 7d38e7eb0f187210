"""Runs an exported sampler with onnxruntime; knows nothing of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as status

from modit.core.errors import ArtifactError, ContractError
from modit.core.memory import at_once
from modit.inference.sampler_file import INPUTS, OUTPUT, GraphValue, SamplerInfo, SamplerInputs
from modit.metric.evidence import DIRECTIONS

_UNREADABLE = (status.InvalidProtobuf, status.InvalidGraph, status.InvalidArgument, status.Fail, status.NotImplemented)
_TOKENS_AT_ONCE = 32_768  # bounds the memory of activations: longer batches run in blocks


class QuerySampler(Protocol):
    """Generates queries from seeds: an exported file, or a torch model in its place."""

    @property
    def info(self) -> SamplerInfo:
        """The metadata of the file."""

    def queries(self, inputs: SamplerInputs) -> np.ndarray:
        """Generates one unit query for each row, float32 [B, d]."""


class OnnxSampler:
    """An exported sampler.

    Attributes:
        info: The metadata of the file.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        info: SamplerInfo,
        constants: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Keeps a graph.

        Args:
            session: Runs it.
            info: Of the sampler.
            constants: Further inputs of the graph, the same for all requests.
        """
        self._session, self.info, self._constants = session, info, constants or {}
        # A file of before evidence has one input less.
        self._reads = {value.name for value in session.get_inputs()}

    def queries(self, inputs: SamplerInputs) -> np.ndarray:
        """One query for each row.

        Returns:
            Unit queries, float32 [B, d]. A query does not depend on the other rows.

        Raises:
            ContractError: a shape or type is wrong, a row has no seed, or a valid value is not finite or a zero vector.
        """
        seeds, mask, noise, guidance, evidence = inputs
        self._check_shapes(seeds, mask, noise)
        scales = np.asarray(self.info.guidance if guidance is None else guidance, np.float32)
        if scales.shape not in ((), (len(seeds),)) or not (np.isfinite(scales) & (scales >= 0)).all():
            raise ContractError(f"guidance {scales.tolist()}; allowed: finite, >= 0, a scalar or [{len(seeds)}]")
        seeds = np.where(mask[..., None], seeds, 0).astype(np.float32)
        _check_vectors("seeds", seeds[mask])
        _check_vectors("noise", noise)
        if evidence is not None and (
            evidence.shape != self._evidence(len(seeds)).shape or not np.isfinite(evidence).all()
        ):
            raise ContractError(
                f"evidence has shape {evidence.shape}; allowed: {(len(seeds), DIRECTIONS, self.info.dimension)}, finite"
            )
        scales = np.broadcast_to(scales, len(seeds))
        evidence = self._evidence(len(seeds)) if evidence is None else evidence
        step = max(1, at_once(_TOKENS_AT_ONCE) // (seeds.shape[1] + 1))
        blocks = [slice(start, start + step) for start in range(0, len(seeds), step)]
        given = (seeds, mask, noise.astype(np.float32), np.ascontiguousarray(scales), evidence.astype(np.float32))
        return np.concatenate([self._run([value[block] for value in given]) for block in blocks])

    def _run(self, given: Sequence[np.ndarray]) -> np.ndarray:
        inputs = {name: value for name, value in zip(INPUTS, given, strict=True) if name in self._reads}
        return self._session.run([OUTPUT], {**inputs, **self._constants})[0]

    def _evidence(self, rows: int) -> np.ndarray:
        return np.zeros((rows, DIRECTIONS, self.info.dimension), np.float32)

    def _check_shapes(self, seeds: np.ndarray, mask: np.ndarray, noise: np.ndarray) -> None:
        d, most = self.info.dimension, self.info.maximum_seeds
        if seeds.ndim != 3 or len(seeds) == 0 or seeds.shape[2] != d or not 1 <= seeds.shape[1] <= most:
            raise ContractError(f"seeds have shape {seeds.shape}; allowed: [B, M, {d}] with B >= 1 and M in 1..{most}")
        if mask.shape != seeds.shape[:2] or mask.dtype != bool:
            raise ContractError(f"mask is {mask.dtype} {mask.shape}; allowed: bool {seeds.shape[:2]}")
        if noise.shape != (len(seeds), d):
            raise ContractError(f"noise has shape {noise.shape}; allowed: {(len(seeds), d)}")
        empty = np.flatnonzero(~mask.any(1))
        if len(empty):
            raise ContractError(
                f"{len(empty)} rows of mask have no seed, the first is row {empty[0]}; allowed: at least one"
            )


def _check_vectors(name: str, vectors: np.ndarray) -> None:
    lengths = np.linalg.norm(vectors, axis=-1)
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(bad):
        raise ContractError(f"{name}: {len(bad)} vectors, the first number {bad[0]}, are zero or not finite")


def load_sampler(path: Path, threads: int = 0) -> OnnxSampler:
    """Loads an exported sampler.

    Args:
        path: of the file.
        threads: of onnxruntime within an operator; 0 takes the machine's cores.

    Raises:
        ArtifactError: the file is missing, damaged, or no sampler of this format.
    """
    session = open_graph(path, threads)
    return OnnxSampler(session, SamplerInfo.from_metadata(session.get_modelmeta().custom_metadata_map, path))


def open_graph(path: Path, threads: int = 0) -> onnxruntime.InferenceSession:
    """Loads a graph; the arguments are those of `load_sampler`.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    if not path.is_file():
        raise ArtifactError(f"{path}: no sampler file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except _UNREADABLE as error:
        raise ArtifactError(f"{path}: not a readable ONNX file: {error}") from error


def open_declared(
    path: Path,
    metadata: Mapping[str, str],
    values: tuple[Sequence[GraphValue], Sequence[GraphValue]],
    threads: int = 0,
) -> onnxruntime.InferenceSession:
    """Loads a graph that says what it must of itself.

    Args:
        path: of the file.
        metadata: fields that it must have.
        values: inputs and outputs that it must have.
        threads: as of `open_graph`.

    Raises:
        ArtifactError: the file is missing or damaged, or has other metadata, inputs or outputs.
    """
    session = open_graph(path, threads)
    own = session.get_modelmeta().custom_metadata_map
    for name, expected in metadata.items():
        if (found := own.get(name)) != expected:
            raise ArtifactError(f"{path}: metadata field {name} is {found!r}; allowed: {expected!r}")
    for declared, wanted in zip((session.get_inputs(), session.get_outputs()), values, strict=True):
        shapes = {each.name: tuple(each.shape) for each in declared}
        for value in wanted:
            if shapes.get(value.name) != value.dims:
                raise ArtifactError(f"{path}: {value.name} has shape {shapes.get(value.name)}; allowed: {value.dims}")
    return session
