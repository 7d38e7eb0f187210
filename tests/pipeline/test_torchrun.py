"""The real command line under torchrun: trained by two processes, published by one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from components.registry import REGISTRY
from modit.core.runner import StepRunner
from modit.data.demo import DemoParameters, write_demo_world
from modit.training.checkpoint import load_model

ROOT = Path(__file__).resolve().parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "--"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> StepRunner:
    """A run up to the step that trains, which one process has done."""
    folder = tmp_path_factory.mktemp("torchrun")
    write_demo_world(folder / "world", DemoParameters(items=5_000, domains=1, dimension=32, days=3))
    conf = {"catalogue": str(folder / "world"), "preset": "tiny", "overrides": {"pretrain.log_every": 1}}
    runner = StepRunner(REGISTRY, str(folder / "run"), ROOT / "params.yaml", conf)
    for step in ("validate_logs", "assign_patterns", "pretrain"):
        runner.execute(step)
    return runner


def torchrun(runner: StepRunner, *arguments: str) -> list[str]:
    """Lines on stdout of `torchrun -m components pretrain`."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT))), "OMP_NUM_THREADS": "1"}
    command = [*TORCHRUN, "components", "pretrain", "--run", runner.run.uri, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def published(runner: StepRunner) -> tuple[list[dict[str, float]], list[float]]:
    folder = runner.store.read("pretrained", None)
    weights = [float(value.double().sum()) for value in load_model(folder / "model.pt").state_dict().values()]
    return json.loads((folder / "curve.json").read_text()), weights


def test_two_processes_publish_what_one_does_and_only_the_first_speaks(run):
    curve, weights = published(run)
    lines = torchrun(run, "--no-cache")
    assert [json.loads(line)["status"] for line in lines] == ["ran"]
    other, same = published(run)
    assert same == pytest.approx(weights, abs=1e-3)
    assert len(other) == len(curve) == 20
    for one, two in zip(curve, other, strict=True):
        assert one == pytest.approx(two, abs=1e-5)


def test_two_processes_agree_that_there_is_nothing_to_do(run):
    run.execute("pretrain")
    before = published(run)
    assert [json.loads(line)["status"] for line in torchrun(run)] == ["cached"]
    assert published(run) == before
