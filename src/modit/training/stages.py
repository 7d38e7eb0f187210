"""Data and losses of the supervised stages: dense prefix prediction, and one target after all seeds (section 5)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from modit.data.catalog import Sequences
from modit.data.vectors import mean_of_rows
from modit.metric.trajectories import MINIMUM_ITEMS
from modit.model.axes import Geometry, case_axes
from modit.model.dit import MODiT, packed_visibility, query_visibility
from modit.model.flow import flow_matching_loss, geodesic, sample_noise, sample_time
from modit.training.loop import Batch
from modit.training.params import OptimizerParams


def draw_rotations(dimension: int, rows: int, share: float, generator: torch.Generator) -> Tensor:
    """Random orthogonal maps for the rows of a batch, to be applied from the right: x @ R (docs/adr/0004).

    Args:
        dimension: d.
        rows: B.
        share: chance that a row is rotated at all; others get the identity.
        generator: of the draws.

    Returns:
        [B, d, d]; the rotated rows share one map, which is variety enough over the steps of a stage.
    """
    drawn = torch.linalg.qr(torch.randn(dimension, dimension, generator=generator))[0]
    rotated = torch.rand(rows, generator=generator) < share
    return torch.where(rotated[:, None, None], drawn, torch.eye(dimension))


class PrefixPrediction:
    """Stages 0 and 1: position r predicts item r from the items before it, all positions in one packed pass (Eq. 7)."""

    def __init__(
        self,
        name: str,
        embeddings: np.ndarray,
        sequences: np.ndarray,
        params: OptimizerParams,
        geometries: Sequence[Geometry],
        kinds: np.ndarray | None = None,
    ) -> None:
        """Keeps the data as tensors.

        Args:
            name: of the stage.
            embeddings: [N, d].
            sequences: rows of the catalogue int32 [S, L], padded with -1 at the end.
            params: optimiser settings.
            geometries: of one domain or of several.
            kinds: which of the geometries belongs to each sequence [S]; None for the first.
        """
        self.name, self.params = name, params
        self.kinds = torch.zeros(len(sequences), dtype=torch.long) if kinds is None else torch.from_numpy(kinds).long()
        self.geometries = geometries
        self.embeddings = torch.from_numpy(np.ascontiguousarray(embeddings))
        self.sequences = torch.from_numpy(np.ascontiguousarray(sequences)).long()

    def batch(self, generator: torch.Generator, size: int) -> Batch:
        """Sequences with a time and a noise for each position."""
        chosen = torch.randint(len(self.sequences), (size,), generator=generator)
        rows = self.sequences[chosen]
        items = self.embeddings[rows.clamp_min(0)]
        rotation = draw_rotations(items.shape[-1], size, self.params.rotate, generator)
        framed = self._frame_lengths(rows, generator)
        shape, rotated = rows.shape, items @ rotation
        return {
            "seeds": rotated,
            "targets": rotated,
            "axes": self._axes(items, framed, self.kinds[chosen]) @ rotation,
            "valid": rows >= 0,
            "framed": framed,
            "noise": sample_noise((*shape, items.shape[-1]), generator),
            "time": sample_time(shape, generator),
            "dropped": torch.rand(shape, generator=generator) < self.params.condition_dropout,
        }

    def _axes(self, seeds: Tensor, framed: Tensor, kinds: Tensor) -> Tensor:
        """The axes of each row in its own domain [B, A, d]."""
        of_every_domain = torch.stack([case_axes(seeds, framed, geometry) for geometry in self.geometries])
        return of_every_domain[kinds, torch.arange(len(kinds))]

    def _frame_lengths(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """How many leading items make the frame of each row: at least 1, and at least one item is left to predict."""
        longest = (rows >= 0).sum(1) - 1
        return 1 + (torch.rand(len(rows), generator=generator) * longest).long().clamp_max(longest - 1)

    def loss(self, model: MODiT, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean L_FM over the positions of each row that come after the items which make its frame."""
        point = geodesic(batch["noise"], batch["targets"], batch["time"])
        cache = model.encode(batch["seeds"], batch["valid"].sum(1), batch["axes"])
        rows, count = batch["time"].shape
        visibility = packed_visibility(rows, count, batch["dropped"], batch["time"].device)
        predicted = model.velocity(point.position, batch["time"], cache, visibility)
        loss = flow_matching_loss(predicted, point, batch["time"], self.params.curvature)
        positions = torch.arange(batch["time"].shape[1], device=loss.device)
        counted = batch["valid"] & (positions >= batch["framed"][:, None])
        return (loss * counted).sum(1) / counted.sum(1).clamp_min(1), {}


class TargetPrediction:
    """Stage 2: one target vector after the seeds (Eqs. 8-10); the number of seeds varies, as it does for callers."""

    def __init__(
        self,
        name: str,
        embeddings: np.ndarray,
        seeds: np.ndarray,
        targets: np.ndarray,
        params: OptimizerParams,
        geometry: Geometry,
    ) -> None:
        """Keeps the data as tensors.

        Args:
            name: of the stage.
            embeddings: [N, d].
            seeds: rows of the catalogue int32 [S, m] in ascending predicted density.
            targets: unit [S, d], the tail centroids.
            params: optimiser settings, with `draws` and `full_share`.
            geometry: of the domain.
        """
        self.name, self.params, self.geometry = name, params, geometry
        self.embeddings = torch.from_numpy(np.ascontiguousarray(embeddings))
        self.seeds = torch.from_numpy(np.ascontiguousarray(seeds)).long()
        self.targets = torch.from_numpy(np.ascontiguousarray(targets))

    def batch(self, generator: torch.Generator, size: int) -> Batch:
        """Cases with subsets of their seeds, and draws of noise and time."""
        cases = torch.randint(len(self.seeds), (size,), generator=generator)
        rows, lengths = keep_some(self.seeds[cases], self.params.full_share, generator)
        dimension = self.embeddings.shape[1]
        seeds, targets = self.embeddings[rows], self.targets[cases]
        rotation = draw_rotations(dimension, size, self.params.rotate, generator)
        return {
            "seeds": seeds @ rotation,
            "lengths": lengths,
            "targets": (targets[:, None] @ rotation)[:, 0],
            "axes": case_axes(seeds, lengths, self.geometry) @ rotation,
            "noise": sample_noise((size, self.params.draws, dimension), generator),
            "time": sample_time((size, self.params.draws), generator),
            "dropped": torch.rand((size, self.params.draws), generator=generator) < self.params.condition_dropout,
        }

    def loss(self, model: MODiT, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean L_FM over the draws of each case."""
        cache = model.encode(batch["seeds"], batch["lengths"], batch["axes"])
        point = geodesic(batch["noise"], batch["targets"][:, None].expand_as(batch["noise"]), batch["time"])
        visibility = query_visibility(cache, self.params.draws, batch["dropped"])
        predicted = model.velocity(point.position, batch["time"], cache, visibility)
        return flow_matching_loss(predicted, point, batch["time"], self.params.curvature).mean(1), {}


def keep_some(seeds: Tensor, full_share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Keeps all seeds of a share of the rows, and of the others a random subset of random size, order preserved.

    Args:
        seeds: [B, m].
        full_share: in [0, 1].
        generator: of the draws.

    Returns:
        Seeds with the kept ones first [B, m], and how many are kept [B], at least 1.
    """
    size, count = seeds.shape
    lengths = torch.randint(1, count + 1, (size,), generator=generator)
    full = torch.rand(size, generator=generator) < full_share
    lengths = torch.where(full, torch.full_like(lengths, count), lengths)
    rank = torch.rand(seeds.shape, generator=generator).argsort(1).argsort(1)
    kept = rank < lengths[:, None]
    order = torch.argsort((~kept).long(), dim=1, stable=True)
    return seeds.gather(1, order), lengths


def subset_rows(seeds: np.ndarray, full_share: float, generator: np.random.Generator) -> np.ndarray:
    """Applies `keep_some` to catalogue rows and pads the rest with -1: int32 [n, m]."""
    torch_generator = torch.Generator().manual_seed(int(generator.integers(2**31)))
    ordered, lengths = keep_some(torch.from_numpy(np.ascontiguousarray(seeds)), full_share, torch_generator)
    return np.where(np.arange(seeds.shape[1]) < lengths[:, None].numpy(), ordered.numpy(), -1).astype(np.int32)


def sequence_windows(
    sequences: Sequences, allowed: np.ndarray, length: int, minimum: int = MINIMUM_ITEMS
) -> np.ndarray:
    """Raw sequences as training windows: held-out items and repeats taken out, cut to `length`, padded with -1.

    Args:
        sequences: of the catalogue.
        allowed: bool [N].
        length: L.
        minimum: shorter windows are left out.

    Returns:
        int32 [W, L].
    """
    windows = []
    for index in range(len(sequences)):
        items = sequences[index]
        items = items[allowed[items]]
        items = items[np.sort(np.unique(items, return_index=True)[1])]
        for start in range(0, len(items), length):
            window = items[start : start + length]
            if len(window) >= minimum:
                windows.append(np.pad(window, (0, length - len(window)), constant_values=-1))
    return np.array(windows, np.int32).reshape(-1, length)


def tail_centroids(embeddings: np.ndarray, sequences: np.ndarray, depth: int) -> np.ndarray:
    """Unit means of the last `depth` items of ordered sequences [S, L] -> float32 [S, d] (Eq. 8, normalised)."""
    return mean_of_rows(embeddings, sequences[:, -depth:])
