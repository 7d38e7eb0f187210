"""Writes a sampler as one ONNX file that says what it is, and the vote of moves of domains that are not trained yet."""

from __future__ import annotations

from pathlib import Path

from modit.core.errors import ArtifactError
from modit.export.graph import sampler_graph, vote_graph, write_model
from modit.inference.sampler_file import SamplerInfo
from modit.inference.vote_file import vote_metadata
from modit.model.readout import BLENDS, EVIDENCE, STEPS
from modit.model.sampler import Sampler


def export_sampler(sampler: Sampler, info: SamplerInfo, path: Path) -> None:
    """Writes the whole sampler to `path`, under a temporary name first; the same weights and info give the same bytes.

    Inputs and output of the graph are those of `sampler_graph`.

    Args:
        sampler: On the CPU; it is put into evaluation mode.
        info: Goes into the file's metadata.
        path: Of the file.

    Raises:
        ArtifactError: `info` does not describe this sampler.
    """
    found = {"dimension": sampler.model.config.dimension, "steps": sampler.steps, "samples": sampler.samples}
    for name, value in found.items():
        if getattr(info, name) != value:
            raise ArtifactError(f"{path}: info says {name} is {getattr(info, name)}, the sampler has {value}")
    write_model(sampler_graph(sampler.eval()), info.as_metadata(), path)


def export_vote(dimension: int, maximum_seeds: int, path: Path) -> None:
    """Writes the vote of any moves in any geometry to `path`, in the same way; see `modit.inference.vote_file`.

    Args:
        dimension: Width of an embedding.
        maximum_seeds: Most seeds of a request.
        path: Of the file.
    """
    write_model(vote_graph(dimension), vote_metadata(dimension, maximum_seeds, BLENDS, STEPS, EVIDENCE), path)
