"""Two launchers of torchrun, as on two machines that share nothing but the run's S3 address."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import boto3
import psutil
import pytest
from s3fs import S3FileSystem

from components.registry import REGISTRY
from modit.core.runner import StepRunner
from modit.data.demo import DemoParameters, write_demo_world
from tests.pipeline.conftest import s3_server as s3_server  # a fixture

ROOT = Path(__file__).resolve().parents[2]
BUCKET = "bucket"
OVERRIDES = {"pretrain.steps": 300, "pretrain.log_every": 1, "pretrain.checkpoint_every": 20}
CONF = {"preset": "tiny", "overrides": OVERRIDES}

pytestmark = pytest.mark.e2e


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Machine:
    """A launcher with a cache of its own."""

    def __init__(self, cache: Path, options: list[str], run: str, *arguments: str) -> None:
        self.cache, self.errors = cache, cache.with_suffix(".txt")
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"}
        environment["MODIT_CACHE"] = str(cache)
        command = [sys.executable, "-m", "modit.training.launch", *options, "-m", "--", "components", "pretrain"]
        self.process = subprocess.Popen(
            [*command, "--run", run, *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=self.errors.open("w"),
            text=True,
        )

    def kill(self) -> None:
        """As if the machine lost its power: launcher and processes are gone at once."""
        for process in [*psutil.Process(self.process.pid).children(recursive=True), self.process]:
            process.kill()

    def end(self) -> tuple[int, list[str]]:
        """Exit status and lines on stdout."""
        said = self.process.communicate(timeout=240)[0]
        self.told = self.errors.read_text()
        return self.process.returncode, said.splitlines()

    def wait_for_state(self) -> None:
        """Until a checkpoint lies on this machine."""
        for _ in range(600):
            if list(self.cache.rglob("state.pt")):
                return
            assert self.process.poll() is None, self.errors.read_text()
            time.sleep(0.1)
        pytest.fail("no checkpoint after a minute")


def static(port: int, rank: int) -> list[str]:
    """As Kubeflow Trainer sets it: who is who is given."""
    where = ["--master-addr", "127.0.0.1", "--master-port", str(port)]
    return ["--nnodes", "2", "--nproc-per-node", "1", "--node-rank", str(rank), *where]


@pytest.fixture(scope="module")
def machines_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("machines")


@pytest.fixture(scope="module")
def run(s3_server, machines_cache):  # noqa: F811
    """A run on S3, up to the step that trains, which two processes of one machine have done."""
    with pytest.MonkeyPatch.context() as patch:
        settings = {"AWS_ENDPOINT_URL": s3_server, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
        for name, value in {**settings, "AWS_DEFAULT_REGION": "us-east-1"}.items():
            patch.setenv(name, value)
        patch.setenv("MODIT_CACHE", str(machines_cache / "cache"))
        S3FileSystem.clear_instance_cache()  # fsspec keeps connections to the server of an earlier test
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        world = machines_cache / "world"
        write_demo_world(world, DemoParameters(items=5_000, domains=1, dimension=32, days=3))
        conf = {"catalogue": str(world), **CONF}
        runner = StepRunner(REGISTRY, f"s3://{BUCKET}/runs/a", ROOT / "params.yaml", conf)
        for step in ("validate_logs", "assign_patterns"):
            runner.execute(step)
        alone = Machine(machines_cache / "alone", ["--standalone", "--nproc-per-node", "2"], runner.run.uri)
        assert alone.end()[0] == 0, alone.errors.read_text()
        yield runner


@pytest.fixture(scope="module")
def digest(run):
    return published(run)


def published(run: StepRunner) -> str:
    return run.store.get("pretrained").digest


def launch(folder: Path, name: str, options: list[str], run: StepRunner, *arguments: str) -> Machine:
    return Machine(folder / name, options, run.run.uri, *arguments)


def test_two_machines_without_a_shared_disk_publish_what_two_processes_of_one_do(run, digest, tmp_path):
    port = free_port()
    machines = [launch(tmp_path, f"machine{rank}", static(port, rank), run, "--no-cache") for rank in range(2)]
    ends = [machine.end() for machine in machines]
    assert [status for status, _ in ends] == [0, 0], machines[0].told
    assert [json.loads(line)["status"] for _, said in ends for line in said] == ["ran"]
    assert published(run) == digest


def test_training_goes_on_from_its_checkpoint_after_a_machine_was_lost(run, digest, tmp_path):
    port = free_port()
    first, second = (launch(tmp_path, f"machine{rank}", static(port, rank), run, "--no-cache") for rank in range(2))
    first.wait_for_state()
    second.kill()
    assert first.end()[0] == 1
    port = free_port()  # what asked for the job asks again
    again = [launch(tmp_path, f"machine{rank}", static(port, rank), run, "--no-cache") for rank in range(2)]
    assert [machine.end()[0] for machine in again] == [0, 0], again[0].told
    assert "step 1 of" in first.told and "step 1 of" not in again[0].told
    assert published(run) == digest


def test_refusal_ends_both_machines_and_says_so_by_its_status(run, tmp_path):
    port, conf = free_port(), json.dumps({**CONF, "catalogue": run.config.catalogue, "seed": 6})
    machines = [launch(tmp_path, f"no{rank}", static(port, rank), run, "--conf", conf) for rank in range(2)]
    assert [machine.end()[0] for machine in machines] == [3, 3]
    assert "field seed" in machines[0].told


def test_trainjob_of_airflow_publishes_the_same(run, digest, tmp_path):
    pytest.importorskip("airflow.providers.cncf.kubernetes", reason="needs the extra `containers`")
    conf = json.dumps({**CONF, "catalogue": run.config.catalogue, "overrides": {**OVERRIDES, "pretrain.log_every": 2}})
    other = StepRunner(REGISTRY, f"s3://{BUCKET}/runs/b", ROOT / "params.yaml", json.loads(conf))
    for step in ("validate_logs", "assign_patterns"):
        other.execute(step)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"}
    environment |= {"MODIT_TRAIN_NODES": "2", "AIRFLOW_HOME": str(tmp_path / "airflow")}
    command = [sys.executable, str(ROOT / "tests" / "dags" / "trainjob_run.py"), str(tmp_path), other.run.uri, conf]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["status"] == "ran" and result["outputs"]["pretrained"]["digest"] == published(other)
    folders = [runner.store.read("pretrained", None) for runner in (run, other)]
    assert (folders[0] / "model.pt").read_bytes() == (folders[1] / "model.pt").read_bytes()
