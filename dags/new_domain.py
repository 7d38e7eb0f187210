"""Adds an attribute domain to a run: a plan within a budget, labels, training from the shared checkpoint, a review."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param

# Airflow puts the folder of DAGs on the path, not the repository.
if (REPOSITORY := str(Path(__file__).resolve().parent.parent)) not in sys.path:
    sys.path.append(REPOSITORY)

from dags.fields import COMMON, RUN, RUN_NAME, RUN_ROOT, RUN_URI, deadline  # noqa: E402
from dags.notices import send_missed_deadline  # noqa: E402
from dags.review import add_reviews, command_task  # noqa: E402
from dags.steps import REGISTRY, add_steps  # noqa: E402
from modit.core.names import DOMAIN_NAME, PRESETS, SCORER  # noqa: E402

PARAMS = {
    "domain": Param(
        type="string",
        pattern=f"^{DOMAIN_NAME.pattern}$",
        description="Name of the new domain, as in `attr_<domain>`.",
    ),
    "start_from": Param(
        type="string",
        pattern=RUN_NAME,
        description="The run below run_root whose catalogue, index and shared checkpoint it takes.",
    ),
    "label_budget": Param(
        type="integer",
        minimum=1,
        description="Most verdicts of the scorer: a function is asked about no more items, a larger file is refused.",
    ),
    "scorer": Param(
        "",
        type="string",
        pattern=SCORER,
        description="A boolean column of `items`, `package.module:function`, or the address of a file (CSV, Parquet, "
        "JSON lines) of `item_id` and `verdict`; empty: the column `attr_<domain>`.",
    ),
    "catalogue": Param(
        None,
        type=["null", "string"],
        minLength=1,
        description="Where a column is read; empty: the catalogue of the run that it starts from.",
    ),
    "seed": Param(
        None,
        type=["null", "integer"],
        minimum=0,
        maximum=2**31 - 1,
        description="Same seed, same bytes; empty: that of the run that it starts from.",
    ),
    "preset": Param(
        None,
        type=["null", "string"],
        enum=[None, *PRESETS],
        description="Size preset; empty: that of the run that it starts from.",
    ),
    "overrides": Param(
        None,
        type=["null", "object"],
        description="Over the preset; empty: those of the run that it starts from.",
    ),
    "run_root": RUN_ROOT,
    "run": RUN,
}
# What is not given is that of the run that it starts from.
CONF = (
    "{{ dict({'domains': [params.domain], 'catalogue': params.catalogue, 'seed': params.seed,"
    " 'preset': params.preset, 'overrides': params.overrides, 'new_domain': {'name': params.domain,"
    " 'scorer': params.scorer, 'run': params.run_root ~ '/' ~ params.start_from,"
    " 'label_budget': params.label_budget}}.items()"
    " | rejectattr(1, 'none')) | tojson }}"
)


def deadline_missed(context: Mapping[str, Any]) -> None:
    """Tells of a run that did not end in time."""
    send_missed_deadline(context)


with DAG(
    dag_id="new_domain",
    description="Adds an attribute domain to a run, from its shared checkpoint.",
    schedule=None,
    max_active_runs=1,
    deadline=deadline(deadline_missed),
    params=PARAMS,
    **COMMON,
) as dag:
    order = {"command": "plan-domain", "options": {"conf": CONF}}
    plan = command_task("plan", order, returns=True, needs=frozenset())
    tasks = add_steps(REGISTRY.of("retrain"), RUN_URI, CONF)
    plan >> tasks["validate_logs"]
    add_reviews({"run": RUN_URI}, after=tasks["register"])
