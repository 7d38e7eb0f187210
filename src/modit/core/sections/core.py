"""Sections of `params.yaml` that `core/` itself reads: how steps run, and which days."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from modit.core.sections.section import AtLeastZero, Positive, Section


class RunnerParams(Section):
    """Section `runner`: how steps run; nothing here changes what they write.

    Attributes:
        cross_run_cache: take artifacts of equal key from earlier runs beside this one.
        log_level: least level of log lines.
        lease_minutes: how long a night that died keeps other nights of its catalogue from starting.
    """

    cross_run_cache: bool = True
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    lease_minutes: Annotated[float, Field(gt=0)] = 10.0


class WindowParams(Section):
    """Section `window`: which days a run reads, and what they are compared with.

    Attributes:
        length_days: days of a window whose conf names only its end.
        overlap_days: days before those, read again for rows that came late; and how many days a row may lie away from
            the day of its partition.
        history_windows: how many accepted windows before this one volumes and rates are compared with.
    """

    length_days: Positive = 30
    overlap_days: AtLeastZero = 2
    history_windows: Positive = 5
