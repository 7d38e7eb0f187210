"""How much may be wrong with a window before it is refused."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

from modit.core.errors import ConfigError
from modit.core.sections import ValidationParams


@dataclass(frozen=True)
class Tolerance:
    """Largest share of the rows read, in [0, 1], that each quarantine rule may catch before the input is refused.

    The fields, and what they are by default, are those of section `validate_logs`.
    """

    unknown_item_share_max: float = 0.05
    null_share_max: float = 0.01
    duplicate_share_max: float = 0.05
    timestamp_share_max: float = 0.01
    item_share_max: float = 0.01
    label_share_max: float = 0.01
    unordered_share_max: float = 1.0
    embedding_norm_min: float = 0.0
    embedding_norm_max: float = 1e39

    def __post_init__(self) -> None:
        for name, share in vars(self).items():
            if name.endswith("share_max") and not 0.0 <= share <= 1.0:
                raise ConfigError(f"{name} must be in [0, 1], is {share}")

    @classmethod
    def of(cls, params: ValidationParams) -> Self:
        """That of the section `validate_logs`."""
        return cls(**{field.name: getattr(params, field.name) for field in fields(cls)})

    def of_items(self) -> dict[str, float]:
        """Rule on rows of `items` -> largest share."""
        rules = ("not_null", "item_id_not_empty", "item_id_unique", "embedding_dimension", "embedding_finite")
        return dict.fromkeys((*rules, "embedding_non_zero", "embedding_norm"), self.item_share_max)

    def of_interactions(self, order: str) -> dict[str, float]:
        """Rule on rows of `interactions` -> largest share.

        Args:
            order: `timestamp` or `position`.
        """
        allowed = {
            "null_in_interaction": self.null_share_max,
            "empty_sequence_id": self.null_share_max,
            "unknown_item": self.unknown_item_share_max,
            "duplicate_interaction": self.duplicate_share_max,
        }
        times = ("timestamp_in_range", "timestamp_in_partition") if order == "timestamp" else ()
        return allowed | dict.fromkeys(times, self.timestamp_share_max)

    def of_labels(self) -> dict[str, float]:
        """Rule on rows of `retrieval_labels` -> largest share."""
        rows = ("null_in_label", "timestamp_in_range", "timestamp_in_partition", "unknown_label_domain")
        lists = ("unknown_label_item", "rank_positive", "one_anchor_per_request", "duplicate_label", "rank_contiguous")
        return dict.fromkeys((*rows, *lists), self.label_share_max)
