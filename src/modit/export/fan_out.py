"""A set diffusion with its guidance as an ONNX graph, and the proof that it gives the sets and lists of torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from modit.export.graph import single_graph, write_model
from modit.export.parity import differences_by_batch, parity_of_lists
from modit.export.translations import translate
from modit.fan_out.diffusion import Denoiser, GuidedDenoiser
from modit.inference.fan_out import FanOutRetriever
from modit.inference.fan_out_files import DENOISER_FILE, denoiser_metadata, denoiser_values
from modit.inference.texts import TextQuery


@torch.no_grad()
def export_denoiser(model: Denoiser, guidance: float, folder: Path, digest: str) -> None:
    """Writes the graph; the same weights give the same bytes.

    Args:
        model: In evaluation mode, on the CPU.
        guidance: Scale that the graph holds.
        folder: Where to.
        digest: sha256 of the model's file.
    """
    batch, tokens = torch.export.Dim("batch"), torch.export.Dim("tokens")
    rows, dimension = model.config.rows, model.config.dimension
    # any sizes other than 0 and 1
    example = (
        torch.ones(3, rows, dimension),
        torch.ones(3),
        torch.ones(3, 5, dimension),
        torch.ones(3, 5, dtype=torch.bool),
    )
    dynamic = ({0: batch}, {0: batch}, {0: batch, 1: tokens}, {0: batch, 1: tokens})
    graph = translate(GuidedDenoiser(model, guidance).eval(), example, dynamic)
    written = single_graph(graph, "denoiser", *denoiser_values(rows, dimension))
    write_model(written, denoiser_metadata(digest), folder / DENOISER_FILE)


def fan_out_parity(
    by_torch: FanOutRetriever, exported: FanOutRetriever, texts: Sequence[str], k: int
) -> dict[str, Any]:
    """Samples the sets of texts with both, in batches of several sizes, and searches with both.

    Args:
        by_torch: The model.
        exported: The exported files.
        texts: At least one.
        k: Items of a list.

    Returns:
        The content of `parity.json`; it is returned only when parity holds.

    Raises:
        ParityError: A coordinate differs by more than `TOLERANCE`, or fewer than `IDENTICAL_LISTS_MINIMUM` of the lists
            are the same.
    """
    expected, sample = by_torch.generator.sets(texts, 0), partial(exported.generator.sets, run=0)
    differences = differences_by_batch("", texts, expected, sample)
    requests = [TextQuery(text, k) for text in texts]
    return parity_of_lists("fan_out", differences, by_torch.retrieve(requests), exported.retrieve(requests))
