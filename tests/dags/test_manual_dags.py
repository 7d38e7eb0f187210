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
from modit.core.names import REGISTRATIONS

RETRAIN = REGISTRY.of("retrain")

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
                  "brought": brought, "conf": conf, "inlets": [task.inlets for task in dag.tasks],
                  "deadlines": [each.interval.total_seconds() / 3600 for each in dag.deadline or []]}))
"""
# All DAGs, as Airflow's DAG processor finds them: who hears of a task that fails, and how long it took.
ALL = """
import json, runpy, sys, time
import airflow.sdk
start = time.process_time()
files = [runpy.run_path(f"dags/{name}.py").values() for name in json.loads(sys.argv[1])]
dags = {each.dag_id: each for values in files for each in values if isinstance(each, airflow.sdk.DAG)}.values()
seconds = time.process_time() - start
told = {f"{dag.dag_id}.{task.task_id}": [type(each).__name__ for each in task.on_failure_callback]
        for dag in dags for task in dag.tasks}
print(json.dumps({"seconds": seconds, "told": told}))
"""
# What a review by hand orders when it is approved, and when it is rejected.
ORDERS = """
import json, runpy, sys
file = runpy.run_path("dags/promotion_review.py")
asked = file["dag"].get_task("release.review")
rendered = {action: [file["dag"].get_template_env().from_string(text).render(params={"action": action})
                     for text in (asked.action, asked.otherwise)] for action in file["ACTIONS"]}
print(json.dumps(rendered))
"""


def said_by(code: str, home: Path, *arguments: str, **settings: str) -> dict:
    environment = {**os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "MODIT_RUNS": "/r"}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment | settings, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def look(dag: str, home: Path, **params) -> dict:
    return said_by(LOOK, home, f"dags/{dag}.py", json.dumps(params))


# Kubernetes' provider takes 0.7 s to import.
@pytest.mark.parametrize(("executor", "seconds"), [("process", 1.0), ("docker", 1.0), ("kubernetes", 2.0)])
def test_all_dags_parse_fast_on_every_executor_and_tell_of_every_task_that_fails(executor, seconds, tmp_path):
    if executor != "process":
        provider = {"docker": "docker", "kubernetes": "cncf.kubernetes"}[executor]
        pytest.importorskip(f"airflow.providers.{provider}", reason="needs the extra `containers`")
    dags = json.dumps(["pipeline_dags", "new_domain", "promotion_review"])
    found = said_by(ALL, tmp_path, dags, MODIT_EXECUTOR=executor)
    assert found["seconds"] < seconds
    assert {name for name, told in found["told"].items() if told != ["FailureNotice"]} == set()
    with_reviews = 2 * (len(RETRAIN.steps) + len(REVIEWS) + 1) + 1 + len(REVIEWS)
    others = [REGISTRY.of(each.name) for each in REGISTRY.pipelines if each.name != "retrain"]
    reviews = sum(len(REVIEWS) for registry in others if set(REGISTRATIONS) & set(registry.pipelines[0].ends))
    assert len(found["told"]) == with_reviews + sum(len(registry.steps) + 1 for registry in others) + reviews


@pytest.mark.parametrize("dag", ["new_domain", "promotion_review"])
def test_parsing_brings_in_nothing_heavy_and_takes_less_than_a_second(dag, tmp_path):
    found = look(dag, tmp_path, domain="new", start_from="a", label_budget=1)
    assert found["seconds"] < 1.0 and set(found["brought"]) & set(HEAVY) == set()
    assert found["inlets"] == [[]] * len(found["tasks"])


def test_a_new_domain_is_planned_first_then_come_all_steps_and_reviews(tmp_path):
    tasks = look("new_domain", tmp_path, domain="new", start_from="a", label_budget=1)["tasks"]
    assert set(tasks) == {"plan", "all_domains"} | set(RETRAIN.by_name) | REVIEWS
    assert tasks["plan"] == [] and [name for name, before in tasks.items() if "plan" in before] == ["validate_logs"]
    assert [name for name, before in tasks.items() if not before] == ["plan"]


@pytest.mark.parametrize(("hours", "deadlines"), [("3", [3]), ("0", [])])
def test_a_new_domain_has_the_deadline_of_a_night(tmp_path, monkeypatch, hours, deadlines):
    monkeypatch.setenv("MODIT_DEADLINE_HOURS", hours)
    assert look("new_domain", tmp_path, domain="new", start_from="a", label_budget=1)["deadlines"] == deadlines


def test_what_is_not_given_of_a_new_domain_is_left_to_the_run_that_it_starts_from(tmp_path):
    new = {"name": "new", "scorer": "our.module:score", "run": "/r/a", "label_budget": 1}
    given = {"domain": "new", "start_from": "a", "scorer": "our.module:score", "label_budget": 1}
    assert json.loads(look("new_domain", tmp_path, **given)["conf"]) == {"domains": ["new"], "new_domain": new}
    more = json.loads(look("new_domain", tmp_path, **given, seed=0, overrides={})["conf"])
    assert more == {"domains": ["new"], "new_domain": new, "seed": 0, "overrides": {}}


def test_a_review_by_hand_orders_what_was_chosen(tmp_path):
    assert said_by(ORDERS, tmp_path) == {
        "review": ["approve", "reject"],
        "promote": ["approve", ""],
        "override": ["override", ""],
        "reject": ["reject", ""],
        "roll back": ["rollback", ""],
    }


def test_a_review_by_hand_is_nothing_but_a_review(tmp_path):
    assert set(look("promotion_review", tmp_path)["tasks"]) == REVIEWS
