"""Metadata of a sampler file, and the inputs and output of its graph. Serving reads this module, so it has no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from modit import __version__
from modit.core.errors import ArtifactError
from modit.metric.evidence import DIRECTIONS

SAMPLER_FILE = "sampler.onnx"
FORMAT = "modit-sampler/1"
PRECISION = "float32"
OPSET = 20
EVIDENCE_INPUT = "evidence"
INPUTS = ("seeds", "mask", "noise", "guidance", EVIDENCE_INPUT)
OUTPUT = "query"
FLOAT, BOOL = "float32", "bool"
_PREFIX = "modit."


@dataclass(frozen=True)
class SamplerInfo:
    """The metadata of a sampler file.

    Attributes:
        domain: Name of the attribute domain.
        dimension: d, width of an embedding.
        maximum_seeds: m, most seeds of a request; the model was trained with no more.
        steps: Euler steps inside the graph.
        samples: samples averaged into a query, inside the graph.
        guidance: The scale to serve with.
        model_digest: sha256 of the model file.
        geometry_digest: sha256 of the domain's geometry.
        opset: of the graph.
        modit_version: Version of modit that exported the file.
        precision: Type of the weights.
        readout_digest: sha256 of the readout file; empty in files of before it.
        network_share: How much of the network's query is in place of the moves' starts, in [0, 1].
        uses_evidence: Whether a move goes along what the known verdicts near the seeds say.
    """

    domain: str
    dimension: int
    maximum_seeds: int
    steps: int
    samples: int
    guidance: float
    model_digest: str
    geometry_digest: str
    opset: int = OPSET
    modit_version: str = __version__
    precision: str = PRECISION
    readout_digest: str = ""
    network_share: float = 1.0
    uses_evidence: bool = False

    def as_metadata(self) -> dict[str, str]:
        """The fields as metadata of an ONNX file."""
        facts = {name: str(value) for name, value in sorted(asdict(self).items())}
        return {_PREFIX + "format": FORMAT} | {_PREFIX + name: value for name, value in facts.items()}

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], source: Path) -> SamplerInfo:
        """Reads what `export_sampler` wrote.

        Raises:
            ArtifactError: the file is not of this format, or a field is missing.
        """
        facts = {name.removeprefix(_PREFIX): value for name, value in metadata.items() if name.startswith(_PREFIX)}
        if facts.get("format") != FORMAT:
            raise ArtifactError(f"{source}: metadata field format is {facts.get('format')!r}; allowed: {FORMAT!r}")
        if facts.setdefault("precision", PRECISION) != PRECISION:
            raise ArtifactError(f"{source}: metadata field precision is {facts['precision']!r}; allowed: {PRECISION!r}")
        facts = {"readout_digest": "", "network_share": "1.0", "uses_evidence": "False"} | facts
        missing = [name for name in cls.__dataclass_fields__ if name not in facts]
        if missing:
            raise ArtifactError(f"{source}: metadata lacks {', '.join(missing)}; export the sampler again")
        whole, real = ("dimension", "maximum_seeds", "steps", "samples", "opset"), ("guidance", "network_share")
        kinds: dict[str, Callable[[str], Any]] = dict.fromkeys(whole, int) | dict.fromkeys(real, float)
        kinds["uses_evidence"] = "True".__eq__
        return cls(**{name: kinds.get(name, str)(facts[name]) for name in cls.__dataclass_fields__})


class SamplerInputs(NamedTuple):
    """What a sampler is given; in the order of `INPUTS`.

    Attributes:
        seeds: Embeddings [B, M, d], of any length, in any order, M in 1..`SamplerInfo.maximum_seeds`.
        mask: True for valid seeds, bool [B, M]; at least one in each row. Other seeds are not read.
        noise: [B, d], of any length but zero.
        guidance: Scale >= 0, one for all rows or [B]; None takes `SamplerInfo.guidance`.
        evidence: What the known verdicts near the seeds say [B, E, d]; None: none is known. A sampler without a local
            move reads none.
    """

    seeds: np.ndarray
    mask: np.ndarray
    noise: np.ndarray
    guidance: float | np.ndarray | None = None
    evidence: np.ndarray | None = None


class GraphValue(NamedTuple):
    """An input or the output of the graph.

    Attributes:
        name: In the graph.
        kind: `FLOAT` or `BOOL`.
        dims: The size of each axis, or a name where it differs from call to call. The first is the batch; that of
            guidance has its own name, since one scale may be given for all rows.
    """

    name: str
    kind: str
    dims: tuple[str | int, ...]


def graph_inputs(dimension: int) -> tuple[GraphValue, ...]:
    """The inputs of a sampler over embeddings of this width, in the order of `INPUTS`."""
    kinds = (FLOAT, BOOL, FLOAT, FLOAT, FLOAT)
    dims: tuple[tuple[str | int, ...], ...] = (
        ("batch", "count", dimension),
        ("batch", "count"),
        ("batch", dimension),
        ("scales",),
        ("batch", DIRECTIONS, dimension),
    )
    return tuple(GraphValue(name, kind, axes) for name, kind, axes in zip(INPUTS, kinds, dims, strict=True))


def graph_output(dimension: int) -> GraphValue:
    """The output of a sampler: its queries."""
    return GraphValue(OUTPUT, FLOAT, ("batch", dimension))
