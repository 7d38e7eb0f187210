"""Closed-form queries: what a user would try before training anything.

Each rule turns requests and a setting into unit query vectors [n, d]; its grid holds the settings that validation
chooses from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import torch

from modit.data.vectors import unit
from modit.evaluate import names
from modit.evaluate.task import Setting
from modit.index.searchable import SearchableIndex
from modit.inference.retrieval import Query, SearchResult, padded_seeds, search_together
from modit.inference.simple_row import STARTS_OF_KNOWN
from modit.metric.evidence import KnownVerdicts
from modit.metric.known_patterns import KnownPatterns
from modit.metric.predictor import DensityPredictor, DomainGeometry
from modit.model.axes import Geometry
from modit.model.readout import BLENDS, EVIDENCE, FIXED_MOVES, LOCAL_MOVES, STEPS, Move, step_directions
from modit.model.sampler import blends_of_seeds

# Weight 0 is average pooling; at 10 a query is within 6 degrees of the limit: both ends of the grid are natural ones.
_WEIGHTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5, 0.65, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
# From the one best seed of each case (shares below 1/m) to all of them, which is average pooling.
_SHARES = (0.001, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0)
_NEGATIVE_WEIGHTS = (0.0, 0.25, 0.5, 1.0)


@dataclass(frozen=True, eq=False)
class DomainKnowledge:
    """What closed-form queries may learn from: known verdicts, and what is fitted on them.

    Attributes:
        verdicts: The known ones.
        predictor: The domain's density predictor.
        geometry: Of the domain.
        patterns: Those of the known positives.
    """

    verdicts: KnownVerdicts
    predictor: DensityPredictor
    geometry: DomainGeometry
    patterns: KnownPatterns

    @cached_property
    def positive_centroid(self) -> np.ndarray:
        """Unit mean of all known positives [d]."""
        return unit(np.asarray(self.verdicts.embeddings[self.verdicts.positives]).mean(0))

    @cached_property
    def negative_centroid(self) -> np.ndarray:
        """Unit mean of all known negatives [d]."""
        return unit(np.asarray(self.verdicts.embeddings[self.verdicts.negatives]).mean(0))

    @cached_property
    def steps(self) -> dict[str, np.ndarray]:
        """Unit directions [d] of the steps."""
        return dict(zip(STEPS, step_directions(Geometry.of(self.geometry)).numpy(), strict=True))


@dataclass(frozen=True, eq=False)
class SeedFeatures:
    """What the rules read of the seeds of requests; each part is computed when a rule first asks for it.

    Attributes:
        domain: What is known.
        requests: With their seeds.
    """

    domain: DomainKnowledge
    requests: Sequence[Query]

    @cached_property
    def mean(self) -> np.ndarray:
        """Unit mean of the seeds [n, d]."""
        return unit(padded_seeds(self.requests)[0].sum(1))

    def best_seeds(self, share: float) -> np.ndarray:
        """Unit mean of the `share` of the seeds with the highest predicted density, at least one seed [n, d]."""
        seeds, mask = padded_seeds(self.requests)
        score = np.where(mask, self.domain.predictor.predict(seeds), -np.inf)
        counts = np.maximum(1, np.round(share * mask.sum(1))).astype(int)
        # Of equal scores the later seed counts as the higher one, as in the cases' ascending order.
        rank = np.argsort(np.argsort(score, axis=1, kind="stable"), axis=1, kind="stable")
        kept = rank >= mask.shape[1] - counts[:, None]
        return unit((seeds * kept[..., None]).sum(1))

    @cached_property
    def blends(self) -> dict[str, np.ndarray]:
        """Unit blends of the seeds' means, name -> [n, d]; two have the centre of the known pattern nearest to them."""
        seeds, mask = (torch.from_numpy(part) for part in padded_seeds(self.requests))
        blends = blends_of_seeds(seeds, mask, Geometry.of(self.domain.geometry)).numpy()
        found = {name: blends[:, place] for place, name in enumerate(BLENDS)}
        centres = np.stack([self.domain.patterns.centre_near(request.seeds) for request in self.requests])
        return found | dict(zip(STARTS_OF_KNOWN, (unit(centres), unit(self.mean + centres)), strict=True))

    @cached_property
    def evidence(self) -> dict[str, np.ndarray]:
        """Directions that the known verdicts near the seeds' mean give, name -> [n, d]."""
        directions = self.domain.verdicts.directions(self.mean)
        return {name: directions[:, place] for place, name in enumerate(EVIDENCE)}


Rule = Callable[[SeedFeatures, Setting], np.ndarray]


@dataclass(frozen=True, eq=False)
class ClosedFormRetriever:
    """A rule at a setting.

    Attributes:
        rule: Makes the queries.
        domain: What the rule may use.
        index: Searched.
        setting: Of the rule.
    """

    rule: Rule
    domain: DomainKnowledge
    index: SearchableIndex
    setting: Setting

    def retrieve(self, requests: Sequence[Query]) -> list[SearchResult]:
        """Answers requests that share `k` and `allowed`."""
        return search_together(self.index, self.rule(SeedFeatures(self.domain, requests), self.setting), requests)


def average_pooling(seeds: SeedFeatures, _: Setting) -> np.ndarray:
    """Takes the mean of the seeds."""
    return seeds.mean


def global_attribute_centroid(seeds: SeedFeatures, _: Setting) -> np.ndarray:
    """Retrieves by the attribute alone: the same query for every request."""
    return np.repeat(seeds.domain.positive_centroid[None], len(seeds.requests), 0)


def rocchio(seeds: SeedFeatures, setting: Setting) -> np.ndarray:
    """Adds the centroid of all known positives and subtracts that of all known negatives (Rocchio 1971)."""
    domain, weight = seeds.domain, setting["weight"]
    move = domain.positive_centroid - setting["negatives"] * domain.negative_centroid
    return unit(seeds.mean + weight * move)


def density_step(seeds: SeedFeatures, setting: Setting) -> np.ndarray:
    """Moves the seeds' mean along the unit direction of the density predictor."""
    return unit(seeds.mean + setting["weight"] * unit(seeds.domain.predictor.direction))


def best_scored_seeds(seeds: SeedFeatures, setting: Setting) -> np.ndarray:
    """Takes the mean of the `share` of the seeds with the highest predicted density, at least one."""
    return seeds.best_seeds(setting["share"])


def fixed_move(seeds: SeedFeatures, setting: Setting) -> np.ndarray:
    """Moves a blend of the seeds' means by one step along the domain's density, its attribute, or both."""
    return unit(seeds.blends[setting["blend"]] + setting["length"] * seeds.domain.steps[setting["step"]])


def local_feedback(seeds: SeedFeatures, setting: Setting) -> np.ndarray:
    """Moves a blend along a global step and along what the known verdicts near the seeds say.

    That is the nearest positives' mean minus the nearest negatives', or the direction of a local probe.
    """
    moved = seeds.blends[setting["blend"]] + setting["length"] * seeds.domain.steps[setting["step"]]
    return unit(moved + setting["evidence_weight"] * seeds.evidence[setting["evidence"]])


def _grid(**values: Sequence[float | str]) -> tuple[Setting, ...]:
    return tuple(dict(zip(values, each, strict=True)) for each in product(*values.values()))


def _fixed(move: Move) -> Setting:
    return {"blend": move.blend, "step": move.step, "length": move.length}


def _with_known(moves: Sequence[Move]) -> list[Move]:
    """Moves from every blend, and from the known patterns in the place of the first one."""
    return [
        *moves,
        *(move._replace(blend=blend) for blend in STARTS_OF_KNOWN for move in moves if move.blend == BLENDS[0]),
    ]


RULES: dict[str, tuple[Rule, tuple[Setting, ...]]] = {
    names.AVERAGE: (average_pooling, ({},)),
    "Global attribute centroid": (global_attribute_centroid, ({},)),
    "Rocchio": (rocchio, _grid(weight=_WEIGHTS, negatives=_NEGATIVE_WEIGHTS)),
    "Density step": (density_step, _grid(weight=_WEIGHTS)),
    "Best-scored seeds": (best_scored_seeds, _grid(share=_SHARES)),
    names.FIXED_MOVE: (fixed_move, tuple(_fixed(move) for move in _with_known(FIXED_MOVES))),
    names.LOCAL_FEEDBACK: (local_feedback, tuple(move._asdict() for move in _with_known(LOCAL_MOVES))),
}
