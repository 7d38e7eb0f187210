"""The whole job with each step in a container of its own gives the digests that processes give."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.worlds import small_world

pytestmark = pytest.mark.containers

ROOT = Path(__file__).resolve().parents[2]
# What names the state of the checkout, or a run's own folder and registry, is another thing in another run.
OWN = {"registration", "versions", "verdict", "bundle"}


def run(executor: str, world: Path, runs: Path, images: str) -> dict[str, str]:
    """Runs the main job and returns the digest of every artifact."""
    runs.mkdir()
    runs.chmod(0o777)  # the image's user writes here
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
        "OMP_NUM_THREADS": "1",
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


def test_containers_and_processes_give_the_same_digests(images, world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for parent in (folder, folder.parent):
        parent.chmod(0o755)
    found = {executor: run(executor, world, folder / executor, images) for executor in ("process", "docker")}
    assert len(found["process"]) > 30
    assert found["docker"] == found["process"]
