"""The second stage of a domain: how likely every item has the attribute, and how a list is reordered by it.

A list that was fetched deeper than asked is ordered by inner product + weight * log-odds (docs/adr/0045). What answers
needs no attribute model: the log-odds of all items are an array.
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

SECOND_STAGE_FILE, LOG_ODDS_FILE = "second_stage.json", "log_odds.npy"
_SCHEMA_VERSION = 1


@dataclass(frozen=True, eq=False)
class SecondStage:
    """The second stage of a domain.

    Attributes:
        log_odds: Calibrated, of every item, float32 [N], in [-6, 6].
        depth: How much longer than asked a list is fetched, >= 1.
        weight: Of the log-odds beside the inner product, >= 0.
        enabled: Whether a request that says nothing of it is reranked.
        facts: How all this was chosen, for `second_stage.json`.
    """

    log_odds: np.ndarray
    depth: int
    weight: float
    enabled: bool
    facts: Mapping[str, Any] = field(default_factory=dict)

    def with_verdicts(self, known: np.ndarray, positive: np.ndarray) -> np.ndarray:
        """The log-odds of every item, float32 [N]: of an item whose verdict is known, what the verdict says.

        Args:
            known: Items whose verdict is known, bool [N].
            positive: Items with the attribute, bool [N]; read where `known` only.
        """
        return np.where(known, np.where(positive, np.float32(CLIP), np.float32(-CLIP)), self.log_odds)

    def save(self, folder: Path) -> None:
        """Writes `log_odds.npy` and `second_stage.json` into an existing folder; equal content gives equal bytes."""
        np.save(folder / LOG_ODDS_FILE, self.log_odds.astype(np.float32), allow_pickle=False)
        own: dict[str, Any] = {"schema_version": _SCHEMA_VERSION}
        own |= {"depth": self.depth, "weight": self.weight, "enabled": self.enabled}
        own |= {"log_odds_digest": sha256_of_file(folder / LOG_ODDS_FILE)}
        text = json.dumps({**self.facts, **own}, indent=1, sort_keys=True)
        (folder / SECOND_STAGE_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, items: int) -> SecondStage:
        """Reads what `save` wrote.

        Args:
            folder: Of the artifact.
            items: N, of the catalogue.

        Raises:
            ArtifactError: A file is missing, damaged, edited, or of another catalogue; it is named.
        """
        place, array = folder / SECOND_STAGE_FILE, folder / LOG_ODDS_FILE
        try:
            content = json.loads(place.read_text(encoding="utf-8"))
            own = {name: content.pop(name) for name in ("schema_version", "log_odds_digest")}
            depth, weight, enabled = content.pop("depth"), content.pop("weight"), content.pop("enabled")
            log_odds = np.load(array, allow_pickle=False)
        except (OSError, KeyError, ValueError, AttributeError, EOFError) as error:
            raise ArtifactError(f"{folder}: {SECOND_STAGE_FILE} or {LOG_ODDS_FILE} is damaged: {error!r}") from error
        if own["schema_version"] != _SCHEMA_VERSION:
            found = own["schema_version"]
            raise ArtifactError(f"{place}: schema_version is {found!r}; this version of modit reads {_SCHEMA_VERSION}")
        if (found := sha256_of_file(array)) != own["log_odds_digest"]:
            raise ArtifactError(f"{array}: its sha256 is {found}; {SECOND_STAGE_FILE} has {own['log_odds_digest']}")
        if log_odds.shape != (items,) or log_odds.dtype != np.float32 or not (np.abs(log_odds) <= CLIP).all():
            raise ArtifactError(
                f"{array} is {log_odds.dtype} {log_odds.shape}; allowed: float32 [{items}] in [-{CLIP:g}, {CLIP:g}]"
            )
        if type(depth) is not int or depth < 1:
            raise ArtifactError(f"{place}: depth is {depth!r}; allowed: an integer of 1 or more")
        if not isinstance(weight, int | float) or not 0 <= weight < np.inf:
            raise ArtifactError(f"{place}: weight is {weight!r}; allowed: 0 or more")
        if not isinstance(enabled, bool):
            raise ArtifactError(f"{place}: enabled is {enabled!r}; allowed: true, false")
        return cls(log_odds, depth, float(weight), enabled, content)


def reordering_scores(scores: np.ndarray, log_odds: np.ndarray, weight: float) -> np.ndarray:
    """What a reranked list is ordered by: inner product + weight * log-odds, float32, of any shape."""
    return scores + np.float32(weight) * log_odds.astype(np.float32)
