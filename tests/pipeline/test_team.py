"""Several processes run one task: one publishes, the others help and leave nothing behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modit.core.command import main
from modit.core.registry import discover
from modit.core.runner import StepRunner, Team

ROOT = Path(__file__).resolve().parents[2]


def helper(toy, run, asked: bool) -> StepRunner:
    return StepRunner(toy.registry, str(run), toy.folder / "params.yaml", None, Team(1, lambda value: asked))


def files_of(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.fixture
def finished(toy, tmp_path):
    toy.run_all(tmp_path / "run")
    return tmp_path / "run"


def test_helper_computes_and_leaves_nothing_in_the_run(toy, finished, monkeypatch):
    module = sys.modules[toy.registry.run_module(toy.registry.get("grow"))]
    seen, real = [], module.run
    monkeypatch.setattr(module, "run", lambda context: (seen.append(context.domain), real(context)))
    before = files_of(finished)
    result = helper(toy, finished, asked=True).execute("grow", "even")
    assert (result.status, result.outputs, seen) == ("helped", {}, ["even"])
    assert files_of(finished) == before


def test_helper_does_nothing_where_the_first_process_has_nothing_to_compute(toy, finished, monkeypatch):
    module = sys.modules[toy.registry.run_module(toy.registry.get("grow"))]
    monkeypatch.setattr(module, "run", lambda context: pytest.fail("computed"))
    assert helper(toy, finished, asked=False).execute("grow", "even").status == "helped"


@pytest.mark.parametrize("force", [False, True])
def test_first_process_calls_for_help_only_where_a_step_can_use_an_accelerator(toy, finished, force):
    calls = []
    team = Team(0, lambda value: calls.append(value) or value)
    StepRunner(toy.registry, str(finished), toy.folder / "params.yaml", None, team).execute("grow", "even", force=force)
    assert calls == [False]


def test_helper_prints_nothing(toy, finished, capsys):
    arguments = ["read", "--run", str(finished), "--params", str(toy.folder / "params.yaml")]
    assert main(discover("toysteps", "modit.params"), arguments, Team(1, lambda value: False)) == 0
    assert capsys.readouterr().out == ""


def test_command_needs_no_torch_for_a_step_without_training():
    code = "import sys, components.__main__; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


def test_result_of_a_helper_is_one_line_of_json(toy, finished):
    assert json.loads(helper(toy, finished, asked=False).execute("grow", "odd").as_json())["status"] == "helped"
