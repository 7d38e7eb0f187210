"""The DAG is a view on the declarations: same steps, same edges, light to parse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from graphs import AFTER_STEPS

from components.registry import REGISTRY
from modit.core.names import PRESETS

RETRAIN = REGISTRY.of("retrain")

pytest.importorskip("airflow", reason="needs the extra `airflow`")

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "faiss", "mlflow", "onnx", "onnxruntime", "pandas", "pyarrow", "numpy", "pydantic", "fsspec", "yaml")

# Run in a fresh interpreter: what the DAG file brings in, beyond what airflow alone did, and how long it takes.
PARSE = """
import json, runpy, sys, time, types
from datetime import datetime
import airflow.sdk
from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.providers.standard.operators.hitl import ApprovalOperator
before = set(sys.modules)
start = time.process_time()
dag = runpy.run_path("dags/pipeline_dags.py")["nightly_retrain"]
seconds = time.process_time() - start
brought = sorted({name.split(".")[0] for name in set(sys.modules) - before})
tasks = {
    task.task_id: {
        "upstream": sorted(task.upstream_task_ids), "mapped": task.is_mapped, "group": task.task_group.group_id,
        "retries": task.retries, "inlets": task.inlets,
    }
    for task in dag.tasks
}
def conf_of(run_type, **fields):
    text = runpy.run_path("dags/pipeline_dags.py")["CONF"]
    given = {name: dag.params[name] for name in dag.params} | fields
    names = {"params": given, "dag_run": types.SimpleNamespace(run_type=run_type)}
    return json.loads(dag.get_template_env().from_string(text).render(**names, data_interval_end=datetime(2026, 3, 2)))
confs = {"scheduled": conf_of("scheduled"), "backfill": conf_of("backfill"), "manual": conf_of("manual"),
         "named": conf_of("manual", window={"end": "2026-02-01"})}
params = {}
for name, value in json.loads(sys.argv[1]):
    try:
        dag.params.get_param(name).resolve(value)
        verdict = "taken"
    except Exception as error:
        verdict = type(error).__name__
    params[name + "=" + json.dumps(value)] = verdict
print(json.dumps({"confs": confs, "seconds": seconds, "brought": brought, "tasks": tasks, "params": params,
                  "max_active_runs": dag.max_active_runs, "catchup": dag.catchup}))
"""
AXES = """
import json, runpy
dag = runpy.run_path("dags/pipeline_dags.py")["nightly_retrain"]
mapped = {task.task_id: task.expand_input.value for task in dag.tasks if task.is_mapped}
print(json.dumps({name: {axis: value if isinstance(value, list) else None for axis, value in axes.items()}
                  for name, axes in mapped.items()}))
"""
REFUSED = [("catalogue", ""), ("domains", "one"), ("domains", []), ("seed", -1), ("seed", "x"), ("preset", "huge")]
REFUSED += [("run", "../up"), ("overrides", []), ("window", {"start": "2026-01-01"}), ("window", {"end": "yesterday"})]
REFUSED += [("window", {"end": "2026-01-01", "days": 3}), ("window", "2026-01-01")]
TAKEN = [
    ("catalogue", "s3://bucket/x"),
    ("domains", "all"),
    ("domains", ["a"]),
    ("seed", 7),
    ("run", None),
    ("run", "a-1"),
    ("window", None),
    ("window", {"end": "2026-01-01"}),
    ("window", {"start": "2025-12-01", "end": "2026-01-01"}),
]
TAKEN += [("preset", preset) for preset in PRESETS]


@pytest.fixture(scope="module")
def parsed(tmp_path_factory):
    home = tmp_path_factory.mktemp("airflow")
    environment = {**os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    for variable in ("MODIT_RETRIES_MAX", "MODIT_SHARDS"):
        environment.pop(variable, None)
    result = subprocess.run(
        [sys.executable, "-c", PARSE, json.dumps(REFUSED + TAKEN)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_there_is_one_task_for_each_step_and_after_the_last_come_reviews(parsed):
    assert set(parsed["tasks"]) == {step.name for step in RETRAIN.steps} | AFTER_STEPS
    assert parsed["tasks"]["prepare_reviews"]["upstream"] == [RETRAIN.steps[-1].name]


def test_the_edges_are_those_of_the_declarations(parsed):
    steps = {name: task for name, task in parsed["tasks"].items() if name not in AFTER_STEPS}
    edges = {(earlier, name) for name, task in steps.items() for earlier in task["upstream"]}
    # Mapping over the eligible domains makes the task that decides them a direct predecessor.
    mapping = {(RETRAIN.domain_step.name, step.name) for step in RETRAIN.steps if step.per_domain}
    assert RETRAIN.edges <= edges
    assert edges - RETRAIN.edges <= mapping


def test_exactly_the_per_domain_steps_are_mapped(parsed):
    mapped = {name for name, task in parsed["tasks"].items() if task["mapped"]}
    assert mapped == {step.name for step in RETRAIN.steps if step.per_domain}


def test_no_task_has_inlets(parsed):
    """A mapped operator whose class leaves `__init__` to Airflow's has None there, and fails when it runs."""
    assert [task["inlets"] for task in parsed["tasks"].values()] == [[]] * len(parsed["tasks"])


def test_sharded_steps_are_mapped_over_domains_and_shards(tmp_path):
    settings = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "MODIT_SHARDS": "3"}
    command = [sys.executable, "-c", AXES]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True, check=True)
    axes = json.loads(done.stdout.splitlines()[-1])
    assert axes["label_anchors"]["shard"] == axes["publish_features"]["shard"] == ["1/3", "2/3", "3/3"]
    for step in RETRAIN.steps:
        expected = {"domain"} if step.per_domain else set()
        assert set(axes.get(step.name, {})) == expected | ({"shard"} if step.sharded else set())


def test_hppo_rounds_are_a_chain_in_a_group_of_their_own(parsed):
    rounds = sorted(name for name, task in parsed["tasks"].items() if task["group"] == "hppo")
    assert rounds == sorted(step.name for step in RETRAIN.steps if step.group == "hppo")
    for earlier, later in zip(rounds, rounds[1:], strict=False):
        assert earlier in parsed["tasks"][later]["upstream"]


def test_parsing_brings_in_nothing_heavy(parsed):
    assert set(parsed["brought"]) & set(HEAVY) == set()
    assert "modit" in parsed["brought"]


def test_parsing_takes_less_than_a_second(parsed):
    assert parsed["seconds"] < 1.0


def test_one_run_at_a_time_and_no_catching_up(parsed):
    assert parsed["max_active_runs"] == 1 and parsed["catchup"] is False


def test_a_night_reads_the_window_that_ends_with_its_data_interval(parsed):
    assert parsed["confs"]["scheduled"]["window"] == {"end": "2026-03-02"}
    assert parsed["confs"]["backfill"]["window"] == {"end": "2026-03-02"}


def test_a_manual_run_reads_the_window_that_it_names_or_everything(parsed):
    assert parsed["confs"]["named"]["window"] == {"end": "2026-02-01"}
    assert parsed["confs"]["manual"]["window"] is None


def test_only_a_backfill_may_not_promote(parsed):
    assert {name: conf["promote"] for name, conf in parsed["confs"].items()} == {
        "scheduled": True,
        "backfill": False,
        "manual": True,
        "named": True,
    }


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_a_conf_outside_the_schema_is_refused(parsed, name, value):
    assert parsed["params"][f"{name}={json.dumps(value)}"] == "ParamValidationError"


@pytest.mark.parametrize(("name", "value"), TAKEN)
def test_a_conf_inside_the_schema_is_taken(parsed, name, value):
    assert parsed["params"][f"{name}={json.dumps(value)}"] == "taken"
