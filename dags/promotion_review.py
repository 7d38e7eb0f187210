"""A review by hand: shows any registered version, and promotes it, rejects it or rolls back to it."""

from __future__ import annotations

import sys
from pathlib import Path

from airflow.sdk import DAG, Param

# Airflow puts the folder of DAGs on the path, not the repository.
if (REPOSITORY := str(Path(__file__).resolve().parent.parent)) not in sys.path:
    sys.path.append(REPOSITORY)

from dags.fields import COMMON, RUN_ROOT  # noqa: E402
from dags.review import add_reviews  # noqa: E402
from modit.core.names import DOMAIN_NAME  # noqa: E402

# What a person wants -> the command that an approval orders.
ACTIONS = {
    "review": "approve",
    "promote": "approve",
    "override": "override",
    "reject": "reject",
    "roll back": "rollback",
}
PARAMS = {
    "version": Param(
        type="string",
        pattern=f"^modit-{DOMAIN_NAME.pattern}/[1-9][0-9]*$",
        description="The model version, such as modit-popular/3.",
    ),
    "action": Param(
        "review",
        type="string",
        enum=list(ACTIONS),
        description="What an approval leads to. review: approve promotes, reject rejects; the others: reject leaves "
        "all as it is.",
    ),
    "reason": Param("", type="string", description="In words, for the release log; not needed to review or promote."),
    "run_root": RUN_ROOT,
}

ACTION = f"{{{{ {ACTIONS}[params.action] }}}}"
OTHERWISE = "{{ 'reject' if params.action == 'review' else '' }}"

with DAG(
    dag_id="promotion_review",
    description="Shows a model version to a person, who promotes it, rejects it or rolls back to it.",
    schedule=None,
    params=PARAMS,
    **COMMON,
) as dag:
    # Any run below the root will do: the registry is beside them.
    options = {"of": "{{ params.version }}", "run": "{{ params.run_root }}/any"}
    add_reviews(options, action=ACTION, otherwise=OTHERWISE, reason="{{ params.reason }}", asks_always=True)
