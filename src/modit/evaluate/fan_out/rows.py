"""The rows of the task `fan_out`: one list, one list reordered, and lists of several queries merged.

Every row returns as many items as the pool holds. What is sampled is drawn from the text and the number of the run, so
an answer is that of its request alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from modit.core.seeds import stream
from modit.data.text_space import TextSpace
from modit.evaluate.bm25 import WEIGHTS
from modit.evaluate.fan_out.names import BM25, DPP, MMR, NO_FAN_OUT
from modit.evaluate.task import Kind, Setting
from modit.fan_out.diffusion import Denoiser, RowRegressor, denoise_by_torch, noise_levels
from modit.fan_out.intents import Conditions
from modit.fan_out.params import SetDiffusionParams
from modit.fan_out.policy import FanOutPolicy
from modit.fan_out.rewards import SetReward
from modit.inference.fan_out import FanOutRetriever, SetSampler
from modit.inference.retrieval import QuerySet, SearchResult
from modit.inference.texts import TextQuery
from modit.inference.word_index import WordIndex

# How much relevance counts beside novelty, and how strongly relevance weighs in the kernel.
MMR_GRID = [{"relevance": share} for share in (0.5, 0.7, 0.9, 0.97)]
DPP_GRID = [{"relevance": strength} for strength in (1.0, 4.0, 16.0, 64.0)]
# Share of the pool that the intent's own list fills, of rows that mix both.
MIXED_GRID = [{"intent": share} for share in (0.25, 0.5, 0.75)]
_NO_ITEMS = torch.zeros(1, 1, dtype=torch.int64)


@dataclass(frozen=True, eq=False)
class PolicySets:
    """What a policy writes; of several outputs the one of greatest reward.

    Attributes:
        policy: In evaluation mode.
        space: Of the texts.
        prompt_words: As the policy was trained with.
        temperature: Of sampling.
        outputs: Of which the best is taken.
        reward: By which; equation (1), as the items of a new intent are not known.
    """

    policy: FanOutPolicy
    space: TextSpace
    prompt_words: int
    temperature: float
    outputs: int = 1
    reward: SetReward | None = None

    def sets(self, texts: Sequence[str], run: int) -> np.ndarray:
        """Unit vectors of the queries for each text, float32 [n, k, d]."""
        conditions = Conditions.of(texts, self.space, self.prompt_words).repeated(self.outputs)
        shape = (self.outputs, self.policy.config.places)
        draws = [stream(0, "fan_out", text, run).random(shape, np.float32) for text in texts]
        uniforms = torch.from_numpy(np.concatenate(draws))
        queries = self.policy.query_vectors(
            conditions, self.policy.write(conditions, uniforms, self.temperature).tokens
        )
        if self.reward is None:
            return queries.numpy()
        parts = self.reward.parts(queries, conditions.tokens[:, 0], _NO_ITEMS.expand(len(queries), 1))
        best = parts["abstract"].unflatten(0, (-1, self.outputs)).argmax(1)
        return queries.unflatten(0, (-1, self.outputs))[torch.arange(len(texts)), best].numpy()


@dataclass(frozen=True, eq=False)
class RegressedSets:
    """The answer of a regressor, the same in every run.

    Attributes:
        model: In evaluation mode.
        space: Of the texts.
        prompt_words: As it was trained with.
    """

    model: RowRegressor
    space: TextSpace
    prompt_words: int

    def sets(self, texts: Sequence[str], run: int) -> np.ndarray:
        """Unit vectors of the queries for each text, float32 [n, L, d]."""
        with torch.inference_mode():
            rows = self.model(Conditions.of(texts, self.space, self.prompt_words))
            return torch.nn.functional.normalize(rows, dim=-1).numpy()


@dataclass(frozen=True, eq=False)
class OneQuery:
    """No fan-out: the set is the intent itself.

    Attributes:
        space: Of the texts.
    """

    space: TextSpace

    def sets(self, texts: Sequence[str], run: int) -> np.ndarray:
        """Unit vectors of the texts, float32 [n, 1, d]."""
        return self.space.encode(texts)[:, None]


@dataclass(frozen=True, eq=False)
class TunedSets:
    """A row whose setting changes how sets are made or merged.

    Attributes:
        name: Of the row.
        kind: Of the row.
        grid: Settings to choose from.
        make: Setting -> what answers.
    """

    name: str
    kind: Kind
    grid: Sequence[Setting]
    make: Callable[[Setting], FanOutRetriever]

    def build(self, setting: Setting) -> FanOutRetriever:
        """The retriever at a setting."""
        return self.make(setting)

    def answers(self, requests: Sequence[TextQuery]) -> Iterator[list[SearchResult]]:
        """Answers all requests at each setting, with one run each: only the pool is judged by."""
        for setting in self.grid:
            yield replace(self.build(setting), runs=1).retrieve(requests)


# (relevance [n], items [n, d], how many, strength) -> places of the chosen ones in order.
Choose = Callable[[np.ndarray, np.ndarray, int, float], np.ndarray]


@dataclass(frozen=True, eq=False)
class ReorderedList:
    """One list of the intent, of which the pool is chosen by relevance and variety: what a user without fan-out does.

    Attributes:
        one_list: Answers with the list.
        choose: Makes the choice.
        depth: Length of the list over that of the pool.
        relevance: How much relevance counts.
    """

    one_list: FanOutRetriever
    choose: Choose
    depth: float
    relevance: float

    def retrieve(self, requests: Sequence[TextQuery]) -> list[SearchResult]:
        """The pool of each request."""
        longer = [replace(request, k=round(self.depth * request.k)) for request in requests]
        pairs = zip(requests, self.one_list.retrieve(longer), strict=True)
        return [self._reordered(request, listed) for request, listed in pairs]

    def _reordered(self, request: TextQuery, listed: SearchResult) -> SearchResult:
        items = self.one_list.space.items[listed.rows]
        places = self.choose(listed.scores, items, min(request.k, len(items)), self.relevance)
        rows, own = listed.rows[places], listed.query
        none = np.empty((0, len(own)), np.float32)
        query_set = QuerySet(none, rows[: self.one_list.depth].copy(), own[None])
        return SearchResult(own, rows, listed.scores[places], query_set=query_set)


@dataclass(frozen=True, eq=False)
class ReorderedRow:
    """One list reordered, with the weight of relevance chosen on validation.

    Attributes:
        name: Of the row.
        choose: Makes the choice.
        grid: Weights to choose from.
        one_list: As in `ReorderedList`.
        depth: As in `ReorderedList`.
    """

    name: str
    choose: Choose
    grid: Sequence[Setting]
    one_list: FanOutRetriever
    depth: float
    kind: Kind = "two_stage"

    def build(self, setting: Setting) -> ReorderedList:
        """The retriever at a setting."""
        return ReorderedList(self.one_list, self.choose, self.depth, setting["relevance"])

    def answers(self, requests: Sequence[TextQuery]) -> Iterator[list[SearchResult]]:
        """Answers all requests at each setting of the grid in turn."""
        for setting in self.grid:
            yield self.build(setting).retrieve(requests)


def maximal_marginal_relevance(relevance: np.ndarray, items: np.ndarray, count: int, weight: float) -> np.ndarray:
    """Greedy choice by w r - (1 - w) max cosine with what is chosen (Carbonell & Goldstein, SIGIR 1998).

    Args:
        relevance: cosine with the query [n].
        items: unit vectors [n, d].
        count: items to choose, at most n.
        weight: w, in [0, 1].

    Returns:
        Places in the order of choice, int64 [count].
    """
    chosen, nearest = np.empty(count, np.int64), np.zeros(len(items), np.float32)
    score = relevance.astype(np.float32)
    for number in range(count):
        chosen[number] = best = int(score.argmax())
        nearest = np.maximum(nearest, items @ items[best]) if number else items @ items[best]
        score = weight * relevance - (1 - weight) * nearest
        score[chosen[: number + 1]] = -np.inf
    return chosen


def determinantal_choice(relevance: np.ndarray, items: np.ndarray, count: int, strength: float) -> np.ndarray:
    """Greedy maximum a posteriori set of a DPP (Chen et al., NeurIPS 2018).

    Its kernel is q_i q_j (cosine + 0.1 [i = j]) with the quality q = exp(strength r / 2). The addend keeps the kernel
    of full rank, so that more than d items can be chosen.

    Args:
        relevance: cosine with the query [n].
        items: unit vectors [n, d].
        count: items to choose, at most n.
        strength: of relevance, >= 0.

    Returns:
        Places in the order of choice, int64 [count].
    """
    quality = np.exp(0.5 * strength * (relevance - relevance.max())).astype(np.float64)
    left = quality**2 * (np.square(items).sum(1) + _RIDGE)
    factors = np.zeros((count, len(items)))
    chosen = np.empty(count, np.int64)
    for number in range(count):
        chosen[number] = best = int(left.argmax())
        kernel = quality * quality[best] * (items @ items[best])
        kernel[best] += quality[best] ** 2 * _RIDGE
        earlier = factors[:number]
        factors[number] = (kernel - earlier.T @ earlier[:, best]) / np.sqrt(max(left[best], 1e-300))
        left = left - factors[number] ** 2
        left[chosen[: number + 1]] = -np.inf
    return chosen


_RIDGE = 0.1


def sampled_sets(
    name: str,
    one_list: FanOutRetriever,
    model: Denoiser,
    sampler: SetDiffusionParams,
    prompt_words: int,
    runs: int,
    mix: bool,
) -> TunedSets:
    """A diffusion by torch, with its guidance chosen on validation.

    Args:
        name: of the row.
        one_list: whose space, words and weight its lists have, too.
        model: in evaluation mode.
        sampler: section `train_set_diffusion`.
        prompt_words: as it was trained with.
        runs: how often sets are made.
        mix: whether the intent's own list fills a share of an answer, which is chosen, too.
    """
    levels, rows = tuple(noise_levels(sampler, model.config.sigma_data)), model.config.rows

    def made(setting: Setting) -> FanOutRetriever:
        denoise = denoise_by_torch(model, setting["guidance"])
        sets = SetSampler(denoise, one_list.space, rows, prompt_words, levels, sampler.solver)
        return replace(one_list, generator=sets, runs=runs, intent=setting.get("intent", 0.0))

    grid = [{"guidance": scale} | share for scale in sampler.guidance for share in (MIXED_GRID if mix else [{}])]
    return TunedSets(name, "model", grid, made)


def listed_by_words(space: TextSpace, queries: int, titles: Sequence[str], grid: Sequence[Setting]) -> TunedSets:
    """One list by BM25 alone.

    Args:
        space: of the texts and items, for what is said of the list.
        queries: items by which the diversity of a list is judged.
        titles: of all items.
        grid: settings of the index of words.
    """

    def made(setting: Setting) -> FanOutRetriever:
        return FanOutRetriever(OneQuery(space), space, queries, words=WordIndex.build(titles, **setting), weight=0.0)

    return TunedSets(BM25, "classical", grid, made)


def weighted_list(one_list: FanOutRetriever) -> TunedSets:
    """One list by words and text space, with the weight of the cosine chosen on validation."""
    grid = [{"weight": weight} for weight in WEIGHTS]
    return TunedSets(NO_FAN_OUT, "classical", grid, lambda setting: replace(one_list, **setting))


def reordered_rows(one_list: FanOutRetriever, depth: float) -> list[ReorderedRow]:
    """One list by MMR, and by a DPP."""
    return [
        ReorderedRow(MMR, maximal_marginal_relevance, MMR_GRID, one_list, depth),
        ReorderedRow(DPP, determinantal_choice, DPP_GRID, one_list, depth),
    ]
