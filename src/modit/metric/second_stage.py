"""The second stage of a domain: how likely an item has the attribute and lies in the seeds' pattern.

A list that was fetched deeper than asked is ordered by inner product + weight * log P(attribute and pattern)
(docs/adr/0045, 0047). What answers needs no attribute model: the log-odds of all items are an array.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from modit.core.errors import ArtifactError
from modit.core.storage import sha256_of_file
from modit.metric.calibration import CLIP
from modit.metric.known_patterns import KnownPatterns

SECOND_STAGE_FILE, LOG_ODDS_FILE, PATTERNS_FILE = "second_stage.json", "log_odds.npy", "patterns.npz"
_DIGESTS = {"log_odds_digest": LOG_ODDS_FILE, "patterns_digest": PATTERNS_FILE}
# 2: patterns, and their sharpness. 3: the query is moved by the patterns too.
_SCHEMA_VERSION = 3


@dataclass(frozen=True, eq=False)
class PatternOf:
    """How likely items of a catalogue lie in the pattern of seeds.

    Attributes:
        known: The known patterns.
        embeddings: float32 [N, d] of the catalogue; only the rows of a list are read.
        sharpness: How fast the probability falls beyond a border, > 0, in units of the patterns' mean spread.
    """

    known: KnownPatterns
    embeddings: np.ndarray
    sharpness: float

    def log_probability(self, seeds: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The log-probabilities of rows [n] for seeds [m, d], float32 [n], at most 0."""
        return self.known.margins(seeds, rows, self.embeddings[rows]).log_probability(self.sharpness)


def log_goodness(log_odds: np.ndarray, log_pattern: np.ndarray) -> np.ndarray:
    """Log P(attribute and pattern), float32, at most 0: both are taken as independent, given the item.

    Args:
        log_odds: That items have the attribute.
        log_pattern: The log-probability that they lie in the pattern, of the same shape.
    """
    return (-np.logaddexp(0, -log_odds) + log_pattern).astype(np.float32)


@dataclass(frozen=True, eq=False)
class SecondStage:
    """The second stage of a domain.

    Attributes:
        log_odds: Calibrated, of every item, float32 [N], in [-6, 6].
        patterns: Those that training knows.
        depth: How much longer than asked a list is fetched, >= 1.
        weight: Of log P(attribute and pattern) beside the inner product, >= 0.
        sharpness: How fast the probability of the pattern falls beyond a border, > 0.
        enabled: Whether a request that says nothing of it is reranked.
        facts: How all this was chosen, for `second_stage.json`.
    """

    log_odds: np.ndarray
    patterns: KnownPatterns
    depth: int
    weight: float
    sharpness: float
    enabled: bool
    facts: Mapping[str, Any] = field(default_factory=dict)

    def with_verdicts(self, known: np.ndarray, positive: np.ndarray) -> np.ndarray:
        """The log-odds of every item, float32 [N]: of an item whose verdict is known, what the verdict says.

        Args:
            known: Items whose verdict is known, bool [N].
            positive: Items with the attribute, bool [N]; read where `known` only.
        """
        return np.where(known, np.where(positive, np.float32(CLIP), np.float32(-CLIP)), self.log_odds)

    def pattern_of(self, embeddings: np.ndarray) -> PatternOf:
        """How likely items lie in the pattern of seeds; `embeddings` [N, d] are the catalogue's."""
        return PatternOf(self.patterns, embeddings, self.sharpness)

    def save(self, folder: Path) -> None:
        """Writes two arrays and `second_stage.json` into an existing folder; equal content gives equal bytes."""
        np.save(folder / LOG_ODDS_FILE, self.log_odds.astype(np.float32), allow_pickle=False)
        self.patterns.save(folder / PATTERNS_FILE)
        own: dict[str, Any] = {"schema_version": _SCHEMA_VERSION, "sharpness": self.sharpness}
        own |= {"depth": self.depth, "weight": self.weight, "enabled": self.enabled}
        own |= {name: sha256_of_file(folder / file) for name, file in _DIGESTS.items()}
        text = json.dumps({**self.facts, **own}, indent=1, sort_keys=True)
        (folder / SECOND_STAGE_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, items: int, dimension: int) -> SecondStage:
        """Reads what `save` wrote.

        Args:
            folder: Of the artifact.
            items: N, of the catalogue.
            dimension: d, of its embeddings.

        Raises:
            ArtifactError: A file is missing, damaged, edited, or of another catalogue; it is named.
        """
        place, array = folder / SECOND_STAGE_FILE, folder / LOG_ODDS_FILE
        try:
            content = json.loads(place.read_text(encoding="utf-8"))
            if (version := content.pop("schema_version")) != _SCHEMA_VERSION:
                reads = f"this version of modit reads {_SCHEMA_VERSION}"
                raise ArtifactError(f"{place}: schema_version is {version!r}; {reads}")
            expected = {name: content.pop(name) for name in _DIGESTS}
            found = {name: sha256_of_file(folder / file) for name, file in _DIGESTS.items()}
            depth, weight, enabled = content.pop("depth"), content.pop("weight"), content.pop("enabled")
            sharpness = content.pop("sharpness")
            log_odds = np.load(array, allow_pickle=False)
        except FileNotFoundError as error:
            raise ArtifactError(f"{error.filename} is missing") from error
        except (OSError, KeyError, ValueError, AttributeError, EOFError) as error:
            raise ArtifactError(f"{folder}: {SECOND_STAGE_FILE} or an array is damaged: {error!r}") from error
        for name, file in _DIGESTS.items():
            if found[name] != expected[name]:
                wanted = f"{SECOND_STAGE_FILE} has {expected[name]}"
                raise ArtifactError(f"{folder / file}: its sha256 is {found[name]}; {wanted}")
        if log_odds.shape != (items,) or log_odds.dtype != np.float32 or not (np.abs(log_odds) <= CLIP).all():
            raise ArtifactError(
                f"{array} is {log_odds.dtype} {log_odds.shape}; allowed: float32 [{items}] in [-{CLIP:g}, {CLIP:g}]"
            )
        if type(depth) is not int or depth < 1:
            raise ArtifactError(f"{place}: depth is {depth!r}; allowed: an integer of 1 or more")
        if not isinstance(weight, int | float) or not 0 <= weight < np.inf:
            raise ArtifactError(f"{place}: weight is {weight!r}; allowed: 0 or more")
        if not isinstance(sharpness, int | float) or not 0 < sharpness < np.inf:
            raise ArtifactError(f"{place}: sharpness is {sharpness!r}; allowed: more than 0")
        if not isinstance(enabled, bool):
            raise ArtifactError(f"{place}: enabled is {enabled!r}; allowed: true, false")
        patterns = KnownPatterns.load(folder / PATTERNS_FILE, items, dimension)
        return cls(log_odds, patterns, depth, float(weight), float(sharpness), enabled, content)


def reordering_scores(scores: np.ndarray, values: np.ndarray, weight: float) -> np.ndarray:
    """What a reranked list is ordered by: inner product + weight * value, float32, of any shape."""
    return scores + np.float32(weight) * values.astype(np.float32)
