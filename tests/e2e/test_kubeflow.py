"""The pipeline of Kubeflow under `kfp.local`: the same verdict and the same digests as under Airflow.

The tasks' commands run as processes beside a run of Airflow's processes; with a container engine, and images that
MODIT_IMAGES names, in containers beside a run of Airflow's containers.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from components.registry import REGISTRY
from dags.launch import main as launch
from modit.core.artifacts import ArtifactStore
from modit.core.storage import Storage
from modit.release.verdict import read_verdict
from tests.worlds import small_world

pytest.importorskip("kfp", reason="needs the extra `kfp`")

from kfp.local import docker_task_handler, status  # noqa: E402

from pipelines.kfp_local import main as run_locally  # noqa: E402

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
DOMAINS = ("popular", "quality")
# They say whether the checkout has changes, which may come about between two runs, or name the run's feature service.
OF_THE_RUN = ("versions", "verdict", "bundle", "registration")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return small_world(tmp_path_factory.mktemp("demo") / "world")


def run_under_airflow(world: Path, runs: Path) -> Path:
    arguments = ["--catalog", str(world), "--preset", "tiny", "--runs", str(runs), "--run", "one"]
    assert launch([*arguments, "--domains", ",".join(DOMAINS)]) == 0
    return runs / "one"


def run_under_kfp(world: Path, runs: Path, *options: str) -> int:
    arguments = ["--catalogue", str(world), "--run-root", str(runs), "--run", "one", "--domains", ",".join(DOMAINS)]
    return run_locally([*arguments, "--preset", "tiny", *options])


def digests(run: Path) -> dict[str, str]:
    store = ArtifactStore(Storage(str(run)), run / "unused")
    return {
        f"{name}/{domain or ''}": store.get(name, domain).digest
        for name, step in REGISTRY.of("retrain").writer.items()
        for domain in (DOMAINS if step.per_domain else (None,))
    }


def assert_same(run: Path, other: Path) -> None:
    def compared(found: dict[str, str]) -> dict[str, str]:
        return {name: digest for name, digest in found.items() if name.split("/")[0] not in OF_THE_RUN}

    assert compared(digests(run)) == compared(digests(other))
    mine, others = read_verdict(str(run)), read_verdict(str(other))
    assert (mine["status"], mine["domains"]) == (others["status"], others["domains"])


class AsProcesses:
    """Runs what a container would run, with this interpreter and the container's number of threads."""

    def __init__(self, monkeypatch) -> None:
        self.commands: list[list[str]] = []
        monkeypatch.setattr(docker_task_handler.DockerTaskHandler, "run", lambda handler: self.run(handler))
        monkeypatch.chdir(ROOT)
        monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}{os.pathsep}{ROOT}")

    def run(self, handler: docker_task_handler.DockerTaskHandler) -> status.Status:
        python, *arguments = handler.full_command
        assert python == "python"
        self.commands.append(arguments)
        threads = handler.runner.container_run_args["environment"]["OMP_NUM_THREADS"]
        environment = {**os.environ, "OMP_NUM_THREADS": threads}
        done = subprocess.run([sys.executable, *arguments], env=environment, check=False)
        return status.Status.FAILURE if done.returncode else status.Status.SUCCESS


@pytest.fixture
def as_processes(monkeypatch):
    return AsProcesses(monkeypatch)


def test_the_tasks_commands_give_what_airflow_gives_whatever_the_number_of_shards(
    world, tmp_path, as_processes, monkeypatch
):
    assert run_under_kfp(world, tmp_path / "kfp") == 0
    monkeypatch.setenv("MODIT_SHARDS", "3")
    assert_same(tmp_path / "kfp" / "one", run_under_airflow(world, tmp_path / "airflow"))
    per_domain = sum(step.per_domain for step in REGISTRY.of("retrain").steps)
    assert len(as_processes.commands) == len(REGISTRY.of("retrain").steps) + per_domain * (len(DOMAINS) - 1)


def test_without_new_data_the_pipeline_ends_with_its_first_task(world, tmp_path, as_processes, capfd):
    assert run_under_kfp(world, tmp_path, "--window", ":2000-01-01") == 1
    assert len(as_processes.commands) == 1
    shown = capfd.readouterr().err
    assert "FAILED: Pipeline" in shown and "cannot leave out the rest" in shown


def test_containers_give_what_airflow_gives(world, tmp_path, monkeypatch):
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("no container engine: `docker info` fails")
    if not os.environ.get("MODIT_IMAGES"):
        pytest.skip("MODIT_IMAGES names no images to run the steps in")
    assert run_under_kfp(world, tmp_path / "kfp") == 0
    airflow = tmp_path / "airflow"
    airflow.mkdir()
    airflow.chmod(0o777)  # the images' user may be another one
    for folder in (tmp_path, tmp_path.parent, world, world.parent):
        folder.chmod(0o755)
    monkeypatch.setenv("MODIT_EXECUTOR", "docker")
    monkeypatch.setenv("MODIT_DOCKER_VOLUMES", f"{airflow},{world}")
    if os.getuid():  # root's containers are the image's user: no step runs as root
        monkeypatch.setenv("MODIT_DOCKER_USER", f"{os.getuid()}:{os.getgid()}")
    assert_same(tmp_path / "kfp" / "one", run_under_airflow(world, airflow))
