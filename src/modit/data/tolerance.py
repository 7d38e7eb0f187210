"""How much of a table each rule on rows may catch before a window is refused: rule -> largest share of rows, [0, 1]."""

from __future__ import annotations

from modit.data.params import ValidationParams


def allowed_of_items(params: ValidationParams) -> dict[str, float]:
    """For rules on rows of `items`."""
    rules = ("not_null", "item_id_not_empty", "item_id_unique", "embedding_dimension", "embedding_finite")
    return dict.fromkeys((*rules, "embedding_non_zero", "embedding_norm"), params.item_share_max)


def allowed_of_interactions(params: ValidationParams, order: str) -> dict[str, float]:
    """For rules on rows of `interactions`.

    Args:
        params: section `validate_logs`.
        order: `timestamp` or `position`.
    """
    allowed = {
        "null_in_interaction": params.null_share_max,
        "empty_sequence_id": params.null_share_max,
        "unknown_item": params.unknown_item_share_max,
        "duplicate_interaction": params.duplicate_share_max,
    }
    times = ("timestamp_in_range", "timestamp_in_partition") if order == "timestamp" else ()
    return allowed | dict.fromkeys(times, params.timestamp_share_max)


def allowed_of_labels(params: ValidationParams) -> dict[str, float]:
    """For rules on rows of `retrieval_labels`."""
    rows = ("null_in_label", "timestamp_in_range", "timestamp_in_partition", "unknown_label_domain")
    lists = ("unknown_label_item", "rank_positive", "one_anchor_per_request", "duplicate_label", "rank_contiguous")
    return dict.fromkeys((*rows, *lists), params.label_share_max)
