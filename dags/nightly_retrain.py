"""The main job as an Airflow DAG, built from the steps' declarations: a task a step, mapped over eligible domains."""

from __future__ import annotations

import os
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, CronDataIntervalTimetable, DeadlineAlert, DeadlineReference, Param, SyncCallback, TaskGroup

REPOSITORY = Path(__file__).resolve().parent.parent
# Airflow puts the folder of DAGs on the path, not the repository; `modit` may be installed or lie in src.
for folder in (REPOSITORY, REPOSITORY / "src"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

from components.registry import REGISTRY  # noqa: E402
from dags.executors import operator_of  # noqa: E402
from dags.executors.settings import TIMEOUT_SCALE  # noqa: E402
from dags.executors.step_task import RETRY_POLICY  # noqa: E402
from dags.notices import FailureNotice, send_missed_deadline  # noqa: E402
from modit.core.step import PRESETS, Step  # noqa: E402

RUNS = os.environ.get("MODIT_RUNS", str(REPOSITORY / "runs"))
EXECUTOR = os.environ.get("MODIT_EXECUTOR", "process")
RETRIES_MAX = int(os.environ.get("MODIT_RETRIES_MAX", "5"))
# 0 for none, which `airflow dags test` needs: it ends a good run with an error where there is a deadline (3.3.2).
DEADLINE_HOURS = float(os.environ.get("MODIT_DEADLINE_HOURS", "12"))
# How many tasks share the items of a step that is sharded; for each domain, where it runs per domain.
SHARDS = int(os.environ.get("MODIT_SHARDS", "1"))
RUN_URI = "{{ params.run_root }}/{{ params.run or (run_id | replace(':', '-') | replace('+', '_')) }}"
# A night reads the window that ends with its data interval; a manual run reads the window that it names, or everything.
WINDOW = "params.window or ({'end': data_interval_end | ds} if dag_run.run_type in ('scheduled', 'backfill') else none)"
CONF = (
    "{{ {'catalogue': params.catalogue, 'domains': params.domains, 'seed': params.seed, 'preset': params.preset,"
    f" 'overrides': params.overrides, 'window': {WINDOW}, 'promote': dag_run.run_type != 'backfill'}} | tojson }}}}"
)
DAY = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"

PARAMS = {
    "catalogue": Param(
        os.environ.get("MODIT_CATALOGUE", f"{RUNS}/demo-world"),
        type="string",
        minLength=1,
        description="Folder in the input contract, a path on the worker.",
    ),
    "domains": Param(
        "all",
        anyOf=[
            {"const": "all"},
            {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"type": "string", "minLength": 1}},
        ],
        description="'all', or the names of the attribute domains to take.",
    ),
    "seed": Param(0, type="integer", minimum=0, maximum=2**31 - 1, description="Same seed, same bytes."),
    "preset": Param("small", type="string", enum=list(PRESETS), description="Size preset of params.yaml."),
    "run_root": Param(RUNS, type="string", minLength=1, description="Where runs live: a path or s3://bucket/prefix."),
    "run": Param(
        None,
        type=["null", "string"],
        pattern="^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="The run's folder below run_root; made of Airflow's run id when empty.",
    ),
    "window": Param(
        None,
        type=["null", "object"],
        properties={name: {"type": "string", "pattern": DAY} for name in ("start", "end")},
        required=["end"],
        additionalProperties=False,
        description='Days to read, {"start": "2026-01-01", "end": "2026-01-31"}, the end not included; empty: a night '
        "reads the window that ends with its data interval, a manual run reads everything.",
    ),
    "overrides": Param({}, type="object", description='Over the preset, such as {"pretrain.steps": 100}.'),
}


def deadline_missed(context: dict[str, Any]) -> None:
    """Tells of a run that did not end in time; here, because Airflow finds callbacks in the DAG's file on any path."""
    send_missed_deadline(context)


DEADLINE = DeadlineAlert(
    DeadlineReference.DAGRUN_QUEUED_AT, timedelta(hours=DEADLINE_HOURS), SyncCallback(deadline_missed)
)

with DAG(
    dag_id="nightly_retrain",
    description="From input files to a judged and exported query generator.",
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    deadline=DEADLINE if DEADLINE_HOURS else None,
    params=PARAMS,
    tags=["modit"],
) as dag:
    groups: dict[str, TaskGroup] = {}
    tasks = {}

    def add_task(step: Step) -> None:
        """Adds the task of a step; steps come in an order in which the one that decides the domains is first."""
        operator = operator_of(EXECUTOR, step)
        arguments = {
            "task_id": step.name,
            "step": step.name,
            "run_uri": RUN_URI,
            "conf": CONF,
            "retries": min(step.retries, RETRIES_MAX),
            "retry_delay": timedelta(seconds=30),
            "retry_policy": RETRY_POLICY,
            "execution_timeout": timedelta(minutes=step.timeout_minutes * TIMEOUT_SCALE),
            "on_failure_callback": FailureNotice(),
            "doc_md": f"reads {', '.join(step.inputs) or 'the catalogue'}; writes {', '.join(step.outputs)}",
            **operator.arguments_for(step),
        }
        axes = {"domain": tasks[REGISTRY.domain_step.name].output} if step.per_domain else {}
        if shards := step.shards(SHARDS):
            axes["shard"] = shards
        if axes:
            label = " ".join(f"{{{{ task.{axis} }}}}" for axis in axes)
            tasks[step.name] = operator.partial(map_index_template=label, **arguments).expand(**axes)
        else:
            tasks[step.name] = operator(**arguments)

    for step in REGISTRY.steps:
        if step.group is None:
            add_task(step)
            continue
        if step.group not in groups:
            groups[step.group] = TaskGroup(step.group, prefix_group_id=False)
        with groups[step.group]:
            add_task(step)

    for earlier, later in sorted(REGISTRY.edges):
        tasks[earlier] >> tasks[later]
