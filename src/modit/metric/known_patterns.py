"""How likely an item lies in the pattern that a case's seeds show, from the centres of the patterns that are known.

An item belongs to the pattern whose centre is nearest to it. So the centres of the *other* known patterns say where the
seeds' own pattern ends, which a distance to the seeds alone cannot say. A query is moved by it, and a list is reordered
(docs/adr/0047, docs/adr/0049).

Shape legend: N items, n of them, m seeds, C known patterns, d width of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from modit.core.arrays import save_arrays
from modit.core.errors import ArtifactError
from modit.core.memory import at_once
from modit.data.vectors import ROWS_AT_ONCE, nearest_centroid, unit
from modit.metric.evidence import KnownVerdicts
from modit.metric.patterns import cluster

# Where no pattern is given, positives are clustered into so many a pattern, and into at least so many patterns: fewer
# and larger ones than where all positives are known, because a border between two means of a few items is noise.
_CLUSTERED, _FEWEST_CLUSTERS, _MOST_CLUSTERS = 25, 4, 60
# A pattern whose centre is the mean of fewer known positives has no spread that one could trust.
_FEWEST_POSITIVES = 2
# How many times the variance of a mean the seeds' mean may be from a known centre: there, both answers are equally
# likely. Seeds of that pattern have 1 to 5, seeds of a pattern that nobody knows 7 and more, on every catalogue tried.
_EVEN_ODDS_AT, _STEEPNESS = 5.0, 4.0
# Length of a query's step away from the other known centres, and how fast a farther one of them counts less.
_AWAY, _AWAY_SHARPNESS = 0.2, 2.5


class Margins(NamedTuple):
    """How much nearer items are to the centre of the seeds' pattern than to the centre of any other.

    Attributes:
        known: Probability that the seeds' pattern is a known one, in [0, 1].
        if_known: Squared distance to the nearest other known centre minus that to the pattern's own, in units of the
            mean spread, float32 [n].
        if_new: The same where the seeds' mean stands for the centre, and all known centres are other ones, unless they
            are complete, float32 [n].
    """

    known: float
    if_known: np.ndarray
    if_new: np.ndarray

    def log_probability(self, sharpness: float) -> np.ndarray:
        """Log P(item lies in the seeds' pattern), float32 [n], at most 0.

        P = known * sigmoid(sharpness * if_known) + (1 - known) * sigmoid(sharpness * if_new).

        Args:
            sharpness: How fast P falls beyond the border between two patterns, > 0.
        """
        with np.errstate(divide="ignore"):
            weights = np.log(np.array([self.known, 1 - self.known]))
        sides = -np.logaddexp(0, -sharpness * np.stack([self.if_known, self.if_new]).astype(np.float64))
        return np.minimum(np.logaddexp(*(weights[:, None] + sides)), 0).astype(np.float32)


class _SeenFrom(NamedTuple):
    """The known patterns as they are seen from the seeds of a case.

    Attributes:
        mean: Of the unit seeds, not scaled [d].
        distances: Squared, from it to every known centre [C].
        own: The nearest centre.
        known: Probability that the seeds' pattern is that one, in [0, 1].
    """

    mean: np.ndarray
    distances: np.ndarray
    own: int
    known: float


@dataclass(frozen=True, eq=False)
class KnownPatterns:
    """The patterns of a domain that training knows, and where every item lies among them.

    Attributes:
        centres: Means of the known positives of each pattern, float32 [C, d].
        spreads: Mean squared distance of those from their centre, float32 [C], > 0.
        nearest: The nearest centre of every item, int32 [N]; -1 where there is none.
        distances: Squared distances of every item to its nearest and second nearest centre, float32 [N, 2]; infinity
            where there is none.
        complete: Whether every pattern lies in one of these, as in clusters that stand for the patterns: then the one
            that is nearest to the seeds is never another one.
    """

    centres: np.ndarray
    spreads: np.ndarray
    nearest: np.ndarray
    distances: np.ndarray
    complete: bool = False

    @classmethod
    def of(cls, verdicts: KnownVerdicts, labels: np.ndarray) -> KnownPatterns:
        """Takes the patterns of the known positives.

        Args:
            verdicts: The known ones; a pattern with fewer than two of their positives is not known.
            labels: The pattern of every item [N]; read where a verdict is known only.
        """
        embeddings, positives = verdicts.embeddings, np.flatnonzero(verdicts.positives)
        centres, spreads = [], []
        for pattern in np.unique(labels[positives]):
            items = np.asarray(embeddings[positives[labels[positives] == pattern]], np.float64)
            if len(items) >= _FEWEST_POSITIVES:
                centres.append(items.mean(0))
                spreads.append(max(((items - centres[-1]) ** 2).sum(1).mean(), 1e-9))
        found = np.array(centres, np.float32).reshape(-1, embeddings.shape[1])
        return cls(found, np.array(spreads, np.float32), *_two_nearest(embeddings, found))

    @classmethod
    def clustered(cls, verdicts: KnownVerdicts, seed: int) -> KnownPatterns:
        """Clusters the known positives, where nobody has said which patterns there are.

        Args:
            verdicts: The known ones.
            seed: Of the k-means.
        """
        rows = np.flatnonzero(verdicts.positives)
        count = max(_FEWEST_CLUSTERS, min(len(rows) // _CLUSTERED, _MOST_CLUSTERS))
        count = min(count, len(rows) // _FEWEST_POSITIVES)
        if count < 1:
            return cls.of(replace(verdicts, known=np.zeros(len(verdicts.known), bool)), np.empty(0, np.int32))
        centroids = cluster(np.asarray(verdicts.embeddings[rows], np.float32), count, seed)
        return replace(cls.of(verdicts, nearest_centroid(verdicts.embeddings, centroids)), complete=True)

    def margins(self, seeds: np.ndarray, rows: np.ndarray, vectors: np.ndarray) -> Margins:
        """Where items lie, seen from the seeds of a case.

        The seeds' pattern is known if their mean is as near to a known centre as the mean of m positives of that
        pattern would be: with T = m |mean - centre|^2 / spread, its probability is 1 / (1 + (T / 5)^4).

        Args:
            seeds: float32 [m, d] of any length, m >= 1.
            rows: Of the items [n].
            vectors: Their embeddings, unit float32 [n, d].
        """
        everywhere = np.full(len(rows), np.inf, np.float32)
        if not len(self.centres):
            return Margins(0.0, everywhere, everywhere)
        mean, _, own, known = self._seen_from(seeds)
        spread = float(self.spreads.mean())
        first, second = self.distances[rows].T
        others = np.where(self.nearest[rows] == own, second, first)
        if_new = others if self.complete else first
        points = np.stack([self.centres[own], mean])
        from_own, from_mean = (1 + (points**2).sum(1) - 2 * vectors @ points.T).T
        return Margins(
            known,
            ((others - from_own) / spread).astype(np.float32),
            ((if_new - from_mean) / spread).astype(np.float32),
        )

    def moved(self, queries: np.ndarray, seeds: Sequence[np.ndarray]) -> np.ndarray:
        """Moves queries to the pattern of their seeds, as far as that is a known one.

        The unit vector of q + p ((c - z) + 0.2 u): the seeds' mean z gives way to the centre c of their pattern, and u
        is the unit direction away from the mean of the other known centres, each weighted by
        exp(-2.5 |z - c_j|^2 / spread); p is the probability that the pattern is known, as in `margins`.

        Args:
            queries: Unit float32 [n, d].
            seeds: Of each query, [m, d] of any length.

        Returns:
            Unit float32 [n, d].
        """
        if not len(self.centres):
            return queries
        return unit(queries + np.stack([self._step(each) for each in seeds]))

    def _step(self, seeds: np.ndarray) -> np.ndarray:
        mean, distances, own, known = self._seen_from(seeds)
        step = self.centres[own] - mean
        if len(self.centres) > 1:
            others = np.delete(distances, own)
            weights = np.exp((others.min() - others) * _AWAY_SHARPNESS / float(self.spreads.mean()))
            step = step + _AWAY * unit(mean - weights @ np.delete(self.centres, own, 0) / weights.sum())
        return (known * step).astype(np.float32)

    def _seen_from(self, seeds: np.ndarray) -> _SeenFrom:
        mean = unit(seeds).mean(0)
        distances = ((self.centres - mean) ** 2).sum(1)
        own = int(distances.argmin())
        off = len(seeds) * float(distances[own]) / float(self.spreads[own])
        return _SeenFrom(mean, distances, own, float(1 / (1 + (off / _EVEN_ODDS_AT) ** _STEEPNESS)))

    def nearest_to(self, seeds: np.ndarray) -> int:
        """The known pattern whose centre is nearest to the mean of seeds [m, d]; -1 if none is known."""
        return int(((self.centres - unit(seeds).mean(0)) ** 2).sum(1).argmin()) if len(self.centres) else -1

    def centre_near(self, seeds: np.ndarray) -> np.ndarray:
        """The known centre that is nearest to the mean of seeds [m, d], or that mean if none is known, float32 [d]."""
        own = self.nearest_to(seeds)
        return unit(seeds).mean(0) if own < 0 else self.centres[own]

    def save(self, path: Path) -> None:
        """Writes one `.npz`; equal content gives equal bytes."""
        save_arrays(path, centres=self.centres, spreads=self.spreads, nearest=self.nearest, distances=self.distances)

    @classmethod
    def load(cls, path: Path, items: int, dimension: int) -> KnownPatterns:
        """Reads what `save` wrote.

        Args:
            path: The file.
            items: N, of the catalogue.
            dimension: d, of its embeddings.

        Raises:
            ArtifactError: The file is damaged or of another catalogue.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                found = cls(**{name: stored[name] for name in stored.files})
        except (OSError, ValueError, TypeError, EOFError) as error:
            raise ArtifactError(f"{path} is damaged: {error!r}") from error
        count = len(found.centres)
        wanted = {
            "centres": (np.float32, (count, dimension)),
            "spreads": (np.float32, (count,)),
            "nearest": (np.int32, (items,)),
            "distances": (np.float32, (items, 2)),
        }
        for name, (dtype, shape) in wanted.items():
            array = getattr(found, name)
            if array.dtype != dtype or array.shape != shape:
                allowed = f"{np.dtype(dtype)} {shape}"
                raise ArtifactError(f"{path}: {name} is {array.dtype} {array.shape}; allowed: {allowed}")
        return found


def _two_nearest(embeddings: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest centre of every item, and the squared distances to it and to the second nearest."""
    nearest = np.full(len(embeddings), -1, np.int32)
    distances = np.full((len(embeddings), 2), np.inf, np.float32)
    step = at_once(ROWS_AT_ONCE)
    for start in range(0, len(embeddings) if len(centres) else 0, step):
        block = np.asarray(embeddings[start : start + step], np.float32)
        squared = (block**2).sum(1)[:, None] - 2 * block @ centres.T + (centres**2).sum(1)
        own = slice(start, start + len(block))
        nearest[own] = squared.argmin(1)
        distances[own, 0] = squared.min(1)
        if len(centres) > 1:
            distances[own, 1] = np.partition(squared, 1, axis=1)[:, 1]
    return nearest, distances
