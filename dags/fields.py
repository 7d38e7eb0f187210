"""What DAGs have in common: arguments of `DAG`, the deadline of a run, and params with their schemas."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DeadlineAlert, DeadlineReference, Param, SyncCallback

from modit.core.names import PRESETS

REPOSITORY = Path(__file__).resolve().parent.parent
RUNS = os.environ.get("MODIT_RUNS", str(REPOSITORY / "runs"))
RUN_URI = "{{ params.run_root }}/{{ params.run or (run_id | replace(':', '-') | replace('+', '_')) }}"
DAY = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
RUN_NAME = "^[A-Za-z0-9][A-Za-z0-9_.-]*$"

# Hours from when a run is queued until it is late; 0 for no deadline, which `airflow dags test` needs: Airflow 3.3.2
# ends a good run with an error where there is one.
DEADLINE_HOURS = float(os.environ.get("MODIT_DEADLINE_HOURS", "12"))

# No function makes the DAGs: Airflow takes the file that calls `DAG` for the DAG's own.
COMMON = {"start_date": datetime(2026, 1, 1), "catchup": False, "tags": ["modit"]}

CATALOGUE = Param(
    os.environ.get("MODIT_CATALOGUE", f"{RUNS}/demo-world"),
    type="string",
    minLength=1,
    description="Folder in the input contract: a path that steps see, or s3://bucket/prefix.",
)
SEED = Param(0, type="integer", minimum=0, maximum=2**31 - 1, description="Same seed, same bytes.")
PRESET = Param("small", type="string", enum=list(PRESETS), description="Size preset of params.yaml.")
RUN_ROOT = Param(RUNS, type="string", minLength=1, description="Where runs live: a path or s3://bucket/prefix.")
RUN = Param(
    None,
    type=["null", "string"],
    pattern=RUN_NAME,
    description="The run's folder below run_root; made of Airflow's run id when empty.",
)
WINDOW = Param(
    None,
    type=["null", "object"],
    properties={name: {"type": "string", "pattern": DAY} for name in ("start", "end")},
    required=["end"],
    additionalProperties=False,
    description='Days to read, {"start": "2026-01-01", "end": "2026-01-31"}, the end not included; empty: a night '
    "reads the window that ends with its data interval, a manual run reads everything.",
)
OVERRIDES = Param({}, type="object", description='Over the preset, such as {"pretrain.steps": 100}.')


def deadline(missed: Callable[[Mapping[str, Any]], None]) -> DeadlineAlert | None:
    """Returns the deadline of a DAG's runs, or None where MODIT_DEADLINE_HOURS is 0.

    Args:
        missed: called for a run that did not end in time. It must be defined in the DAG's file, where Airflow finds it.
    """
    if not DEADLINE_HOURS:
        return None
    return DeadlineAlert(DeadlineReference.DAGRUN_QUEUED_AT, timedelta(hours=DEADLINE_HOURS), SyncCallback(missed))
