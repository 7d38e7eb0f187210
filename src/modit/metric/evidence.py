"""Evidence: the known verdicts near a point of the space, and the directions that they give.

The look-up is an exact search over a sample of the known items, so it costs the same however large the catalogue is.
Training, evaluation and service use it alike.

Shape legend: n points, c nearest known items, d width of an embedding, N items, E = 4 directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from modit.core.memory import at_once
from modit.core.seeds import stream
from modit.data.catalog import Catalog
from modit.data.vectors import mean_of_rows, unit

# The directions of a point: the means of the 10, 30 and 100 nearest items of both verdicts, and a local probe.
FEEDBACK_COUNTS = (10, 30, 100)
PROBE_POSITIVES, PROBE_NEGATIVES = 100, 200
DIRECTIONS = len(FEEDBACK_COUNTS) + 1
# Known items of a verdict that are searched, and numbers in their matrix: more are sampled.
_MOST_ROWS, _MOST_NUMBERS = 32_768, 2**23
# Numbers of the items near the points that are taken at a time, which bounds the memory.
_NUMBERS_AT_ONCE = 2**23


@dataclass(frozen=True, eq=False)
class KnownVerdicts:
    """The verdicts of a domain that may be used; those of held-out items are not among them.

    Attributes:
        embeddings: Unit [N, d].
        positive: Items with the attribute, bool [N]; read where `known` only.
        known: Items whose verdict is known, bool [N].
    """

    embeddings: np.ndarray
    positive: np.ndarray
    known: np.ndarray

    @classmethod
    def stored(cls, catalog: Catalog, domain: str) -> KnownVerdicts:
        """Every verdict of a catalogue, which is what a service may use."""
        return cls(catalog.embeddings, catalog.positive(domain), catalog.scored(domain))

    @property
    def positives(self) -> np.ndarray:
        """Known positive items, bool [N]."""
        return self.known & self.positive

    @property
    def negatives(self) -> np.ndarray:
        """Known negative items, bool [N]."""
        return self.known & ~self.positive

    def nearest(self, points: np.ndarray, count: int, positive: bool, exclude: np.ndarray | None = None) -> np.ndarray:
        """The nearest of the known items of one verdict that are searched.

        Args:
            points: Unit float32 [n, d].
            count: c, at least 1.
            positive: Which verdict.
            exclude: Rows that are left out for each point, int64 [n, e], padded with -1.

        Returns:
            Rows int64 [n, c], nearest first, padded with -1 where fewer are known. Of equally near ones the first.
        """
        rows, matrix = self._searched[positive]
        found = np.full((len(points), count), -1, np.int64)
        exclude = np.full((len(points), 0), -1) if exclude is None else exclude
        there, step = min(count + exclude.shape[1], len(rows)), self._points_at_once
        for start in range(0, len(points) if there else 0, step):
            block = slice(start, start + step)
            scores = np.asarray(points[block], np.float32) @ matrix.T
            kept = _without(rows[_best(scores, there)], exclude[block])[:, :count]
            found[block, : kept.shape[1]] = kept
        return found

    def directions(self, points: np.ndarray, exclude: np.ndarray | None = None) -> np.ndarray:
        """What the known verdicts near each point say: where its positives lie, seen from its negatives.

        Args:
            points: Unit [n, d].
            exclude: Rows that are left out for each point, int64 [n, e], padded with -1: the seeds are no evidence of
                what is near them.

        Returns:
            float32 [n, E, d], in the order of `modit.model.readout.EVIDENCE`; zeros where no verdict is known.
        """
        points = np.asarray(points, np.float32)
        found = np.zeros((len(points), DIRECTIONS, points.shape[1]), np.float32)
        step = self._points_at_once
        for start in range(0, len(points), step):
            block, own_exclude = (
                points[start : start + step],
                None if exclude is None else exclude[start : start + step],
            )
            positives = self.nearest(block, max(*FEEDBACK_COUNTS, PROBE_POSITIVES), True, own_exclude)
            negatives = self.nearest(block, max(*FEEDBACK_COUNTS, PROBE_NEGATIVES), False, own_exclude)
            own = found[start : start + step]
            for place, count in enumerate(FEEDBACK_COUNTS):
                own[:, place] = feedback_direction(self.embeddings, positives[:, :count], negatives[:, :count])
            own[:, -1] = local_probe(self.embeddings, positives[:, :PROBE_POSITIVES], negatives[:, :PROBE_NEGATIVES])
        return found

    @property
    def _points_at_once(self) -> int:
        return at_once(max(1, _NUMBERS_AT_ONCE // ((PROBE_POSITIVES + PROBE_NEGATIVES) * self.embeddings.shape[1])))

    @cached_property
    def _searched(self) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """Rows, ascending, and their embeddings: of the negatives, then of the positives."""
        return self._sample(self.negatives), self._sample(self.positives)

    def _sample(self, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows, most = np.flatnonzero(mask), min(_MOST_ROWS, _MOST_NUMBERS // self.embeddings.shape[1])
        if len(rows) > most:
            rows = np.sort(stream(0, "known-verdicts").choice(rows, most, replace=False))
        return rows, np.ascontiguousarray(self.embeddings[rows], np.float32)


def _best(scores: np.ndarray, count: int) -> np.ndarray:
    """Places of the `count` greatest scores of each line [n, r], greatest first; of equal ones the first."""
    places = np.sort(np.argpartition(-scores, count - 1, 1)[:, :count], 1)
    return np.take_along_axis(places, np.argsort(-np.take_along_axis(scores, places, 1), 1, kind="stable"), 1)


def _without(found: np.ndarray, exclude: np.ndarray) -> np.ndarray:
    """Lists of rows [n, c] without those to exclude [n, e]: the others keep their order, and -1 pads the end."""
    gone = np.stack([np.isin(rows, unwanted) for rows, unwanted in zip(found, exclude, strict=True)])
    order = np.argsort(gone, 1, kind="stable")
    return np.take_along_axis(np.where(gone, -1, found), order, 1)


def feedback_direction(embeddings: np.ndarray, positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """The unit mean of the positives minus that of the negatives (Rocchio 1971), [n, d].

    Args:
        embeddings: Unit [N, d].
        positives: Rows [n, c], padded with -1; a line without any gives no direction from this side.
        negatives: The same of the negatives.
    """
    return mean_of_rows(embeddings, positives) - mean_of_rows(embeddings, negatives)


def local_probe(embeddings: np.ndarray, positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """The unit direction of a ridge regression of the verdict on the known items near each point, [n, d].

    The strength of the ridge is the mean eigenvalue of the items' covariance, as in the whitened frame.

    Args:
        embeddings: Unit [N, d].
        positives: Rows [n, c], padded with -1.
        negatives: The same of the negatives; their number may be another one.
    """
    rows = np.concatenate([positives, negatives], 1)
    mask = rows >= 0
    count = np.maximum(mask.sum(1), 1)[:, None]
    items = np.asarray(embeddings)[np.where(mask, rows, 0)].astype(np.float64)
    items = (items - (items * mask[..., None]).sum(1, keepdims=True) / count[..., None]) * mask[..., None]
    verdicts = np.where(np.arange(rows.shape[1]) < positives.shape[1], 1.0, 0.0) * mask
    verdicts = ((verdicts - verdicts.sum(1, keepdims=True) / count) * mask)[..., None]
    transposed, width = items.transpose(0, 2, 1), items.shape[2]
    ridge = np.maximum((items**2).sum((1, 2)) / width, 1e-9)[:, None, None]
    # (X'X + r I)^-1 X'y = X' (XX' + r I)^-1 y: the smaller of the two systems is solved.
    if width <= items.shape[1]:
        weights = np.linalg.solve(transposed @ items + ridge * np.eye(width), transposed @ verdicts)
    else:
        weights = transposed @ np.linalg.solve(items @ transposed + ridge * np.eye(items.shape[1]), verdicts)
    return unit(weights[..., 0])
