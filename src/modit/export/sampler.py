"""Writes a sampler as one ONNX file that says what it is, and the vote of moves of domains that are not trained yet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from modit.core.errors import ArtifactError
from modit.export.graph import NETWORK_QUERY, SamplerGraph, write_model
from modit.export.sampler_parts import SHARE, SamplerParts, vote_graph, write_vote
from modit.inference.sampler_file import SamplerInfo
from modit.model.sampler import Sampler


def export_sampler(sampler: Sampler, parts: SamplerParts, info: SamplerInfo, path: Path) -> None:
    """Writes the whole sampler to `path`, under a temporary name first; the same weights and info give the same bytes.

    Inputs and output of the graph are those of `sampler_graph`.

    Args:
        sampler: On the CPU.
        parts: Of samplers of its size.
        info: Goes into the file's metadata.
        path: Of the file.

    Raises:
        ArtifactError: `info` or `parts` do not describe this sampler.
    """
    found = {"dimension": sampler.model.config.dimension, "steps": sampler.steps, "samples": sampler.samples}
    for name, value in found.items():
        if getattr(info, name) != value:
            raise ArtifactError(f"{path}: info says {name} is {getattr(info, name)}, the sampler has {value}")
    write_model(sampler_graph(sampler, parts), info.as_metadata(), path)


def sampler_graph(sampler: Sampler, parts: SamplerParts) -> onnx.ModelProto:
    """Joins the parts, bound to the weights of a sampler.

    Returns:
        A model with inputs seeds float32 [B, M, d], mask bool [B, M], noise float32 [B, d], guidance float32 [1] or [B]
        (a graph input has one rank), evidence float32 [B, E, d], and output query float32 [B, d].

    Raises:
        ArtifactError: The parts are of samplers of another size.
    """
    for name, value in {"config": sampler.model.config, "steps": sampler.steps, "samples": sampler.samples}.items():
        if getattr(parts, name) != value:
            raise ArtifactError(f"parts of a sampler with {name} {getattr(parts, name)}; allowed: {value}")
    graph, query = SamplerGraph(parts.config.dimension, _constants(sampler)), NETWORK_QUERY
    if sampler.uses_network:
        graph.add_network(parts.conditions.graph, parts.step.graph, parts.steps)
    if sampler.votes:
        vote = parts.network_vote if sampler.uses_network else parts.vote
        (query,) = graph.add("vote", vote.graph)
    return graph.finish(query)


def export_vote(dimension: int, maximum_seeds: int, path: Path) -> None:
    """Writes the vote of any moves in any geometry to `path`, in the same way; see `modit.inference.vote_file`.

    Args:
        dimension: Width of an embedding.
        maximum_seeds: Most seeds of a request.
        path: Of the file.
    """
    write_vote(vote_graph(dimension), dimension, maximum_seeds, path)


def _constants(sampler: Sampler) -> dict[str, np.ndarray]:
    """What the inputs of parts are bound to: weights and geometry by their names in the sampler, and its moves."""
    constants = dict(sampler.state_dict())
    if sampler.votes:
        moves = sampler.readout
        constants |= {
            "blends": moves.blends,
            "lengths": moves.lengths,
            "evidence_weights": moves.evidence,
            "weights": moves.weights,
            SHARE: moves.share,
        }
    return {name: value.numpy() for name, value in constants.items()}
