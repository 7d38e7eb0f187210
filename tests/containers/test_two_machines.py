"""A step that two containers train together, on a network of their own, with the run on S3 and no disk in common.

They get the command and the variables of a TrainJob's pods (dags/executors/trainjob_manifest.py), and as few rights.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from components.registry import REGISTRY
from modit.core.runner import StepRunner
from modit.data.demo import DemoParameters, write_demo_world
from tests.containers.conftest import ROOT, docker

pytestmark = pytest.mark.containers

BUCKET = "nodes"
OVERRIDES = {"pretrain.steps": 300, "pretrain.log_every": 1, "pretrain.checkpoint_every": 20}
LAUNCHER = ("python", "-m", "modit.training.launch")
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
STRICT = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


class Site:
    """A network with an object store, and containers on it."""

    def __init__(self, image: str, network: str, endpoint: str, folder: Path) -> None:
        self.image, self.network, self.endpoint, self.folder = image, network, endpoint, folder
        self.runner: StepRunner
        self.started: list[str] = []

    def start(self, name: str, options: tuple[str, ...] = (), **variables: object) -> str:
        """Starts a container of the step, with a cache and a termination log of its own; gives its id."""
        cache, result = self.folder / f"cache-{name}", self.folder / f"result-{name}"
        cache.mkdir(exist_ok=True)
        cache.chmod(0o777)
        result.write_text("")
        result.chmod(0o666)
        code = [("src", "/app/src"), ("components", "/app/components"), ("params.yaml", "/app/params.yaml")]
        mounts = [f"{ROOT / source}:{target}:ro" for source, target in code]
        mounts += [f"{cache}:/cache", f"{result}:/dev/termination-log"]
        environment = {**KEYS, "AWS_ENDPOINT_URL": self.endpoint, "OMP_NUM_THREADS": 1, "MODIT_CACHE": "/cache"}
        given = [word for key, value in {**environment, **variables}.items() for word in ("--env", f"{key}={value}")]
        given += [word for mount in mounts for word in ("--volume", mount)]
        where = ["--network", self.network, "--hostname", name, "--network-alias", name]
        step = [
            "components",
            "pretrain",
            "--run",
            self.runner.run.uri,
            "--no-cache",
            "--result",
            "/dev/termination-log",
        ]
        command = ["run", "--detach", *STRICT, *where, *given, self.image, *LAUNCHER, *options, "-m", "--", *step]
        self.started.append(docker(*command).stdout.strip())
        return self.started[-1]

    def start_both(self) -> list[str]:
        """Starts both machines of a TrainJob: Kubeflow Trainer's variables say who is who."""
        both = {"PET_NNODES": 2, "PET_NPROC_PER_NODE": 1, "PET_MASTER_ADDR": "machine0", "PET_MASTER_PORT": 29400}
        return [self.start(f"machine{rank}", PET_NODE_RANK=rank, **both) for rank in range(2)]

    def end(self, container: str) -> tuple[int, str]:
        """Waits for a container; its exit status and its log."""
        status = int(docker("wait", container).stdout)
        said = docker("logs", container)
        docker("rm", container)
        self.started.remove(container)
        return status, said.stdout + said.stderr

    def result(self, name: str) -> str:
        return (self.folder / f"result-{name}").read_text()

    def digest(self) -> str:
        return self.runner.store.get("pretrained").digest


@pytest.fixture(scope="module")
def site(images, tmp_path_factory) -> Iterator[Site]:
    folder, network = tmp_path_factory.mktemp("site"), f"modit-test-{uuid.uuid4().hex[:8]}"
    for parent in (folder, folder.parent):
        parent.chmod(0o755)
    docker("network", "create", network)
    gateway = json.loads(docker("network", "inspect", network).stdout)[0]["IPAM"]["Config"][0]["Gateway"]
    store = ThreadedMotoServer(ip_address=gateway, port=0, verbose=False)
    store.start()
    site = Site(images.format(image="train"), network, f"http://{gateway}:{store.get_host_and_port()[1]}", folder)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**KEYS, "AWS_ENDPOINT_URL": site.endpoint, "MODIT_CACHE": str(folder / "here")}.items():
                patch.setenv(name, value)
            site.runner = prepared(folder)
            yield site
    finally:
        for container in site.started:
            docker("rm", "--force", container, check=False)
        docker("network", "rm", network)
        store.stop()


def prepared(folder: Path) -> StepRunner:
    """A run on S3, up to the step that trains."""
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    write_demo_world(folder / "world", DemoParameters(items=5_000, domains=1, dimension=32, days=3))
    conf = {"catalogue": str(folder / "world"), "preset": "tiny", "overrides": OVERRIDES}
    runner = StepRunner(REGISTRY, f"s3://{BUCKET}/runs/a", ROOT / "params.yaml", conf)
    for step in ("validate_logs", "assign_patterns"):
        runner.execute(step)
    return runner


@pytest.fixture(scope="module")
def digest(site) -> str:
    """What two processes of one container make."""
    status, said = site.end(site.start("alone", ("--standalone", "--nproc-per-node", "2")))
    assert status == 0, said
    return site.digest()


def test_two_containers_publish_what_two_processes_of_one_do(site, digest):
    first, second = (site.end(container) for container in site.start_both())
    assert (first[0], second[0]) == (0, 0), first[1]
    assert json.loads(site.result("machine0"))["status"] == "ran" and not site.result("machine1")
    assert site.digest() == digest


@pytest.mark.parametrize("lost", [1, 0])
def test_training_goes_on_from_its_checkpoint_after_a_container_was_killed(site, digest, lost):
    containers = site.start_both()
    while not list((site.folder / "cache-machine0").rglob("state.pt")):
        assert docker("inspect", "--format", "{{.State.Running}}", containers[0]).stdout.strip() == "true"
        time.sleep(0.2)
    docker("kill", containers[lost])
    statuses = [site.end(container)[0] for container in containers]
    assert statuses[lost] == 137 and statuses[1 - lost] == 1
    first, second = (site.end(container) for container in site.start_both())  # as the next attempt does
    assert (first[0], second[0]) == (0, 0), first[1]
    assert "step 1 of" not in first[1]
    assert site.digest() == digest
