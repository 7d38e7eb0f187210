"""The whole job under Airflow: `make run`'s launcher, and a standalone server that is asked over REST."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from dags.launch import airflow_environment, main
from modit.core.verdict import read_verdict, report_pages
from modit.data.catalog import Catalog
from modit.metric.cases import Cases
from modit.release.registry import MlflowRegistry, local_registry
from tests.e2e.service import serving
from tests.inbox import open_inbox
from tests.worlds import small_world

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
# Seconds; a loaded machine of two cores needs them.
START, JOB = 180, 1800


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return small_world(tmp_path_factory.mktemp("demo") / "world")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Server:
    """`airflow standalone` in a session and folder of its own."""

    def __init__(self, home: Path, runs: Path, more: dict[str, str]) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.home = home
        environment = {
            **airflow_environment(runs),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
            # It starts its parts as `airflow ...`.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
            **more,
        }
        self.log = (home / "standalone.log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "airflow", "standalone"],
            env=environment,
            cwd=ROOT,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.token: str | None = None

    def call(self, method: str, path: str, body: dict | None = None) -> tuple[int, dict]:
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=content, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"{}")

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START
        passwords = self.home / "simple_auth_manager_passwords.json.generated"
        while time.monotonic() < deadline:
            assert self.process.poll() is None, "airflow standalone ended; see standalone.log"
            try:
                if self.token is None and passwords.exists():
                    login = {"username": "admin", "password": json.loads(passwords.read_text())["admin"]}
                    self.token = self.call("POST", "/auth/token", login)[1].get("access_token")
                if self.token and self.call("GET", "/api/v2/dags/nightly_retrain")[0] == 200:
                    return
            except (OSError, ValueError):
                pass  # not listening yet
            time.sleep(2)
        raise TimeoutError(f"no answer within {START} s; see {self.log.name}")

    def stop(self) -> None:
        # SIGTERM would orphan the children.
        os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.log.close()


@pytest.fixture(scope="module")
def inbox():
    with open_inbox() as inbox:
        yield inbox


@pytest.fixture(scope="module")
def server(tmp_path_factory, inbox):
    # Nine seconds, which every run misses.
    more = {**inbox.environment, "MODIT_DEADLINE_HOURS": "0.0025"}
    server = Server(tmp_path_factory.mktemp("airflow"), tmp_path_factory.mktemp("runs"), more)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


@pytest.mark.parametrize("conf", [{"preset": "huge"}, {"seed": -1}, {"domains": "one"}, {"catalogue": ""}])
def test_a_conf_that_breaks_the_schema_is_answered_with_400(server, conf):
    status, answer = server.call("POST", "/api/v2/dags/nightly_retrain/dagRuns", {"logical_date": None, "conf": conf})
    assert status == 400, answer


def test_a_run_asked_for_over_rest_ends_with_a_verdict_and_a_report_and_a_missed_deadline_is_told_of(
    server, inbox, world, tmp_path
):
    conf = {"catalogue": str(world), "preset": "tiny", "seed": 1, "run_root": str(tmp_path), "run": "rest"}
    runs = "/api/v2/dags/nightly_retrain/dagRuns"
    assert server.call("PATCH", "/api/v2/dags/nightly_retrain", {"is_paused": False})[0] == 200
    status, answer = server.call("POST", runs, {"logical_date": None, "conf": conf})
    assert status == 200, answer
    deadline = time.monotonic() + JOB
    state = "queued"
    while state in ("queued", "running") and time.monotonic() < deadline:
        time.sleep(5)
        state = server.call("GET", f"{runs}/{answer['dag_run_id']}")[1]["state"]
    tasks = server.call("GET", f"{runs}/{answer['dag_run_id']}/taskInstances?limit=100")[1]["task_instances"]
    unfinished = {task["task_id"]: task["state"] for task in tasks if task["state"] != "success"}
    assert (state, unfinished) == ("success", {})
    assert read_verdict(str(tmp_path / "rest"))["status"] in ("PASS", "FAIL")
    assert Path(report_pages(str(tmp_path / "rest"))[0]).is_file()
    # Unpausing starts the last scheduled night, too, which has notices of its own.
    late = [each["message"] for each in inbox.notices if each["title"] == "nightly_retrain: deadline missed"]
    assert len([message for message in late if f"run {answer['dag_run_id']}," in message]) == 1


def test_the_launcher_runs_the_job_shows_the_verdict_a_rerun_is_cached_and_what_it_made_is_served(
    world, tmp_path, capfd
):
    arguments = ["--catalog", str(world), "--preset", "tiny", "--runs", str(tmp_path)]
    assert main(arguments) == 0
    first = capfd.readouterr().out
    assert "verdict: " in first and "report:  " in first
    assert main(arguments) == 0
    again = capfd.readouterr().out
    assert "runs because" not in again and "cached: nothing" in again
    table = "verdict  figures"  # the gate logs a table of its own when it runs
    assert again[again.index(table) :] == first[first.index(table) :]
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
    assert "holds no file" in shown.out
    assert "FAILED" in shown.err and "verdict:" not in shown.out
