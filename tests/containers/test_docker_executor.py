"""The whole job, a container a step: the digests of processes, and no right or secret that a step has no use for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from components.registry import REGISTRY
from modit.core.services import SERVICES
from tests.containers.conftest import docker
from tests.worlds import small_world

pytestmark = pytest.mark.containers

ROOT = Path(__file__).resolve().parents[2]
# What names the state of the checkout, or a run's own folder and registry, is another thing in another run.
OWN = {"registration", "versions", "verdict", "bundle"}
# What the worker holds; the registry is SQLite beside the run, which asks nobody.
SECRETS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "MLFLOW_TRACKING_TOKEN": "c"}
VARIABLES = {name for service in SERVICES.values() for name in service.variables}


class Watcher(threading.Thread):
    """Inspects each container that starts with a folder mounted, while it is there.

    Attributes:
        found: the step of each, or the command, and what the engine says of its container.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.found: list[tuple[str, dict[str, Any]]] = []
        self._folder = str(folder)
        command = ["docker", "events", "--filter", "event=start", "--format", "{{.ID}}"]
        self._events = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def run(self) -> None:
        assert self._events.stdout is not None
        for line in self._events.stdout:
            (said,) = json.loads(docker("inspect", line.strip(), check=False).stdout) or [None]
            if said and self._folder in {mount["Source"] for mount in said["Mounts"]}:
                self.found.append((said["Config"]["Cmd"][3], said))

    def stop(self) -> None:
        self._events.terminate()
        self.join()


def run(executor: str, world: Path, runs: Path, images: str) -> dict[str, str]:
    """Runs the main job and returns the digest of every artifact."""
    runs.mkdir()
    runs.chmod(0o777)  # the image's user writes here
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
        "OMP_NUM_THREADS": "1",
        **SECRETS,
        "MODIT_EXECUTOR": executor,
        "MODIT_IMAGES": images,
        "MODIT_DOCKER_VOLUMES": f"{runs},{world}",
        "AIRFLOW_HOME": str(runs.with_name(f"airflow-{executor}")),
    }
    command = [sys.executable, "-m", "dags.launch", "--catalog", str(world), "--preset", "tiny", "--runs", str(runs)]
    subprocess.run([*command, "--run", "one"], cwd=ROOT, env=environment, check=True, timeout=2400)
    manifests = sorted((runs / "one").rglob("manifest.json"))
    return {
        str(path.parent.relative_to(runs / "one")): json.loads(path.read_text())["digest"]
        for path in manifests
        if path.relative_to(runs / "one").parts[0] not in OWN
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = small_world(tmp_path_factory.mktemp("demo") / "world")
    folder.parent.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for parent in (folder, folder.parent):
        parent.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def watched(images, world, folder):
    """The digests of the job in containers, and the containers that the DAG started."""
    watcher = Watcher(folder / "docker")
    watcher.start()
    try:
        digests = run("docker", world, folder / "docker", images)
    finally:
        watcher.stop()
    return digests, watcher.found


def test_every_step_and_command_has_a_container_without_rights_that_goes_with_its_volume(watched):
    _, found = watched
    assert {name for name, _ in found} == {*REGISTRY.of("retrain").by_name, "review"}
    for name, said in found:
        host, config = said["HostConfig"], said["Config"]
        assert host["ReadonlyRootfs"] and not host["Privileged"], name
        assert host["CapDrop"] == ["ALL"] and not host["CapAdd"], name
        assert "no-new-privileges" in host["SecurityOpt"] and config["User"] == "10001", name
        places = {mount["Destination"]: mount for mount in said["Mounts"]}
        (scratch,) = (mount["Name"] for place, mount in places.items() if place == "/tmp")
        assert len(places) == 3 and all(place == "/tmp" or "/pytest-" in place for place in places), name
        assert docker("inspect", said["Id"], check=False).returncode, name
        assert docker("volume", "inspect", scratch, check=False).returncode, name


def test_a_container_holds_the_secrets_of_what_its_step_declares_and_no_others(watched):
    for name, said in watched[1]:
        needs = REGISTRY.get(name).needs if name != "review" else {"registry"}
        held = {each.partition("=")[0] for each in said["Config"]["Env"]} & VARIABLES
        token = {"MLFLOW_TRACKING_TOKEN"} if "registry" in needs else set()
        assert held == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} | token, name


def test_containers_and_processes_give_the_same_digests(images, world, folder, watched):
    processes = run("process", world, folder / "process", images)
    assert len(processes) > 30
    assert watched[0] == processes
