"""Sections of `params.yaml`: item features in Feast."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from modit.core.params import Positive, Section


class FeatureParams(Section):
    """Section `publish_features`.

    Attributes:
        overlap_hours: rows up to this much older than the newest that is online are written there again.
        sample: items whose online rows are compared with the run's, bit for bit.
        batch: rows written to the online store at once.
        services_kept: runs of a domain whose feature services stay, the newest; those in use stay beside them.
    """

    overlap_hours: Annotated[float, Field(ge=0)] = 24.0
    sample: Positive = 200
    batch: Positive = 10_000
    services_kept: Positive = 30
