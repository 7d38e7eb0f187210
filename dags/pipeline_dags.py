"""A DAG for each pipeline: a task per step, then a review of each model version that passed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, CronDataIntervalTimetable, Param

# Airflow puts the folder of DAGs on the path, not the repository.
if (REPOSITORY := str(Path(__file__).resolve().parent.parent)) not in sys.path:
    sys.path.append(REPOSITORY)

from dags.fields import (  # noqa: E402
    CATALOGUE,
    COMMON,
    OVERRIDES,
    PRESET,
    RUN,
    RUN_ROOT,
    RUN_URI,
    SEED,
    WINDOW,
    deadline,
)
from dags.notices import send_missed_deadline  # noqa: E402
from dags.review import add_reviews  # noqa: E402
from dags.steps import REGISTRY, add_steps  # noqa: E402
from modit.core.names import DOMAIN_NAME, REGISTRATIONS  # noqa: E402

# A scheduled run reads the window that ends with its data interval; a manual run reads the window that it names, or
# everything.
NIGHT = "params.window or ({'end': data_interval_end | ds} if dag_run.run_type in ('scheduled', 'backfill') else none)"
CONF = (
    "{{ {'catalogue': params.catalogue, 'domains': params.domains, 'seed': params.seed, 'preset': params.preset,"
    f" 'overrides': params.overrides, 'window': {NIGHT}, 'pipeline': 'PIPELINE',"
    " 'promote': dag_run.run_type != 'backfill'} | tojson }}"
)

DOMAIN = {"type": "string", "pattern": f"^{DOMAIN_NAME.pattern}$"}
PARAMS = {
    "catalogue": CATALOGUE,
    "domains": Param(
        "all",
        anyOf=[{"const": "all"}, {"type": "array", "minItems": 1, "uniqueItems": True, "items": DOMAIN}],
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


for pipeline in REGISTRY.pipelines:
    registry = REGISTRY.of(pipeline.name)
    with DAG(
        dag_id=pipeline.job,
        description=pipeline.description,
        schedule=CronDataIntervalTimetable("@daily", timezone="UTC") if pipeline.nightly else None,
        max_active_runs=1,
        deadline=deadline(deadline_missed),
        params=PARAMS,
        **COMMON,
    ) as dag:
        tasks = add_steps(registry, RUN_URI, CONF.replace("PIPELINE", pipeline.name))
        for name in set(REGISTRATIONS) & set(pipeline.ends):
            add_reviews({"run": RUN_URI}, after=tasks[registry.writer[name].name])
    globals()[pipeline.job] = dag
