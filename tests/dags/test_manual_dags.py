"""`new_domain` and `promotion_review`: the same steps and reviews as a night, light to parse, params with schemas."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from graphs import REVIEWS

from components.registry import REGISTRY

pytest.importorskip("airflow", reason="needs the extra `airflow`")

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "faiss", "mlflow", "onnx", "onnxruntime", "pandas", "pyarrow", "numpy", "fsspec", "yaml")
LOOK = """
import json, runpy, sys, time
import airflow.sdk
from airflow.providers.standard.operators.hitl import ApprovalOperator
before = set(sys.modules)
start = time.process_time()
file = runpy.run_path(sys.argv[1])
seconds = time.process_time() - start
brought = sorted({name.split(".")[0] for name in set(sys.modules) - before})
dag = file["dag"]
given = json.loads(sys.argv[2])
params = given | {name: dag.params[name] for name in dag.params if name not in given and "CONF" in file}
conf = dag.get_template_env().from_string(file["CONF"]).render(params=params) if "CONF" in file else None
print(json.dumps({"tasks": {task.task_id: sorted(task.upstream_task_ids) for task in dag.tasks}, "seconds": seconds,
                  "brought": brought, "conf": conf, "inlets": [task.inlets for task in dag.tasks]}))
"""


def look(dag: str, home: Path, **params) -> dict:
    environment = {**os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "MODIT_RUNS": "/r"}
    command = [sys.executable, "-c", LOOK, f"dags/{dag}.py", json.dumps(params)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("dag", ["new_domain", "promotion_review"])
def test_parsing_brings_in_nothing_heavy_and_takes_less_than_a_second(dag, tmp_path):
    found = look(dag, tmp_path, domain="new", start_from="a", label_budget=1)
    assert found["seconds"] < 1.0 and set(found["brought"]) & set(HEAVY) == set()
    assert found["inlets"] == [[]] * len(found["tasks"])


def test_a_new_domain_is_planned_first_then_come_all_steps_and_reviews(tmp_path):
    tasks = look("new_domain", tmp_path, domain="new", start_from="a", label_budget=1)["tasks"]
    assert set(tasks) == {"plan"} | set(REGISTRY.by_name) | REVIEWS
    assert tasks["plan"] == [] and [name for name, before in tasks.items() if "plan" in before] == ["validate_logs"]
    assert [name for name, before in tasks.items() if not before] == ["plan"]


def test_what_is_not_given_of_a_new_domain_is_left_to_the_run_that_it_starts_from(tmp_path):
    new = {"name": "new", "scorer": "our.module:score", "run": "/r/a"}
    given = {"domain": "new", "start_from": "a", "scorer": "our.module:score", "label_budget": 1}
    assert json.loads(look("new_domain", tmp_path, **given)["conf"]) == {"domains": ["new"], "new_domain": new}
    more = json.loads(look("new_domain", tmp_path, **given, seed=0, overrides={})["conf"])
    assert more == {"domains": ["new"], "new_domain": new, "seed": 0, "overrides": {}}


def test_a_review_by_hand_is_nothing_but_a_review(tmp_path):
    assert set(look("promotion_review", tmp_path)["tasks"]) == REVIEWS
