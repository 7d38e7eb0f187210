"""What the demo world can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from modit.core.errors import ConfigError

# `popular` is the domain whose score also drives how often an item is met in sessions.
DOMAIN_NAMES = ("quality", "popular", "safety", "fresh", "gift", "eco", "premium", "local")
POPULARITY_DOMAIN = "popular"
FIRST_DAY = date(2026, 1, 1)
SHARES = (0.08, 0.1, 0.09, 0.085, 0.105, 0.095, 0.075, 0.11)

_RANGES: dict[str, tuple[float, float]] = {
    "items": (5_000, 10_000_000),
    "domains": (1, len(DOMAIN_NAMES)),
    "seed": (0, 2**63 - 1),
    "dimension": (16, 2_048),
    "days": (1, 999),
    "sessions_per_item": (0.01, 10.0),
    "shared_direction": (0.0, 1.0),
    "attribute_spread": (0.01, 2.0),
    "ordinary_spread": (0.0, 5.0),
    "pattern_distance": (0.01, 5.0),
    "scorer_noise": (0.0, 5.0),
    "scorer_steepness": (0.1, 100.0),
    "prevalence_spread": (0.0, 1.0),
    "size_skew": (0.0, 1.0),
    "nonlinear_domains": (0, len(DOMAIN_NAMES)),
    "scored_share": (0.02, 1.0),
}


@dataclass(frozen=True)
class DemoParameters:
    """Size and geometry of a demo world. The defaults show the regime of the paper's Table 2.

    Attributes:
        items: number of items, 5,000 to 10,000,000.
        domains: number of attribute domains, 1 to 8; their names are the first of `DOMAIN_NAMES`.
        seed: the same parameters and seed give the same bytes.
        dimension: width d of the embeddings, 16 to 2,048.
        days: days of interactions, one partition each.
        sessions_per_item: number of sessions over number of items.
        shared_direction: share, in [0, 1], of an attribute direction's squared length that all patterns have in
            common; the rest is a direction of the pattern's own.
        attribute_spread: standard deviation of the offset from the pattern's centre along an attribute direction.
        ordinary_spread: expected length of the rest of that offset; the centre has length 1.
        pattern_distance: distance of a pattern from the centre of its super-pattern, before normalisation.
        scorer_noise: noise that the scorer adds to the standardised projection, in standard deviations.
        scorer_steepness: slope of the scorer's logistic.
        prevalence_spread: standard deviation over patterns of the scorer's threshold.
        size_skew: exponent of the Zipf law of pattern sizes, 0 for equal sizes.
        nonlinear_domains: how many of the last domains have an attribute that is not linear in the embedding: two
            regions, a ring and an interaction of two directions, in turn (`modit.data.demo.shapes`).
        scored_share: expected share of items that the scorer has judged, in each domain by itself, 0.02 to 1; the
            verdict of the others is null.
    """

    items: int = 20_000
    domains: int = 3
    seed: int = 0
    dimension: int = 64
    days: int = 30
    sessions_per_item: float = 0.5
    shared_direction: float = 0.5
    attribute_spread: float = 0.17
    ordinary_spread: float = 0.95
    pattern_distance: float = 0.37
    scorer_noise: float = 1.0
    scorer_steepness: float = 6.0
    prevalence_spread: float = 0.2
    size_skew: float = 0.4
    nonlinear_domains: int = 0
    scored_share: float = 1.0

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"demo world: {name} must be in [{low:,}, {high:,}], is {value}")
        if self.nonlinear_domains > self.domains:
            raise ConfigError(
                f"demo world: nonlinear_domains must be at most the {self.domains} domains, is {self.nonlinear_domains}"
            )

    @property
    def domain_names(self) -> tuple[str, ...]:
        """Names of the domains, in the order of their directions."""
        return DOMAIN_NAMES[: self.domains]

    def shape_of(self, domain: int) -> int | None:
        """The number of the shape of a domain that is not linear; None for a linear one."""
        number = domain - (self.domains - self.nonlinear_domains)
        return number if number >= 0 else None

    @property
    def shares(self) -> np.ndarray:
        """Expected share of items with the attribute, float64 [domains]."""
        return np.array(SHARES[: self.domains])

    @property
    def patterns(self) -> int:
        """Number of patterns: 30 for 20,000 items, 570 for a million, 3,200 for ten million."""
        return round(0.018 * self.items**0.75)

    @property
    def super_patterns(self) -> int:
        """Number of super-patterns: a fifth of the patterns."""
        return max(2, self.patterns // 5)

    def generator(self, purpose: int, *index: int) -> np.random.Generator:
        """A random stream of its own for each purpose and chunk, so that a chunk depends on no other chunk."""
        return np.random.default_rng([self.seed, purpose, *index])
