"""Proof that the exported file answers as the torch sampler: on tensors, and on the lists that a user would get."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from modit.core.errors import ModitError
from modit.index.searchable import SearchableIndex
from modit.inference.answers import IDENTICAL_LISTS_MINIMUM, SCORE_TOLERANCE, TOLERANCE
from modit.inference.retrieval import Query, SamplerRetriever, SearchResult
from modit.inference.runtime import OnnxSampler
from modit.inference.sampler_file import SamplerInfo, SamplerInputs
from modit.metric.evidence import KnownVerdicts
from modit.model.flow import sample_noise
from modit.model.readout import EVIDENCE
from modit.model.sampler import Sampler, tie_direction

BATCHES, SCALES = (1, 2, 5, 33), (1.0, 3.0)
TEXT_BATCHES = (1, 2, 33)
# Seeds nearer in predicted density than this share of its scale are left out: rounding would order them.
_ORDER_GAP = 1e-4
_CASE_BLOCK = 64


class ParityError(ModitError):
    """The exported file does not answer as the torch sampler."""


# Inputs of a sampler: seeds [B, M, d], mask [B, M], noise [B, d], evidence [B, E, d].
Inputs: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class TensorParity:
    """One line of the table: a batch of random inputs, so many seeds each, at a guidance scale.

    Attributes:
        difference: Greatest absolute difference of a query coordinate between torch and the file.
        shuffled_difference: The same between the file's answers to the seeds in two orders.
    """

    batch: int
    seeds: int
    guidance: float
    difference: float
    shuffled_difference: float


@dataclass(frozen=True)
class ListParity:
    """Lists of k items, retrieved for the cases of a split by queries of both.

    Attributes:
        difference: Greatest absolute difference of a query coordinate.
        identical: Share of equal lists, equal scores in any order.
        overlap: Mean share of common items.
    """

    split: str
    cases: int
    k: int
    difference: float
    identical: float
    overlap: float


@dataclass(frozen=True, eq=False)
class TorchSampler:
    """The torch sampler in the place of the exported file, with the file's metadata."""

    sampler: Sampler
    info: SamplerInfo

    @torch.no_grad()
    def queries(self, inputs: SamplerInputs) -> np.ndarray:
        """As `OnnxSampler.queries`."""
        seeds, mask, noise, guidance, evidence = inputs
        scale = torch.as_tensor(self.info.guidance if guidance is None else guidance, dtype=torch.float32)
        given = (torch.from_numpy(np.ascontiguousarray(part)) for part in (seeds, mask, noise))
        known = None if evidence is None else torch.from_numpy(np.ascontiguousarray(evidence))
        return self.sampler(*given, scale, known).numpy()


def tensor_parity(sampler: Sampler, exported: OnnxSampler, seed: int) -> list[TensorParity]:
    """Compares random inputs of all sizes: ragged masks with holes, seeds of any length and order.

    Raises:
        ParityError: a difference is over `TOLERANCE`; the message names the case and the difference.
    """
    by_torch, generator = TorchSampler(sampler, exported.info), torch.Generator().manual_seed(seed)
    table = []
    for count in sorted({1, min(3, exported.info.maximum_seeds), exported.info.maximum_seeds}):
        for batch in BATCHES:
            inputs = _random_inputs(sampler, batch, count, generator)
            table += [_compare(by_torch, exported, inputs, scale, generator) for scale in SCALES]
    for row in table:
        for what, value in (("torch", row.difference), ("the same seeds in another order", row.shuffled_difference)):
            if not value <= TOLERANCE:
                case = f"batch {row.batch}, {row.seeds} seeds, guidance {row.guidance}"
                raise ParityError(
                    f"domain {exported.info.domain}: {case}: differs from {what} by {value}, allowed {TOLERANCE}"
                )
    return table


def list_parity(
    sampler: Sampler,
    exported: OnnxSampler,
    index: SearchableIndex,
    embeddings: np.ndarray,
    seeds: dict[str, np.ndarray],
    k: int,
    seed: int,
    verdicts: KnownVerdicts | None = None,
) -> list[ListParity]:
    """Compares retrieved lists at the serving guidance.

    Args:
        sampler: Of torch.
        exported: The file.
        index: The staged index.
        embeddings: The catalogue [N, d].
        seeds: Split -> catalogue rows of each case [n, M], padded with -1.
        k: Length of the lists.
        seed: Of the noise.
        verdicts: The known ones.

    Raises:
        ParityError: Fewer than `IDENTICAL_LISTS_MINIMUM` of a split's lists are equal.
    """
    by_torch = SamplerRetriever(TorchSampler(sampler, exported.info), index, True, verdicts)
    by_file = SamplerRetriever(exported, index, True, verdicts)
    table = []
    for split, cases in seeds.items():
        if not len(cases):
            continue
        noise = sample_noise((len(cases), embeddings.shape[1]), torch.Generator().manual_seed(seed)).numpy()
        queries = [
            Query(embeddings[rows], k, exclude=rows, noise=noise[number : number + 1])
            for number, rows in enumerate(case[case >= 0] for case in cases)
        ]
        blocks = [queries[start : start + _CASE_BLOCK] for start in range(0, len(queries), _CASE_BLOCK)]
        pairs = [
            pair for block in blocks for pair in zip(by_torch.retrieve(block), by_file.retrieve(block), strict=True)
        ]
        row = _compare_lists(split, pairs, k)
        if row.identical < IDENTICAL_LISTS_MINIMUM:
            raise ParityError(
                f"domain {exported.info.domain}, {split}: {row.identical:.4f} of {row.cases} lists are equal, at least "
                f"{IDENTICAL_LISTS_MINIMUM} must be; mean overlap {row.overlap:.4f}, queries differ by {row.difference}"
            )
        table.append(row)
    return table


def parity_report(tensors: list[TensorParity], lists: list[ListParity]) -> dict[str, Any]:
    """The content of `parity.json`; it is written only when parity holds."""
    return {
        "status": "passed",
        "tolerance": TOLERANCE,
        "identical_lists_minimum": IDENTICAL_LISTS_MINIMUM,
        "greatest_difference": max(row.difference for row in tensors),
        "tensors": [asdict(row) for row in tensors],
        "lists": [asdict(row) for row in lists],
    }


def _random_inputs(sampler: Sampler, batch: int, count: int, generator: torch.Generator) -> Inputs:
    dimension = sampler.model.config.dimension
    seeds = sample_noise((batch, count, dimension), generator)
    mask = torch.rand(batch, count, generator=generator) < torch.rand(batch, 1, generator=generator)
    mask[0] = True  # one full row
    mask[torch.arange(batch), torch.randint(count, (batch,), generator=generator)] = True
    density = sampler.geometry.density
    direction = density if density.any() else tie_direction(dimension)
    mask &= _well_ordered(seeds @ direction, mask)
    lengths = 0.5 + torch.rand(batch, count, 1, generator=generator)
    noise = sample_noise((batch, dimension), generator)
    evidence = sample_noise((batch, len(EVIDENCE), dimension), generator)
    return (lengths * seeds).numpy(), mask.numpy(), noise.numpy(), evidence.numpy()


def _well_ordered(scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """False for valid seeds too near, in predicted density, to a valid one just below."""
    ranked, order = scores.masked_fill(~mask, float("inf")).sort(1)
    wide = torch.ones_like(mask)
    wide[:, 1:] = ~(ranked.diff(dim=1) < _ORDER_GAP * scores.abs().max())
    return torch.empty_like(wide).scatter_(1, order, wide)


def _compare(
    by_torch: TorchSampler, exported: OnnxSampler, inputs: Inputs, scale: float, generator: torch.Generator
) -> TensorParity:
    seeds, mask, noise, evidence = inputs
    batch, count = mask.shape
    scales = np.full(batch, scale)
    given = SamplerInputs(seeds, mask, noise, scales, evidence)
    expected, found = (each.queries(given) for each in (by_torch, exported))
    order = torch.randperm(count, generator=generator).numpy()
    shuffled = exported.queries(SamplerInputs(seeds[:, order], mask[:, order], noise, scale, evidence))
    return TensorParity(batch, count, scale, _difference(expected, found), _difference(found, shuffled))


def _difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first - second).max())


def _compare_lists(split: str, pairs: Sequence[tuple[SearchResult, SearchResult]], k: int) -> ListParity:
    """Compares what torch and what the file found for each case."""
    return ListParity(
        split,
        len(pairs),
        k,
        max(_difference(first.query, second.query) for first, second in pairs),
        float(np.mean([_equal(first, second) for first, second in pairs])),
        float(np.mean([len(np.intersect1d(first.rows, second.rows)) / k for first, second in pairs])),
    )


def _equal(first: SearchResult, second: SearchResult) -> bool:
    """Whether two lists are the same, with items of equal score in any order."""
    moved = first.rows != second.rows
    return bool((np.abs(first.scores - second.scores)[moved] <= SCORE_TOLERANCE).all())


def differences_by_batch(
    what: str, texts: Sequence[str], expected: np.ndarray, found: Callable[[Sequence[str]], np.ndarray]
) -> dict[str, float]:
    """Greatest difference of a coordinate, by the size of the batches that texts are given in.

    Args:
        what: Is compared, before the size in the names.
        texts: At least one.
        expected: Of torch, of all texts [n, ...].
        found: The exported file's of some texts.
    """
    return {
        f"{what}batches of {size}": float(
            np.abs(np.concatenate([found(texts[at : at + size]) for at in range(0, len(texts), size)]) - expected).max()
        )
        for size in TEXT_BATCHES
    }


def parity_of_lists(
    task: str, differences: Mapping[str, float], expected: Sequence[SearchResult], found: Sequence[SearchResult]
) -> dict[str, Any]:
    """Compares the lists of torch with those of the exported files; items of equal score may change places.

    Args:
        task: That they answer, which messages begin with.
        differences: Greatest difference of a coordinate, by what was compared.
        expected: Of torch, at least one list.
        found: Of the files, of the same requests.

    Returns:
        The content of `parity.json`; it is returned only when parity holds.

    Raises:
        ParityError: A coordinate differs by more than `TOLERANCE`, or fewer than `IDENTICAL_LISTS_MINIMUM` of the lists
            are the same.
    """
    for what, difference in differences.items():
        if not difference <= TOLERANCE:
            raise ParityError(f"{task}: {what}: vectors differ by {difference}: over {TOLERANCE}")
    same = [
        bool(((one.rows == other.rows) | (np.abs(one.scores - other.scores) <= SCORE_TOLERANCE)).all())
        for one, other in zip(expected, found, strict=True)
    ]
    if (identical := float(np.mean(same))) < IDENTICAL_LISTS_MINIMUM:
        raise ParityError(
            f"{task}: {identical:.4f} of {len(same)} lists are torch's; at least {IDENTICAL_LISTS_MINIMUM} must"
        )
    return {
        "status": "passed",
        "tolerance": TOLERANCE,
        "identical_lists_minimum": IDENTICAL_LISTS_MINIMUM,
        "greatest_difference": max(differences.values()),
        "differences": dict(differences),
        "identical": identical,
        "texts": len(same),
    }
