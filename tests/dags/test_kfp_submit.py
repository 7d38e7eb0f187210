"""`modit kfp submit` against an HTTP server that speaks the part of Kubeflow Pipelines' API that is used."""

from __future__ import annotations

import importlib.util
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from components.registry import REGISTRY
from modit.cli import main
from modit.core.registry import Registry

RETRAIN = REGISTRY.of("retrain")

pytest.importorskip("kfp", reason="needs the extra `kfp`")

from pipelines.kfp_platform import Platform  # noqa: E402
from pipelines.kfp_view import compiled, kfp_pipeline  # noqa: E402

API = "/apis/v2beta1"
ANSWERS = {
    ("GET", f"{API}/healthz"): (200, {"multi_user": False}),
    ("GET", f"{API}/experiments"): (200, {}),
    ("POST", f"{API}/experiments"): (200, {"experiment_id": "e1", "display_name": "modit"}),
    ("POST", f"{API}/runs"): (200, {"run_id": "r1"}),
    ("POST", f"{API}/recurringruns"): (200, {"recurring_run_id": "s1"}),
}


class KfpServer(ThreadingHTTPServer):
    """Answers as told, and keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = dict(ANSWERS)
        self.received: list[tuple[str, str, dict, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def sent(self, path: str) -> dict:
        return next(body for method, found, body, _ in self.received if (method, found) == ("POST", API + path))


class Handler(BaseHTTPRequestHandler):
    server: KfpServer

    def answer(self) -> None:
        path = self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.received.append((self.command, path, json.loads(body or b"{}"), self.headers.get("Authorization")))
        status, content = self.server.answers.get((self.command, path), (404, {"message": "no such page"}))
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(content if isinstance(content, bytes) else json.dumps(content).encode())

    do_GET = do_POST = answer

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def server():
    with KfpServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch, tmp_path):
    for name in ("KF_PIPELINES_ENDPOINT", "MODIT_KFP_TOKEN", "MODIT_IMAGES", "MODIT_SHARDS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("kfp.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))


COMPILED: dict[str, str] = {}


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch):
    """Compiling takes many seconds, and the same pipeline for the same platform is the same file."""

    def pipeline(registry: Registry, platform: Platform) -> str:
        key = f"{registry.pipeline().name} {platform}"
        if key not in COMPILED:
            COMPILED[key] = compiled(kfp_pipeline(registry, platform))
        return key

    monkeypatch.setattr("pipelines.kfp_submit.kfp_pipeline", pipeline)
    monkeypatch.setattr("pipelines.kfp_submit.compiled", COMPILED.__getitem__)


PLACES = ("--env", "MLFLOW_TRACKING_URI=http://mlflow:5000", "--env", "MODIT_FEATURES=/data/features")


def submit(
    *options: str, catalogue: str = "s3://bucket/world", run_root: str = "s3://bucket/runs", places=PLACES
) -> int:
    return main(["kfp", "submit", "--catalogue", catalogue, "--run-root", run_root, *places, *options])


def refused(capsys, *options: str, **addresses) -> str:
    assert submit(*options, **addresses) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    return shown.err


def test_a_run_is_started_with_the_compiled_pipeline_and_its_parameters(server, capsys):
    options = ("--preset", "tiny", "--run", "one", "--domains", "b,a", "--overrides", '{"pretrain.steps": 5}')
    assert submit("--host", server.url, "--image", "here/{image}:1", *options) == 0
    assert f"run r1: {server.url}/#/runs/details/r1" in capsys.readouterr().out
    body = server.sent("/runs")
    assert body["experiment_id"] == "e1" and body["display_name"] == "modit-retrain one"
    assert body["runtime_config"]["parameters"] == {
        "catalogue": "s3://bucket/world",
        "run_root": "s3://bucket/runs",
        "run": "one",
        "domains": "b,a",
        "seed": 0,
        "preset": "tiny",
        "overrides": {"pretrain.steps": 5},
        "window": "",
    }
    executors = body["pipeline_spec"]["deploymentSpec"]["executors"]
    assert len(executors) == len(RETRAIN.steps)
    assert {each["container"]["image"] for each in executors.values()} == {
        f"here/{step.image}:1" for step in RETRAIN.steps
    }


def test_secrets_are_sent_as_the_platforms_part_of_the_pipeline(server):
    assert submit("--host", server.url, "--secrets", "modit-{service}") == 0
    sent = server.sent("/runs")["pipeline_spec"]
    assert len(sent["pipeline_spec"]["deploymentSpec"]["executors"]) == len(RETRAIN.steps)
    executors = sent["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    names = {each["secretName"] for each in executors["exec-register"]["secretAsEnv"]}
    assert names == {"modit-artifact-store", "modit-registry"}


def test_a_run_without_a_name_gets_one_of_its_own(server):
    assert submit("--host", server.url) == 0
    assert server.sent("/runs")["runtime_config"]["parameters"]["run"].startswith("manual-2")


def test_a_schedule_makes_a_recurring_run_that_reads_the_window_of_its_day(server, capsys):
    assert submit("--host", f"{server.url}/", "--schedule", "30 2 * * *") == 0
    assert f"recurring run s1: {server.url}/#/recurringrun/details/s1" in capsys.readouterr().out
    body = server.sent("/recurringruns")
    assert body["trigger"] == {"cron_schedule": {"cron": "0 30 2 * * *"}}
    assert (body["max_concurrency"], body["no_catchup"], body["mode"]) == (1, True, "ENABLE")
    parameters = body["runtime_config"]["parameters"]
    assert parameters["window"] == ":[[ScheduledTime.2006-01-02]]"
    assert parameters["run"] == "nightly-[[ScheduledTime]]"


def test_a_schedule_may_read_everything(server):
    assert submit("--host", server.url, "--schedule", "0 30 2 * * *", "--window", "") == 0
    body = server.sent("/recurringruns")
    assert body["trigger"] == {"cron_schedule": {"cron": "0 30 2 * * *"}}
    assert body["runtime_config"]["parameters"]["window"] == ""


def test_an_experiment_that_exists_is_used_and_the_host_may_come_from_the_environment(server, monkeypatch):
    server.answers["GET", f"{API}/experiments"] = (200, {"experiments": [{"experiment_id": "e7"}]})
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", server.url)
    assert submit("--namespace", "team") == 0
    assert server.sent("/runs")["experiment_id"] == "e7"


def test_a_token_of_the_environment_goes_with_every_request(server, monkeypatch):
    monkeypatch.setenv("MODIT_KFP_TOKEN", "t0")
    assert submit("--host", server.url) == 0
    assert {token for *_, token in server.received} == {"Bearer t0"}


def test_without_a_host_it_says_how_to_get_one(capsys):
    assert "Give --host, or set KF_PIPELINES_ENDPOINT" in refused(capsys)


def test_without_kfp_it_names_the_extra(capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "kfp" else find(name))
    assert "kfp is not installed: pip install -c constraints.txt -e '.[kfp]'" in refused(capsys)


def test_where_nothing_listens_it_says_so(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{taken.getsockname()[1]}"
    assert f"{host} cannot be reached: " in refused(capsys, "--host", host)


def test_a_host_that_has_no_name_is_said_to(capsys):
    assert "cannot be reached: " in refused(capsys, "--host", "http://kubeflow.invalid:8888")


def test_a_server_of_something_else_is_told_by_its_answer(server, capsys):
    server.answers["GET", f"{API}/healthz"] = (200, b"<html>welcome</html>")
    assert "not as Kubeflow Pipelines does" in refused(capsys, "--host", server.url)
    server.answers["GET", f"{API}/healthz"] = (404, b"<html>nothing here</html>")
    assert "answers 404 Not Found: <html>nothing here</html>" in refused(capsys, "--host", server.url)


def test_a_server_that_wants_to_know_who_asks_is_quoted(server, capsys):
    server.answers["GET", f"{API}/healthz"] = (401, {"message": "log in first"})
    assert "answers 401 Unauthorized: log in first" in refused(capsys, "--host", server.url)


@pytest.mark.parametrize(("path", "options"), [("/runs", ()), ("/recurringruns", ("--schedule", "0 2 * * *"))])
def test_what_the_server_refuses_is_said_in_its_words(server, capsys, path, options):
    message = "Failed to create a run: namespace is empty"
    server.answers["POST", API + path] = (400, {"error": message, "code": 3, "message": message})
    assert f"{server.url} refuses: 400 Bad Request: {message}" in refused(capsys, "--host", server.url, *options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--schedule", "daily"), "--schedule 'daily' has 1 fields; allowed: five, or six"),
        (("--window", "yesterday:today"), "field window.start: 'yesterday'"),
        (("--run", "../up"), "--run '../up'; allowed: a name"),
        (("--seed", "-1"), "field seed: -1"),
        (("--overrides", "[]"), "--overrides '[]'; allowed: a JSON object"),
        (("--overrides", "{"), "--overrides '{' is not JSON"),
        (("--image", "other=x:1"), "no step has an image of this kind"),
        (("--env", "NAME"), "--env 'NAME'; allowed: NAME=VALUE"),
        (("--host", "localhost:8888"), "--host 'localhost:8888'; allowed: an address"),
    ],
)
def test_an_option_that_is_not_allowed_is_named_and_nothing_is_sent(server, capsys, options, said):
    assert said in refused(capsys, "--host", server.url, *options)
    assert server.received == []


@pytest.mark.parametrize(("given", "missing"), [(PLACES[:2], "MODIT_FEATURES"), (PLACES[2:], "MLFLOW_TRACKING_URI")])
def test_tasks_of_a_remote_run_must_be_told_where_registry_and_features_are(server, capsys, given, missing):
    said = refused(capsys, "--host", server.url, places=given)
    assert f"--run-root s3://bucket/runs is no folder, so tasks must be told where these are: --env {missing}=" in said
    assert server.received == []
    assert submit("--host", server.url, catalogue="/data/world", run_root="/data/runs", places=()) == 0
    assert submit("--host", server.url, "--secrets", "modit-{service}", places=PLACES[2:]) == 0  # its key may be there


@pytest.mark.parametrize("name", ["catalogue", "run_root"])
def test_addresses_must_mean_the_same_in_every_container(server, capsys, name):
    assert f"--{name.replace('_', '-')} 'here/x'; allowed: an absolute path" in refused(
        capsys, "--host", server.url, **{name: "here/x"}
    )
    assert server.received == []
