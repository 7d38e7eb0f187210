"""Text towers as ONNX graphs, and the proof that they give the same vectors and lists as torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from modit.data.ngrams import Side
from modit.export.graph import single_graph, write_model
from modit.export.parity import differences_by_batch, parity_of_lists
from modit.export.translations import translate
from modit.inference.search import SearchRetriever, TextEncoder
from modit.inference.search_files import tower_file, tower_metadata, tower_values
from modit.inference.texts import TextQuery
from modit.towers.encoder import TextTowers, Tower


class _Encode(nn.Module):
    """A tower by a look-up and a sum, which ONNX has; padding has the zero vector."""

    def __init__(self, tower: Tower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, ngrams: Tensor, known: Tensor | None = None) -> Tensor:
        return self.tower.head(nn.functional.embedding(ngrams, self.tower.ngrams.weight).sum(1), known)


@torch.no_grad()
def export_towers(towers: TextTowers, folder: Path, digest: str) -> None:
    """Writes the graph of each side and the text space; the same weights give the same bytes.

    Args:
        towers: On the CPU; they are put into evaluation mode.
        folder: Where to.
        digest: sha256 of their file.
    """
    batch, ngrams, config = torch.export.Dim("batch"), torch.export.Dim("ngrams"), towers.config
    if towers.space is not None:
        towers.space.without_items().save(folder)
    for side in get_args(Side):
        tower = towers.of(side)
        given = [torch.ones(3, 5, dtype=torch.int64)]  # any sizes other than 0 and 1
        shapes = [{0: batch, 1: ngrams}]
        if config.space:
            given.append(torch.ones(3, config.dimension))
            shapes.append({0: batch})
        graph = translate(_Encode(tower).eval(), tuple(given), tuple(shapes))
        name = tower_file(side)
        model = single_graph(graph, side, *tower_values(config.dimension, config.space))
        write_model(model, tower_metadata(name, digest), folder / name)


def search_parity(by_torch: TextEncoder, exported: SearchRetriever, texts: Sequence[str], k: int) -> dict[str, Any]:
    """Encodes texts with both, in batches of several sizes and by both towers, and searches with both.

    Args:
        by_torch: The towers.
        exported: The exported files.
        texts: At least one.
        k: Items of a list.

    Returns:
        The content of `parity.json`; it is returned only when parity holds.

    Raises:
        ParityError: A coordinate differs by more than `TOLERANCE`, or fewer than `IDENTICAL_LISTS_MINIMUM` of the lists
            are the same.
    """
    differences: dict[str, float] = {}
    for side in get_args(Side):
        expected, encode = by_torch.encode(texts, side), partial(exported.towers.encode, side=side)
        differences |= differences_by_batch(f"{side} tower, ", texts, expected, encode)
    requests = [TextQuery(text, k) for text in texts]
    expected_lists = replace(exported, towers=by_torch).retrieve(requests)
    return parity_of_lists("search", differences, expected_lists, exported.retrieve(requests))
