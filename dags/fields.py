"""What DAGs have in common: arguments of `DAG`, and params with their schemas."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path

from airflow.sdk import Param

REPOSITORY = Path(__file__).resolve().parent.parent
# `modit` may be installed or lie in src.
if str(REPOSITORY / "src") not in sys.path:
    sys.path.append(str(REPOSITORY / "src"))

from modit.core.names import PRESETS  # noqa: E402

RUNS = os.environ.get("MODIT_RUNS", str(REPOSITORY / "runs"))
RUN_URI = "{{ params.run_root }}/{{ params.run or (run_id | replace(':', '-') | replace('+', '_')) }}"
DAY = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
RUN_NAME = "^[A-Za-z0-9][A-Za-z0-9_.-]*$"

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
