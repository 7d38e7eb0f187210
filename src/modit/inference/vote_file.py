"""A file with the vote of any moves in any geometry: what answers for a domain that nothing was trained for.

`export_sampler` writes it beside each sampler, from the code of the readout, so a process without torch can vote for a
domain that appears later. It says itself which blends, steps and evidence it knows.

Shape legend: B cases, M seeds, d width of an embedding, V moves, S steps, E evidence directions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

from modit.core.errors import ArtifactError
from modit.inference.runtime import OnnxSampler, open_graph
from modit.inference.sampler_file import BOOL, FLOAT, GraphValue, SamplerInfo
from modit.metric.predictor import DomainGeometry

VOTE_FILE = "vote.onnx"
FORMAT = "modit-vote/1"
GEOMETRY = ("density", "attribute", "mean", "whitening")
_PREFIX = "modit."


class WeightedMove(NamedTuple):
    """A move of a vote, with its weight; the other fields are those of `modit.model.readout.Move`."""

    blend: str
    step: str
    length: float
    evidence: str
    evidence_weight: float
    weight: float


def vote_inputs(dimension: int, steps: int, evidence: int) -> tuple[GraphValue, ...]:
    """The inputs of the graph: those of a sampler, then geometry and moves.

    Args:
        dimension: d.
        steps: S.
        evidence: E.
    """
    d = dimension
    sizes: dict[str, tuple[str, tuple[str | int, ...]]] = {
        "seeds": (FLOAT, ("batch", "count", d)),
        "mask": (BOOL, ("batch", "count")),
        "evidence": (FLOAT, ("batch", evidence, d)),
        "density": (FLOAT, (d,)),
        "attribute": (FLOAT, (d,)),
        "mean": (FLOAT, (d,)),
        "whitening": (FLOAT, (d, d)),
        "blends": ("int64", ("moves",)),
        "lengths": (FLOAT, ("moves", steps)),
        "evidence_weights": (FLOAT, ("moves", evidence)),
        "weights": (FLOAT, ("moves",)),
    }
    return tuple(GraphValue(name, *size) for name, size in sizes.items())


def vote_metadata(
    dimension: int, maximum_seeds: int, blends: Sequence[str], steps: Sequence[str], evidence: Sequence[str]
) -> dict[str, str]:
    """The metadata of the file: its sizes, and the names of each kind in the order of their numbers."""
    facts: dict[str, Any] = {"dimension": dimension, "maximum_seeds": maximum_seeds}
    facts |= {"blends": list(blends), "steps": list(steps), "evidence": list(evidence)}
    return {f"{_PREFIX}format": FORMAT} | {_PREFIX + name: json.dumps(value) for name, value in facts.items()}


@dataclass(frozen=True, eq=False)
class VoteFile:
    """The graph of a vote.

    Attributes:
        session: Runs it.
        dimension: d.
        maximum_seeds: Most seeds of a request, as of the sampler beside it.
        blends: Names of the blends of seeds.
        steps: Names of the steps.
        evidence: Names of what known verdicts say.
        source: The file.
    """

    session: onnxruntime.InferenceSession
    dimension: int
    maximum_seeds: int
    blends: list[str]
    steps: list[str]
    evidence: list[str]
    source: Path

    def sampler(self, domain: str, moves: Sequence[WeightedMove], geometry: DomainGeometry) -> OnnxSampler:
        """A sampler that answers with a vote. Guidance and noise change nothing in its answers.

        Args:
            domain: That it answers for.
            moves: V of them, at least one; their weights need not sum to 1.
            geometry: Of the domain.

        Raises:
            ArtifactError: A move names something that the file does not have.
        """
        for move in moves:
            for kind, name, known in (("blend", move.blend, self.blends), ("step", move.step, self.steps)):
                self._expect(kind, name, known)
            if move.evidence_weight:
                self._expect("evidence", move.evidence, self.evidence)
        weights = np.array([move.weight for move in moves], np.float32)
        pulls = [[move.evidence_weight * (move.evidence == name) for name in self.evidence] for move in moves]
        lengths = [[move.length * (move.step == name) for name in self.steps] for move in moves]
        constants = {name: np.asarray(getattr(geometry, name), np.float32) for name in GEOMETRY} | {
            "blends": np.array([self.blends.index(move.blend) for move in moves], np.int64),
            "lengths": np.array(lengths, np.float32),
            "evidence_weights": np.array(pulls, np.float32),
            "weights": weights / weights.sum(),
        }
        info = SamplerInfo(
            domain,
            self.dimension,
            self.maximum_seeds,
            steps=1,
            samples=1,
            guidance=1.0,
            model_digest="",
            geometry_digest="",
            network_share=0.0,
            uses_evidence=bool(np.any(pulls)),
        )
        return OnnxSampler(self.session, info, constants)

    def _expect(self, kind: str, name: str, known: Sequence[str]) -> None:
        if name not in known:
            raise ArtifactError(f"{self.source}: {kind} {name!r} of a move is unknown; allowed: {', '.join(known)}")


def load_vote(folder: Path, threads: int = 0) -> VoteFile:
    """Loads the vote beside an exported sampler.

    Args:
        folder: Of the artifact `sampler`.
        threads: Of onnxruntime within an operator; 0 takes the machine's cores.

    Raises:
        ArtifactError: The file is damaged or of another format, or missing, as in runs of earlier versions.
    """
    path = folder / VOTE_FILE
    if not path.is_file():
        raise ArtifactError(f"{path} is missing: the run is of an earlier version; run export_sampler again")
    session = open_graph(path, threads)
    metadata = session.get_modelmeta().custom_metadata_map
    if (found := metadata.get(f"{_PREFIX}format")) != FORMAT:
        raise ArtifactError(f"{path}: metadata field format is {found!r}; allowed: {FORMAT!r}")
    fields = ("dimension", "maximum_seeds", "blends", "steps", "evidence")
    return VoteFile(session, source=path, **{name: json.loads(metadata[_PREFIX + name]) for name in fields})
