"""How deep the served lists are reranked and how much the log-odds weigh, chosen on validation cases.

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
from modit.hppo.params import SecondStageParams
from modit.hppo.readout import TEMPERATURE, mean_over_patterns
from modit.hppo.validation import Validator
from modit.metric.list_metrics import list_metrics
from modit.metric.second_stage import reordering_scores
from modit.model.axes import Geometry
from modit.model.dit import MODiT
from modit.model.readout import Readout
from modit.model.sampler import CASES_AT_ONCE, Sampler, generate_queries

_NOISE_SEED = 0


class RerankSetting(NamedTuple):
    """How a list is reranked.

    Attributes:
        depth: How much longer than asked the list is fetched, >= 1.
        weight: Of the log-odds, >= 0; 0 leaves every list as it is.
    """

    depth: int
    weight: float


class RerankChoice(NamedTuple):
    """The chosen setting, and what it and all others reached on validation.

    Attributes:
        setting: Chosen.
        none: Joint@K without rerank: of each kind of validation, and the mean over all patterns as `patterns`.
        chosen: The same at the setting.
        grid: Mean Joint@K over all patterns of each setting of the grid.
    """

    setting: RerankSetting
    none: dict[str, float]
    chosen: dict[str, float]
    grid: dict[RerankSetting, float]

    @property
    def helps(self) -> bool:
        """Whether the setting is better than no rerank; an equal one would cost time for nothing."""
        return round(self.chosen["patterns"] - self.none["patterns"], 9) > 0

    def as_json(self) -> dict[str, Any]:
        """The validation figures for `second_stage.json`."""
        tried = [setting._asdict() | {"joint": round(joint, 6)} for setting, joint in self.grid.items()]
        none, chosen = (
            {name: round(value, 6) for name, value in figures.items()} for figures in (self.none, self.chosen)
        )
        return {"none": none, "chosen": chosen, "tried": tried}


def served_queries(model: MODiT, readout: Readout, guidance: float, validator: Validator) -> dict[Split, np.ndarray]:
    """The queries that a domain's sampler generates for validation cases, unit [n, d] for each kind that has cases.

    Args:
        model: The last of HPPO.
        readout: Of the domain.
        guidance: The serving scale.
        validator: Of the domain.
    """
    params, embeddings = validator.sampler, torch.from_numpy(np.asarray(validator.embeddings))
    sampler = Sampler(model, Geometry.of(validator.geometry), params.steps, params.samples, readout).eval()
    found = {}
    for split in VALIDATIONS:
        rows = torch.from_numpy(validator.cases[split][0]).long()
        if len(rows):
            block = at_once(CASES_AT_ONCE)
            found[split] = generate_queries(sampler, embeddings, rows, [guidance], _NOISE_SEED, block)[:, 0].numpy()
    return found


def choose_rerank(
    queries: Mapping[Split, np.ndarray], validator: Validator, log_odds: np.ndarray, params: SecondStageParams
) -> RerankChoice:
    """Chooses depth and weight on the patterns of both kinds of validation, each pattern weighing the same.

    Args:
        queries: Of the served readout, unit [n, d] for each kind of validation that has cases.
        validator: Of the domain; its results are validation items.
        log_odds: Of every item [N].
        params: The grid.

    Raises:
        ValueError: Neither kind of validation has a case.
    """
    if not queries:
        raise ValueError("neither kind of validation has a case to choose depth and weight of the rerank on")
    lists = _Lists(queries, validator, log_odds, max(params.depths))
    settings = [RerankSetting(depth, weight) for depth in params.depths for weight in (0.0, *params.weights)]
    grid = {setting: lists.over_patterns(setting) for setting in settings}
    setting = shrunk(grid, min(params.weights))
    none = RerankSetting(1, 0.0)
    return RerankChoice(setting, lists.figures(none), lists.figures(setting), grid)


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
        self, queries: Mapping[Split, np.ndarray], validator: Validator, log_odds: np.ndarray, depth: int
    ) -> None:
        self._validator, self._parts = validator, {}
        reach = min(depth * validator.k, max(validator.k, int(validator.visible.sum())))
        for split, vectors in queries.items():
            seeds = validator.cases[split][0]
            found = validator.index.search(vectors, reach, allowed=validator.visible, exclude=seeds)
            self._parts[split] = found.rows, found.scores, np.where(found.rows < 0, 0, log_odds[found.rows])

    def over_patterns(self, setting: RerankSetting) -> float:
        """Mean Joint@K over the patterns of all kinds."""
        cases = self._validator.cases
        return mean_over_patterns(dict(self._joint(setting)), {split: cases[split][1] for split in self._parts})

    def figures(self, setting: RerankSetting) -> dict[str, float]:
        """Mean Joint@K of each kind, and over all patterns."""
        by_kind = {str(split): float(joint.mean()) for split, joint in self._joint(setting)}
        return by_kind | {"patterns": self.over_patterns(setting)}

    def _joint(self, setting: RerankSetting) -> Iterator[tuple[Split, np.ndarray]]:
        validator, reach = self._validator, setting.depth * self._validator.k
        for split, (rows, scores, odds) in self._parts.items():
            by = reordering_scores(scores[:, :reach], odds[:, :reach], setting.weight)
            order = np.argsort(-by, axis=1, kind="stable")[:, : validator.k]
            kept = np.take_along_axis(rows, order, 1)
            labels, patterns = validator.patterns.labels, validator.cases[split][1]
            yield split, list_metrics(kept, validator.positive, labels, patterns).joint
