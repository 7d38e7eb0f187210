"""Sections of `params.yaml`: what may be wrong with a window of logs, and how far it may drift."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from modit.core.params import Section, Share, Weight


class DriftParams(Section):
    """Part `drift` of section `validate_logs`: how far a column may move from the last accepted window.

    Attributes:
        psi_warn: population stability index that is worth a look.
        psi_fail: population stability index that refuses the window.
        distance_warn: Kolmogorov-Smirnov distance (numbers) or total variation (categories) that is worth a look.
        distance_fail: the same distance that refuses the window.
        significance: index and distance count only if chance gives them with less than this probability.
        cells: cells of the codebook that embedding-space occupancy is counted in.
    """

    psi_warn: Annotated[float, Field(gt=0)] = 0.25
    psi_fail: Annotated[float, Field(gt=0)] = 1.0
    distance_warn: Weight = 0.2
    distance_fail: Weight = 0.5
    significance: Annotated[float, Field(gt=0, lt=1)] = 0.001
    cells: Annotated[int, Field(ge=2, le=256)] = 32


class ValidationParams(Section):
    """Section `validate_logs`: how much may be wrong with a window before it is refused.

    Bad rows are always set aside; a share says how many of a table's rows one rule may catch.

    Attributes:
        unknown_item_share_max: of interactions that name an item which is not in `items`.
        null_share_max: of interactions with an empty required column.
        duplicate_share_max: of interactions that occur twice.
        timestamp_share_max: of interactions whose time is impossible or not near the day of their partition.
        item_share_max: of items that break any one rule.
        label_share_max: of retrieval labels that break any one rule.
        query_share_max: of queries, and of their labels, that break any one rule.
        unordered_share_max: of rows that are older than the row above them; 1 for logs that are not in order.
        embedding_norm_min: shortest embedding as delivered, before it is normalised.
        embedding_norm_max: longest.
        volume_min: least rows a day, over the median of the last accepted windows.
        volume_max: most.
        missing_day_share_max: of the window's days that have no row at all.
        rate_tolerance: least half-width of the learned bands of label and attribute rates.
        drift: levels of drift.
    """

    unknown_item_share_max: Weight = 0.05
    null_share_max: Weight = 0.01
    duplicate_share_max: Weight = 0.05
    timestamp_share_max: Weight = 0.01
    item_share_max: Weight = 0.01
    label_share_max: Weight = 0.01
    query_share_max: Weight = 0.01
    unordered_share_max: Weight = 1.0
    embedding_norm_min: Annotated[float, Field(ge=0)] = 0.0
    embedding_norm_max: Annotated[float, Field(gt=0, le=1e39)] = 1e39
    volume_min: Annotated[float, Field(ge=0)] = 0.25
    volume_max: Annotated[float, Field(gt=0)] = 4.0
    missing_day_share_max: Weight = 0.5
    rate_tolerance: Share = 0.05
    drift: DriftParams = DriftParams()
