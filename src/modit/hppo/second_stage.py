"""How deep the served lists are reranked and how much attribute and pattern weigh, chosen on validation cases.

A few validation patterns prefer some depth and weight by chance. So what is taken is not the best of the grid but the
mean of all of it, each setting weighing exp(Joint / temperature), as for moves; and "no rerank" is in the grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from modit.core.memory import at_once
from modit.data.splits import VALIDATIONS, Split
from modit.data.vectors import mean_of_rows
from modit.hppo.params import SecondStageParams
from modit.hppo.readout import TEMPERATURE, mean_of_kinds, pattern_means, standard_error
from modit.hppo.validation import Validator
from modit.metric.known_patterns import KnownPatterns
from modit.metric.list_metrics import list_metrics
from modit.metric.second_stage import PatternOf, log_goodness, reordering_scores
from modit.model.axes import Geometry
from modit.model.dit import MODiT
from modit.model.flow import sample_noise
from modit.model.readout import Readout
from modit.model.sampler import CASES_AT_ONCE, Sampler

_NOISE_SEED = 0


class RerankSetting(NamedTuple):
    """How a list is reranked.

    Attributes:
        depth: How much longer than asked the list is fetched, >= 1.
        weight: Of log P(attribute and pattern), >= 0; 0 leaves every list as it is.
    """

    depth: int
    weight: float


class RerankChoice(NamedTuple):
    """The chosen setting, and what it and all others reached on validation.

    Attributes:
        setting: Chosen.
        none: Joint@K without rerank: of each kind of validation, and as `mean` what decides: the mean over the patterns
            of a kind, then over both kinds.
        chosen: The same at the setting.
        error: Standard error over patterns of the gain from none to chosen.
        grid: That mean of each setting of the grid.
    """

    setting: RerankSetting
    none: dict[str, float]
    chosen: dict[str, float]
    error: float
    grid: dict[RerankSetting, float]

    @property
    def helps(self) -> bool:
        """Whether the setting is better than no rerank by more than one standard error.

        An equal one would cost time for nothing, and a few patterns prefer some setting by chance.
        """
        return round(self.chosen["mean"] - self.none["mean"] - self.error, 9) > 0

    def as_json(self) -> dict[str, Any]:
        """The validation figures for `second_stage.json`."""
        tried = [setting._asdict() | {"joint": round(joint, 6)} for setting, joint in self.grid.items()]
        none, chosen = (
            {name: round(value, 6) for name, value in figures.items()} for figures in (self.none, self.chosen)
        )
        return {"none": none, "chosen": chosen, "error": round(self.error, 6), "tried": tried}


@torch.no_grad()
def served_queries(model: MODiT, readout: Readout, guidance: float, validator: Validator) -> dict[Split, np.ndarray]:
    """The queries that a domain's sampler generates for validation cases, unit [n, d] for each kind that has cases.

    Args:
        model: The last of HPPO.
        readout: Of the domain.
        guidance: The serving scale.
        validator: Of the domain.
    """
    params, found = validator.sampler, {}
    sampler = Sampler(model, Geometry.of(validator.geometry), params.steps, params.samples, readout).eval()
    for split in VALIDATIONS:
        rows, block = validator.cases[split][0], at_once(CASES_AT_ONCE)
        seeds, mask = validator.seeds(split)
        noise = sample_noise((len(rows), seeds.shape[2]), torch.Generator().manual_seed(_NOISE_SEED))
        evidence = validator.verdicts.directions(mean_of_rows(validator.embeddings, rows))
        parts = []
        for start in range(0, len(rows), block):
            own = slice(start, start + block)
            known = torch.from_numpy(evidence[own])
            parts.append(sampler(seeds[own], mask[own], noise[own], torch.tensor(guidance), known).numpy())
        if parts:
            found[split] = np.concatenate(parts)
    return found


def choose_rerank(
    queries: Mapping[Split, np.ndarray],
    validator: Validator,
    log_odds: np.ndarray,
    patterns: KnownPatterns,
    params: SecondStageParams,
) -> RerankChoice:
    """Chooses depth and weight on validation: patterns weigh the same in their kind, and both kinds weigh the same.

    Args:
        queries: Of the served readout, unit [n, d] for each kind of validation that has cases.
        validator: Of the domain; its results are validation items.
        log_odds: Of every item [N].
        patterns: Those that training knows.
        params: The grid.

    Raises:
        ValueError: Neither kind of validation has a case.
    """
    if not queries:
        raise ValueError("neither kind of validation has a case to choose depth and weight of the rerank on")
    lists = _Lists(queries, validator, log_odds, patterns, params)
    settings = [RerankSetting(depth, weight) for depth in params.depths for weight in (0.0, *params.weights)]
    grid = {setting: lists.mean(setting) for setting in settings}
    setting = shrunk(grid, min(params.weights))
    none = RerankSetting(1, 0.0)
    return RerankChoice(setting, lists.figures(none), lists.figures(setting), lists.gain_error(none, setting), grid)


def shrunk(grid: Mapping[RerankSetting, float], scale: float) -> RerankSetting:
    """The mean of the settings of a grid, each weighing exp(Joint / temperature).

    The mean is that of the logarithms: of the depth, and of the weight + `scale`, so that it exists for a weight of 0.

    Args:
        grid: Setting -> mean Joint@K, in [0, 1].
        scale: The least weight that matters, > 0.
    """
    joint = np.array(list(grid.values()))
    share = np.exp((joint - joint.max()) / TEMPERATURE)
    share /= share.sum()
    depth = np.exp(share @ np.log([setting.depth for setting in grid]))
    weight = np.exp(share @ np.log([setting.weight + scale for setting in grid])) - scale
    return RerankSetting(max(1, round(float(depth))), round(max(0.0, float(weight)), 6))


class _Lists:
    """The longest lists that are reranked, of the cases of each kind."""

    def __init__(
        self,
        queries: Mapping[Split, np.ndarray],
        validator: Validator,
        log_odds: np.ndarray,
        patterns: KnownPatterns,
        params: SecondStageParams,
    ) -> None:
        self._validator, self._parts = validator, {}
        reach = min(max(params.depths) * validator.k, max(validator.k, int(validator.visible.sum())))
        pattern = PatternOf(patterns, validator.embeddings, params.sharpness)
        for split, vectors in queries.items():
            seeds = validator.cases[split][0]
            found = validator.index.search(vectors, reach, allowed=validator.visible, exclude=seeds)
            values = np.zeros_like(found.scores)
            for own, rows, case in zip(values, found.rows, seeds, strict=True):
                there = rows >= 0
                inside = pattern.log_probability(validator.embeddings[case[case >= 0]], rows[there])
                own[there] = log_goodness(log_odds[rows[there]], inside)
            self._parts[split] = found.rows, found.scores, values

    def mean(self, setting: RerankSetting) -> float:
        """Mean Joint@K over patterns and kinds."""
        cases = self._validator.cases
        return float(mean_of_kinds([(split, cases[split][1], joint[None]) for split, joint in self._joint(setting)])[0])

    def figures(self, setting: RerankSetting) -> dict[str, float]:
        """Mean Joint@K of each kind, and what decides."""
        by_kind = {str(split): float(joint.mean()) for split, joint in self._joint(setting)}
        return by_kind | {"mean": self.mean(setting)}

    def gain_error(self, before: RerankSetting, after: RerankSetting) -> float:
        """Standard error over patterns of the gain from one setting to another."""
        cases, pairs = self._validator.cases, zip(self._joint(before), self._joint(after), strict=True)
        gains = [pattern_means((new - old)[None], cases[split][1]) for (split, old), (_, new) in pairs]
        return float(standard_error(gains)[0])

    def _joint(self, setting: RerankSetting) -> Iterator[tuple[Split, np.ndarray]]:
        validator, reach = self._validator, setting.depth * self._validator.k
        for split, (rows, scores, values) in self._parts.items():
            by = reordering_scores(scores[:, :reach], values[:, :reach], setting.weight)
            order = np.argsort(-by, axis=1, kind="stable")[:, : validator.k]
            kept = np.take_along_axis(rows, order, 1)
            labels, patterns = validator.patterns.labels, validator.cases[split][1]
            yield split, list_metrics(kept, validator.positive, labels, patterns).joint
