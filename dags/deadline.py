"""When a run is late."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import DeadlineAlert, DeadlineReference, SyncCallback

# 0 for none, which `airflow dags test` needs: it ends a good run with an error where there is a deadline (3.3.2).
HOURS = float(os.environ.get("MODIT_DEADLINE_HOURS", "12"))


def deadline(missed: Callable[[Mapping[str, Any]], None]) -> DeadlineAlert | None:
    """The deadline of a DAG's runs, from when they were queued; None where the setting says so.

    Args:
        missed: tells of a run that did not end in time; of the DAG's file, where Airflow finds callbacks on any path.
    """
    if not HOURS:
        return None
    return DeadlineAlert(DeadlineReference.DAGRUN_QUEUED_AT, timedelta(hours=HOURS), SyncCallback(missed))
