"""A toy pipeline: its catalogue, its params.yaml, and a runner for a run folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread

import boto3
import fsspec
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from modit.core.registry import Pipeline, Registry, discover
from modit.core.runner import StepRunner

BUCKET = "bucket"
CONDITION = b"<Condition>If-None-Match</Condition>"
CONFLICT = b"<Error><Code>ConditionalRequestConflict</Code><Message>another write goes on</Message></Error>"
PARAMS = "seed: 3\npretrain: {steps: 10}\npresets: {tiny: {}, small: {pretrain: {steps: 100}}}\n"
LOST = b"<Error><Code>InternalError</Code><Message>try again</Message></Error>"


@dataclass
class Store:
    """How the S3 server answers a conditional write.

    Attributes:
        names_condition: that failed, as AWS and moto do and other stores do not.
        conflicts: how many it puts off, since another one is being written.
        lost: how many it carries out and answers with an error.
        ignores_conditions: as stores do that are older than these.
    """

    names_condition: bool = False
    conflicts: int = 0
    lost: int = 0
    ignores_conditions: bool = False

    def answer(self, app, environ, start_response):
        if self.ignores_conditions:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        if "HTTP_IF_NONE_MATCH" in environ and self.conflicts:
            self.conflicts -= 1
            start_response("409 Conflict", [("Content-Type", "application/xml")])
            return [CONFLICT]
        if "HTTP_IF_NONE_MATCH" in environ and self.lost:
            self.lost -= 1
            b"".join(app(environ, lambda *answer: None))
            start_response("500 Internal Server Error", [("Content-Type", "application/xml")])
            return [LOST]
        body = b"".join(app(environ, start_response))
        return [body if self.names_condition else body.replace(CONDITION, b" " * len(CONDITION))]


STORE = Store()
PIPELINES = (Pipeline("toy", ("sum", "spread_out", "leftovers"), "Every step of the toy."),)


@dataclass
class Toy:
    folder: Path
    registry: Registry

    @property
    def conf(self) -> dict:
        return {"catalogue": str(self.folder / "catalogue"), "preset": "tiny"}

    def runner(self, run: str | Path, **conf) -> StepRunner:
        return StepRunner(self.registry, str(run), self.folder / "params.yaml", {**self.conf, **conf})

    def run_all(self, run: str | Path, **conf) -> dict[str, str]:
        """Runs every step; gives the status by `step` or `step.domain`."""
        statuses = {}
        for step in self.registry.steps:
            runner = self.runner(run, **conf)
            for domain in runner.domains() if step.per_domain else [None]:
                label = f"{step.name}.{domain}" if domain else step.name
                statuses[label] = runner.execute(step.name, domain).status
        return statuses

    def digests(self, run: str | Path) -> dict[str, str]:
        """Digest of every artifact of a run."""
        runner = self.runner(run)
        found = {}
        for name, step in self.registry.writer.items():
            for domain in runner.domains() if step.per_domain else [None]:
                found[f"{name}/{domain}"] = runner.store.get(name, domain).digest
        return found


def make_toy(folder: Path, environment: pytest.MonkeyPatch) -> Toy:
    environment.setenv("MODIT_CACHE", str(folder / "cache"))
    (folder / "catalogue").mkdir()
    (folder / "catalogue" / "numbers.txt").write_text("1 2 3 4 5\n")
    (folder / "params.yaml").write_text(PARAMS)
    return Toy(folder, discover("toysteps", "modit.params", PIPELINES))


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    return make_toy(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def module_toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toy]:
    """One for a module's fixtures, in a folder of its own."""
    with pytest.MonkeyPatch.context() as environment:
        yield make_toy(tmp_path_factory.mktemp("toy"), environment)


@pytest.fixture(scope="session")
def s3_server():
    """One for all tests: fsspec keeps connections to an address for the whole process."""
    app, one_at_a_time = DomainDispatcherApplication(create_backend_app), Lock()

    def answer(environ, start_response):
        # S3 decides about a conditional write as a whole; moto looks first and writes then.
        with one_at_a_time:
            return STORE.answer(app, environ, start_response)

    server = make_server("127.0.0.1", 0, answer, threaded=True, request_handler=MotoRequestHandler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


@pytest.fixture
def store(monkeypatch):
    """The server's manners, to be changed for a test."""
    for name, value in vars(Store()).items():
        monkeypatch.setattr(STORE, name, value)
    return STORE


@pytest.fixture
def s3(s3_server, monkeypatch):
    """A client, with an empty bucket and the settings that processes started by a test see too."""
    settings = {"AWS_ENDPOINT_URL": s3_server, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    for name, value in {**settings, "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    fsspec.filesystem("s3", skip_instance_cache=True)
    yield client
    for entry in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=entry["Key"])
