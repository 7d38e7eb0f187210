"""Fan-out as it is served: a diffusion samples the queries of an intent, and their lists are merged without repeats.

Shape legend: B intents, L queries of a set, P tokens of an intent, d dimension, N items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime

from modit.core.errors import ArtifactError
from modit.core.seeds import stream
from modit.data.merging import best_rows, merged, mixed
from modit.data.ngrams import words_of
from modit.data.text_space import SPACE_FILE, TextSpace
from modit.data.vectors import unit
from modit.inference.exported_files import item_ids_digest
from modit.inference.fan_out_files import DENOISER_FILE, FanOutInfo, denoiser_metadata, denoiser_values
from modit.inference.retrieval import QuerySet, SearchResult, expect_candidates
from modit.inference.runtime import open_declared
from modit.inference.texts import TextQuery
from modit.inference.word_index import WordIndex

_TEXTS_AT_ONCE = 64

# Guided clean rows float32 [B, L, d] of noisy [B, L, d], sigma [B], tokens [B, P, d] and valid bool [B, P].
Denoise = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


class SetGenerator(Protocol):
    """Makes the queries of a set."""

    def sets(self, texts: Sequence[str], run: int) -> np.ndarray:
        """Unit vectors of the queries for each text, float32 [n, k, d]; the same for the same text and run."""


@dataclass(frozen=True, eq=False)
class SetSampler:
    """Samples the queries of a set by a diffusion (Karras et al., NeurIPS 2022).

    The noise is drawn from the text and the number of the run, so a set is that of its request alone.

    Attributes:
        denoise: The guided denoiser: an exported graph, or torch in its place.
        space: Of the texts.
        rows: L.
        prompt_words: Most words of an intent that are read.
        levels: Noise of the steps, falling, the last 0.
        solver: "heun" (second order, two calls a step but for the last, no noise after the first draw), or "sde"
            (ancestral steps, one call each).
    """

    denoise: Denoise
    space: TextSpace
    rows: int
    prompt_words: int
    levels: Sequence[float]
    solver: str

    def sets(self, texts: Sequence[str], run: int) -> np.ndarray:
        """Unit vectors of the queries for each text, float32 [n, L, d]; the same for the same text and run."""
        return self.sampled(texts, [stream(0, "fan_out", text, run) for text in texts])

    def sampled(self, texts: Sequence[str], noise: Sequence[np.random.Generator]) -> np.ndarray:
        """The same from generators of noise, one for each text."""
        tokens, valid = self.space.tokens(texts, self.prompt_words)
        shape = (self.rows, self.space.dimension)

        def drawn() -> np.ndarray:
            return np.stack([each.standard_normal(shape, np.float32) for each in noise])

        def denoised(x: np.ndarray, level: float) -> np.ndarray:
            return self.denoise(x, np.full(len(texts), level, np.float32), tokens, valid)

        x = np.float32(self.levels[0]) * drawn()
        for now, after in zip(self.levels, self.levels[1:], strict=False):
            clean = denoised(x, now)
            if self.solver == "sde":  # the exact step from now to after, were the clean rows known
                kept = (after / now) ** 2
                spread = np.float32(after * (1 - kept) ** 0.5)
                x = clean + np.float32(kept) * (x - clean) + spread * drawn()
                continue
            slope, step = (x - clean) / np.float32(now), np.float32(after - now)
            moved = x + step * slope
            if after > 0:
                moved = x + step * (slope + (moved - denoised(moved, after)) / np.float32(after)) / 2
            x = moved
        return unit(x)


@dataclass(frozen=True, eq=False)
class FanOutRetriever:
    """Searches with every query of a set; the lists take turns, and items that they share count once.

    Every list scores an item by w cos + (1 - w) b / b_max: its cosine with the query, and its BM25 for the words of the
    intent over the greatest of all items. An item's score is its greatest with a query of the set, or with the intent
    where its own list counts. Lists take turns, so scores do not fall from item to item.

    Attributes:
        generator: Makes the queries.
        space: Of the texts and items.
        depth: Items by which the diversity of a single list is judged.
        runs: How often sets are made; the first answers, all count for variety.
        intent: Share of an answer that the intent's own list fills.
        words: Of the items; None where cosines alone count.
        weight: w, in [0, 1].
    """

    generator: SetGenerator
    space: TextSpace
    depth: int
    runs: int = 1
    intent: float = 0.0
    words: WordIndex | None = None
    weight: float = 1.0

    def __len__(self) -> int:
        return len(self.space.items)

    def retrieve(self, requests: Sequence[TextQuery]) -> list[SearchResult]:
        """Answers all requests. A list is short only if no more items may be results.

        Raises:
            ContractError: A text has no letter or digit, k is below 1, a row is not of the catalogue, or `allowed` is
                not a bool for each item.
        """
        for request in requests:
            expect_candidates(len(self), request.k, request.allowed, exclude=request.exclude, judged=request.judged)
        found: list[SearchResult] = []
        for start in range(0, len(requests), _TEXTS_AT_ONCE):
            part = requests[start : start + _TEXTS_AT_ONCE]
            texts = [request.text for request in part]
            runs = np.stack([self.generator.sets(texts, run) for run in range(self.runs)], 1)
            own = self.space.encode(texts)
            by_words = [0.0] * len(part) if self.words is None else self.words.shares(texts)
            found += [self._answer(*each) for each in zip(part, own, by_words, runs, strict=True)]
        return found

    @staticmethod
    def words_of(text: str) -> list[str]:
        """The words of a text; none where it has no letter or digit."""
        return words_of(text)

    def knows(self, word: str) -> bool:
        """Whether the word has a vector."""
        return bool(self.space.known(word))

    def nearest_queries(self, result: SearchResult) -> list[int | None]:
        """The number of the query that each item of a result is nearest to; None where that is the intent."""
        made = result.query_set
        assert made is not None  # noqa: S101 - `_answer` sets it
        scores = np.concatenate([made.vectors, result.query[None]]) @ self.space.items[result.rows].T
        best = scores[: None if self.intent else -1].argmax(0)
        return [None if number == len(made.vectors) else number for number in best.tolist()]

    def _answer(
        self, request: TextQuery, own: np.ndarray, by_words: np.ndarray | float, runs: np.ndarray
    ) -> SearchResult:
        queries = runs[0]
        scores = self.weight * (np.concatenate([queries, own[None]]) @ self.space.items.T)
        scores += (1 - self.weight) * by_words
        allowed = self._allowed(request)
        listed, count = scores, request.k
        if allowed is not None:
            listed, count = np.where(allowed, scores, -np.inf), min(request.k, int(allowed.sum()))
        lists = best_rows(listed, max(1, count))
        rows = merged(lists[:-1], count)
        if self.intent:
            rows = mixed(lists[-1], rows, self.intent, count)
        best = scores[: None if self.intent else -1].max(0)
        first = lists[:-1, 0] if len(queries) > 1 else lists[0, : self.depth]
        query_set = QuerySet(queries, first.copy(), runs.mean(1))
        judged = best[request.judged].astype(np.float32) if len(request.judged) else None
        return SearchResult(own, rows, best[rows].astype(np.float32), judged=judged, query_set=query_set)

    def _allowed(self, request: TextQuery) -> np.ndarray | None:
        if not len(request.exclude):
            return request.allowed
        allowed = np.ones(len(self), bool) if request.allowed is None else request.allowed.copy()
        allowed[request.exclude] = False
        return allowed


@dataclass(frozen=True, eq=False)
class OnnxDenoiser:
    """An exported denoiser with its guidance.

    Attributes:
        graph: Runs it.
        info: What the files say of themselves.
    """

    graph: onnxruntime.InferenceSession
    info: FanOutInfo

    def __call__(self, noisy: np.ndarray, sigma: np.ndarray, tokens: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Guided clean rows float32 [B, L, d]; the arguments are those of `Denoise`.

        Raises:
            ArtifactError: It gives a number that is not finite.
        """
        found = self.graph.run(None, {"noisy": noisy, "sigma": sigma, "tokens": tokens, "valid": valid})[0]
        if not np.isfinite(found).all():
            raise ArtifactError(f"{DENOISER_FILE} of model {self.info.model_digest} gives NaN or infinite numbers")
        return found


def load_fan_out(folder: Path, item_ids: np.ndarray, threads: int = 1, runs: int = 1) -> FanOutRetriever:
    """Loads an exported fan-out.

    Args:
        folder: Of the artifact `exported_fan_out`.
        item_ids: Of the catalogue, in its order.
        threads: Of onnxruntime within an operator; 0 takes the machine's cores.
        runs: How often sets are made.

    Raises:
        ArtifactError: A file is missing, damaged, or does not belong to the others, or they are of other items.
    """
    info, space = FanOutInfo.load(folder), TextSpace.load(folder)
    words = WordIndex.load(folder, info.bm25["stemmer"], info.bm25["likeness"])
    if (found := space.items.shape) != (expected := (info.items, info.dimension)):
        raise ArtifactError(f"{folder / SPACE_FILE}: items have shape {found}; fan_out.json says {expected}")
    if not (np.isfinite(space.items).all() and np.isfinite(space.vectors).all()):
        raise ArtifactError(f"{folder / SPACE_FILE} holds NaN or infinite numbers; allowed: finite numbers")
    if item_ids_digest(item_ids) != info.item_ids_digest:
        raise ArtifactError(f"{folder} was exported for other items than those of the catalogue")
    if words.items != info.items:
        raise ArtifactError(f"{folder}: the index of words has {words.items} items; fan_out.json says {info.items}")
    return fan_out_of(open_denoiser(folder, info, threads), space, words, info, runs)


def open_denoiser(folder: Path, info: FanOutInfo, threads: int = 1) -> OnnxDenoiser:
    """Loads the graph of a folder.

    Raises:
        ArtifactError: It is missing, damaged, of another model, or has other inputs or outputs than `info` says.
    """
    values = denoiser_values(info.rows, info.dimension)
    graph = open_declared(folder / DENOISER_FILE, denoiser_metadata(info.model_digest), values, threads)
    return OnnxDenoiser(graph, info)


def fan_out_of(
    denoise: Denoise, space: TextSpace, words: WordIndex, info: FanOutInfo, runs: int = 1
) -> FanOutRetriever:
    """What answers by a denoiser with what `fan_out.json` says of it."""
    sampler = SetSampler(denoise, space, info.rows, info.prompt_words, info.levels, info.solver)
    return FanOutRetriever(sampler, space, info.rows, runs, info.intent, words, info.weight)
