"""The rows of the task `next_item`: popularity, item-kNN, EASE, and models that rank all items or generate IDs.

What an item is called must not decide between equal scores: in some catalogues ids are numbered by first appearance, so
that neighbours in the table are neighbours in sessions. Columns of scores stand in the order of a hash of the ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from modit.core.errors import InsufficientDataError
from modit.data.catalog import Sequences
from modit.data.hash_unit import hash_unit
from modit.evaluate.next_item.names import EASE, ITEM_KNN, POPULARITY
from modit.evaluate.task import Kind, Row, Setting
from modit.index.item_neighbours import LEAST_SHARE
from modit.index.item_similarity import cosine_neighbours, interactions
from modit.inference.retrieval import SearchResult
from modit.inference.sessions import SessionQuery
from modit.training.sasrec import load_sasrec, session_scores

_NO_QUERY = np.empty(0, np.float32)
_SESSIONS_AT_ONCE = 256
# Scores of all items for some sessions, float [b, N], columns in the order of `Columns`.
Score = Callable[[Sequence[SessionQuery]], np.ndarray]


@dataclass(frozen=True, eq=False)
class Columns:
    """The order in which rows score items, so that of equal scores no id comes first by its number.

    Attributes:
        rows: The item in each column, int64 [N].
        places: The column of each item, int64 [N].
    """

    rows: np.ndarray
    places: np.ndarray

    @classmethod
    def of(cls, item_ids: np.ndarray) -> Columns:
        """The order by a hash of the ids."""
        rows = np.argsort(hash_unit(item_ids, "next-item-ties"), kind="stable")
        return cls(rows, np.argsort(rows))


@dataclass(frozen=True, eq=False)
class ScoredItems:
    """Ranks all items by a score.

    Attributes:
        score: Of all items.
        columns: Their order.
    """

    score: Score
    columns: Columns

    def retrieve(self, requests: Sequence[SessionQuery]) -> list[SearchResult]:
        """The k best items of each request; of equal ones the first column."""
        found: list[SearchResult] = []
        for start in range(0, len(requests), _SESSIONS_AT_ONCE):
            part = requests[start : start + _SESSIONS_AT_ONCE]
            scores = np.array(self.score(part), np.float32)
            for line, request in zip(scores, part, strict=True):
                line[self.columns.places[request.exclude]] = -np.inf
                if request.allowed is not None:
                    line[~request.allowed[self.columns.rows]] = -np.inf
                found.append(self._best(line, request.k))
        return found

    def _best(self, scores: np.ndarray, k: int) -> SearchResult:
        k = min(k, int((scores > -np.inf).sum()))
        if not k:
            return SearchResult(_NO_QUERY, np.empty(0, np.int64), np.empty(0, np.float32))
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        candidates = np.flatnonzero(scores >= least)
        best = candidates[np.argsort(-scores[candidates], kind="stable")[:k]]
        return SearchResult(_NO_QUERY, self.columns.rows[best], scores[best])


@dataclass(frozen=True, eq=False)
class SessionRow:
    """A simple row with its grid, fitted on training sessions.

    Attributes:
        name: Of the row.
        grid: Settings to choose from.
        scorer: Makes the score at a setting; what settings share is kept from one to the next.
        columns: Order of the items.
        kind: Of the row.
    """

    name: str
    grid: Sequence[Setting]
    scorer: Callable[[Setting], Score]
    columns: Columns
    kind: Kind = "classical"

    def build(self, setting: Setting) -> ScoredItems:
        """The retriever at a setting."""
        return ScoredItems(self.scorer(setting), self.columns)

    def answers(self, requests: Sequence[SessionQuery]) -> Iterator[list[SearchResult]]:
        """Answers all requests at each setting of the grid in turn."""
        for setting in self.grid:
            yield self.build(setting).retrieve(requests)


def sasrec_row(name: str, path: Path, columns: Columns) -> Row[SessionQuery]:
    """A trained SASRec as a row.

    Args:
        name: Of the row.
        path: Of the model.
        columns: Order of the items.

    Raises:
        ArtifactError: The file is missing.
    """
    model = load_sasrec(path)

    def score(requests: Sequence[SessionQuery]) -> np.ndarray:
        return session_scores(model, [request.history for request in requests])[:, columns.rows]

    return Row(name, "model", ScoredItems(score, columns))


def voted_row(
    name: str, model: Row[SessionQuery], votes: Row[SessionQuery], weights: Sequence[float] = (0.25, 0.5, 1.0, 2.0)
) -> SessionRow:
    """A model with the votes of item-kNN, as semantic IDs have them; the weight is chosen.

    Args:
        name: Of the row.
        model: Whose scores are logits of all items.
        votes: Item-kNN at its chosen setting.
        weights: To choose from.
    """
    by_model, by_votes = model.retriever, votes.retriever
    assert isinstance(by_model, ScoredItems)
    assert isinstance(by_votes, ScoredItems)

    def scorer(setting: Setting) -> Score:
        def score(requests: Sequence[SessionQuery]) -> np.ndarray:
            found = by_votes.score(requests)
            shares = found / found.sum(1, keepdims=True)
            return by_model.score(requests) + setting["weight"] * np.log(shares + LEAST_SHARE)

        return score

    return SessionRow(name, [{"weight": weight} for weight in weights], scorer, by_model.columns, "two_stage")


def simple_rows(training: Sequences, columns: Columns, ease_items_max: int) -> list[SessionRow]:
    """Popularity, item-kNN and EASE, with what validation chooses of each.

    Args:
        training: Training items of each session.
        columns: Order of the items.
        ease_items_max: Most items for which EASE is fitted.

    Raises:
        InsufficientDataError: There is no training interaction.
    """
    if not len(training.items):
        raise InsufficientDataError("interactions: no session has a training item; at least one is needed")
    matrix = interactions(training, columns.places)
    rows = [_popularity(matrix, columns), _item_knn(matrix, columns)]
    return [*rows, _ease(matrix, columns)] if matrix.shape[1] <= ease_items_max else rows


def weighted_histories(requests: Sequence[SessionQuery], columns: Columns, decay: float) -> sparse.csr_matrix:
    """The items of each history, the last with weight 1 and each earlier one with `decay` times less, [n, N]."""
    lengths = [len(request.history) for request in requests]
    weights = np.concatenate([decay ** np.arange(length - 1, -1, -1.0) for length in lengths])
    items = columns.places[np.concatenate([request.history for request in requests])]
    owners = np.repeat(np.arange(len(requests)), lengths)
    return sparse.csr_matrix((weights.astype(np.float32), (owners, items)), (len(requests), len(columns.rows)))


def ease_weights(matrix: sparse.csr_matrix, penalty: float) -> np.ndarray:
    """The item-item weights of EASE, float32 [N, N] with a zero diagonal (Steck, WWW 2019, Eq. 8).

    Args:
        matrix: As `interactions` returns it.
        penalty: lambda of the ridge, > 0.
    """
    gram = np.asarray((matrix.T @ matrix).todense(), np.float32, order="F")
    gram[np.diag_indices_from(gram)] += penalty
    factor, failed = lapack.spotrf(gram, lower=1, overwrite_a=1)
    inverse, failed_too = lapack.spotri(factor, lower=1, overwrite_c=1)
    if failed or failed_too:
        raise InsufficientDataError(
            f"EASE: the matrix of items is singular at penalty {penalty:g}; allowed: a greater one"
        )
    for row in range(len(inverse)):
        inverse[row, row + 1 :] = inverse[row + 1 :, row]
    inverse = inverse.T  # symmetric; a product with sparse rows would copy columns in order of Fortran every time
    weights = inverse / -np.diag(inverse)
    weights[np.diag_indices_from(weights)] = 0
    return weights


def _popularity(matrix: sparse.csr_matrix, columns: Columns) -> SessionRow:
    counts = np.asarray(matrix.sum(0), np.float32).ravel()
    return SessionRow(POPULARITY, [{}], lambda setting: lambda requests: np.tile(counts, (len(requests), 1)), columns)


def _item_knn(matrix: sparse.csr_matrix, columns: Columns) -> SessionRow:
    # Items that no neighbour names are ranked by popularity.
    counts = np.asarray(matrix.sum(0), np.float32).ravel()
    filler = 1e-6 * counts / counts.max()

    @lru_cache(maxsize=1)
    def fitted(neighbours: int, shrinkage: float) -> sparse.csr_matrix:
        return cosine_neighbours(matrix, neighbours, shrinkage)

    def scorer(setting: Setting) -> Score:
        near = fitted(setting["neighbours"], setting["shrinkage"])
        return lambda requests: (weighted_histories(requests, columns, setting["decay"]) @ near).toarray() + filler

    grid = [
        {"neighbours": neighbours, "shrinkage": shrinkage, "decay": decay}
        for neighbours in (100, 1000)
        for shrinkage in (0.0, 5.0, 20.0)
        for decay in (1.0, 0.7, 0.4)
    ]
    return SessionRow(ITEM_KNN, grid, scorer, columns)


def _ease(matrix: sparse.csr_matrix, columns: Columns) -> SessionRow:
    @lru_cache(maxsize=1)
    def fitted(penalty: float) -> np.ndarray:
        return ease_weights(matrix, penalty)

    def scorer(setting: Setting) -> Score:
        weights = fitted(setting["penalty"])
        return lambda requests: weighted_histories(requests, columns, setting["decay"]) @ weights

    grid = [{"penalty": penalty, "decay": decay} for penalty in (50.0, 200.0, 800.0) for decay in (1.0, 0.7, 0.4)]
    return SessionRow(EASE, grid, scorer, columns)
