"""A container that is killed, by hand or for memory, is run again and ends with what an undisturbed one ends with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.registry import REGISTRY
from modit.core.runner import StepRunner
from modit.core.workspace import ATTEMPT_FILE
from modit.data.demo import DemoParameters, write_demo_world
from tests.containers.conftest import docker

pytestmark = pytest.mark.containers

ROOT = Path(__file__).resolve().parents[2]
# A batch that takes 1.9 GB whole and 0.9 GB in four parts.
BIG = {"pretrain.steps": 1, "pretrain.batch": 4096, "model.width": 64}
LONG = {"pretrain.steps": 60, "pretrain.log_every": 1, "pretrain.checkpoint_every": 5}
# What the Docker executor does with a step.
EXECUTE = """
import sys
from docker.types import Mount
from airflow.sdk.exceptions import AirflowTaskTimeout
from airflow.sdk.execution_time.timeout import timeout
from dags.executors.docker import DockerStep
from dags.executors.step_task import OutOfMemoryException
run, conf, image, folder, user, memory, seconds = sys.argv[1:]
task = DockerStep(
    task_id="pretrain", step="pretrain", run_uri=run, conf=conf, image=image, user=user, mem_limit=memory,
    mounts=[Mount(target=folder, source=folder, type="bind")],
    environment={"OMP_NUM_THREADS": "1"}, mount_tmp_dir=False, auto_remove="never",
)
try:
    with timeout(float(seconds)):
        task.execute({})
except OutOfMemoryException as error:
    print("container", task.container["Id"], error)
    sys.exit(4)
except AirflowTaskTimeout:
    task.on_kill()
    print("container", task.container["Id"])
    sys.exit(5)
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recovery") / "world"
    write_demo_world(folder, DemoParameters(items=5_000, domains=1, dimension=32, days=3))
    return folder


def begun(world: Path, name: str, overrides: dict) -> StepRunner:
    conf = {"catalogue": str(world), "preset": "tiny", "overrides": overrides}
    run = StepRunner(REGISTRY, str(world.parent / name), ROOT / "params.yaml", conf)
    for step in ("validate_logs", "assign_patterns"):
        run.execute(step)
    return run


def execute(run: StepRunner, image: str, memory: str = "8g", seconds: float = 600) -> subprocess.CompletedProcess[str]:
    folder = Path(run.config.catalogue).parent
    conf = json.dumps({name: getattr(run.config, name) for name in ("catalogue", "preset", "overrides")})
    arguments = [run.run.uri, conf, image, str(folder), str(os.getuid()), memory, str(seconds)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "AIRFLOW_HOME": str(folder / "airflow")}
    command = [sys.executable, "-c", EXECUTE, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)


def is_gone(done: subprocess.CompletedProcess[str]) -> bool:
    words = done.stdout.split()
    return docker("inspect", words[words.index("container") + 1], check=False).returncode != 0


def test_a_container_that_the_kernel_kills_for_memory_succeeds_with_parts_of_the_batch(images, world):
    run, image = begun(world, "big", BIG), images.format(image="train")
    first = execute(run, image, memory="1500m")
    assert first.returncode == 4 and "ran out of memory (status 137)" in first.stdout, first.stdout + first.stderr
    assert is_gone(first)
    while (last := execute(run, image, memory="1500m")).returncode == 4:
        pass
    assert last.returncode == 0, last.stdout + last.stderr
    assert run.store.get("pretrained").summary["batch_parts"] in (2, 4)


def test_a_container_that_is_killed_in_training_goes_on_to_the_same_digests(images, world):
    # Not beside each other, where one would be reused for the other.
    whole, killed = (begun(world, f"{name}/run", LONG) for name in ("whole", "killed"))
    image = images.format(image="train")
    assert execute(whole, image).returncode == 0
    folder = str(world.parent)
    command = ["run", "-d", "--user", str(os.getuid()), "-e", "OMP_NUM_THREADS=1", "-v", f"{folder}:{folder}", image]
    container = docker(*command, "python", "-m", "components", "pretrain", "--run", killed.run.uri).stdout.strip()
    scratch = Path(killed.run.uri) / ".work" / "pretrain"
    while not list(scratch.glob("scratch/*/state.pt")):
        assert json.loads(docker("inspect", container).stdout)[0]["State"]["Running"], docker("logs", container).stderr
        time.sleep(0.05)
    docker("kill", container)
    docker("rm", container)
    assert (scratch / ATTEMPT_FILE).exists()
    assert execute(killed, image).returncode == 0
    assert killed.store.get("pretrained").digest == whole.store.get("pretrained").digest


def test_a_container_that_hangs_is_stopped_and_removed_after_its_timeout(images, world):
    run = begun(world, "slow", {**LONG, "pretrain.steps": 100_000})
    done = execute(run, images.format(image="train"), seconds=20)
    assert done.returncode == 5, done.stdout + done.stderr
    assert is_gone(done)
    assert json.loads((Path(run.run.uri) / ".work" / "pretrain" / ATTEMPT_FILE).read_text())["outcome"] == "ended"
