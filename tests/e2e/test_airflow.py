"""The whole job by `make run`'s launcher."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dags.launch import main
from modit.data.catalog import Catalog
from modit.metric.cases import Cases
from modit.release.model_registry.mlflow_registry import MlflowRegistry
from modit.release.model_registry.registry_access import local_registry
from tests.e2e.service import serving
from tests.worlds import small_world

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return small_world(tmp_path_factory.mktemp("demo") / "world")


def test_the_launcher_runs_the_job_shows_the_verdict_a_rerun_is_cached_and_what_it_made_is_served(
    world, tmp_path, capfd
):
    arguments = ["--catalog", str(world), "--preset", "tiny", "--runs", str(tmp_path)]
    assert main(arguments) == 0
    first = capfd.readouterr().out
    assert "verdict: " in first and "report:  " in first
    assert main(arguments) == 0
    again = capfd.readouterr().out
    said, _, verdict = again.partition("\n\n")
    tasks = max(int(whole) for whole in re.findall(r"^ *\d+/(\d+)  \w", first, re.MULTILINE))
    assert said.splitlines()[-1] == f"all {tasks} tasks are cached: nothing to run"
    assert verdict == first.partition("\n\n")[2] and len(verdict.partition("\n\n")[0].splitlines()) <= 25
    assert_served(next(tmp_path.glob("*/run.json")).parent, tmp_path / "serve.log")


def assert_served(run: Path, log: Path) -> None:
    """A service answers from each version of the run, by seeds of the run's own cases."""
    registry = MlflowRegistry(local_registry(str(run)))
    registrations = json.loads((run / "registration" / "registration.json").read_text())
    registered = {domain: entry for domain, entry in registrations.items() if entry["status"] != "skipped"}
    assert registered
    for entry in registered.values():
        registry.client.set_registered_model_alias(entry["model"], "trial", str(entry["version"]))
    item_ids = Catalog.load(run / "catalog").item_ids
    with serving(log, "--registry", local_registry(str(run)), "--alias", "trial") as service:
        assert set(service.wait_for("/readyz")["releases"]) == set(registered)
        for domain, entry in registered.items():
            case = Cases.load(run / "cases" / domain / "item_holdout.npz").seeds[0]
            seeds = item_ids[case[case >= 0]].tolist()
            status, answer = service.call("/v1/retrieve", {"domain": domain, "seeds": {"item_ids": seeds}, "k": 7})
            assert status == 200 and len(answer["items"]) == 7, answer
            assert (answer["version"], answer["index_digest"]) == (entry["version"], entry["digests"]["index"])
            assert not {item["item_id"] for item in answer["items"]} & set(seeds)


def test_the_launcher_fails_loudly_when_a_task_fails(tmp_path, capfd):
    (tmp_path / "empty").mkdir()
    assert main(["--catalog", str(tmp_path / "empty"), "--preset", "tiny", "--runs", str(tmp_path / "runs")]) != 0
    shown = capfd.readouterr()
    assert shown.err.count("holds no file") == 1 and "Traceback" not in shown.out + shown.err
    assert "validate_logs" in shown.out and "refused" in shown.out and "verdict:" not in shown.out
    assert "run the same command again" in shown.err
