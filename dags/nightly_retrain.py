"""The main job as an Airflow DAG: a task a step, then a review of each model version that passed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, CronDataIntervalTimetable, Param

# Airflow puts the folder of DAGs on the path, not the repository.
if (REPOSITORY := str(Path(__file__).resolve().parent.parent)) not in sys.path:
    sys.path.append(REPOSITORY)

from dags.deadline import deadline  # noqa: E402
from dags.fields import CATALOGUE, COMMON, OVERRIDES, PRESET, RUN, RUN_ROOT, RUN_URI, SEED, WINDOW  # noqa: E402
from dags.notices import send_missed_deadline  # noqa: E402
from dags.release import add_reviews  # noqa: E402
from dags.steps import add_steps  # noqa: E402

# A night reads the window that ends with its data interval; a manual run reads the window that it names, or everything.
NIGHT = "params.window or ({'end': data_interval_end | ds} if dag_run.run_type in ('scheduled', 'backfill') else none)"
CONF = (
    "{{ {'catalogue': params.catalogue, 'domains': params.domains, 'seed': params.seed, 'preset': params.preset,"
    f" 'overrides': params.overrides, 'window': {NIGHT}, 'promote': dag_run.run_type != 'backfill'}} | tojson }}}}"
)

PARAMS = {
    "catalogue": CATALOGUE,
    "domains": Param(
        "all",
        anyOf=[
            {"const": "all"},
            {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"type": "string", "minLength": 1}},
        ],
        description="'all', or the names of the attribute domains to take.",
    ),
    "seed": SEED,
    "preset": PRESET,
    "run_root": RUN_ROOT,
    "run": RUN,
    "window": WINDOW,
    "overrides": OVERRIDES,
}


def deadline_missed(context: Mapping[str, Any]) -> None:
    """Tells of a run that did not end in time."""
    send_missed_deadline(context)


with DAG(
    dag_id="nightly_retrain",
    description="From input files to a judged and exported query generator.",
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    max_active_runs=1,
    deadline=deadline(deadline_missed),
    params=PARAMS,
    **COMMON,
) as dag:
    tasks = add_steps(RUN_URI, CONF)
    add_reviews({"run": RUN_URI}, after=tasks["register"])
