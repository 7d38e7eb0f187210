"""A domain that fails leaves the others to finish; what it lacks is named, and made up for by the next run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modit.core.command import REFUSED, UPSTREAM_FAILED, main
from modit.core.errors import InsufficientDataError, UpstreamFailedError
from modit.core.failures import FAILED_FOLDER

ROOT = Path(__file__).resolve().parents[2]
WHY = "grow: too few numbers"


@pytest.fixture
def run(toy):
    folder = toy.folder / "runs" / "one"
    for name in ("read", "divide"):
        toy.runner(folder).execute(name)
    return folder


def grow(toy, run, monkeypatch, refuses: str) -> None:
    """Runs `grow` for both domains; one of them is refused."""
    monkeypatch.setenv("TOY_REFUSES", refuses)
    for domain in ("even", "odd"):
        if domain == refuses:
            with pytest.raises(InsufficientDataError):
                toy.runner(run).execute("grow", domain)
        else:
            toy.runner(run).execute("grow", domain)


def test_a_step_that_runs_once_works_on_the_domains_that_are_left_and_says_which_are_not(toy, run, monkeypatch):
    grow(toy, run, monkeypatch, "odd")
    result = toy.runner(run).execute("total")
    assert (result.status, result.left_out) == ("ran", {"odd": WHY})
    assert set(json.loads((run / "sum" / "sum.json").read_text())) == {"even"}
    assert json.loads(result.as_json())["left_out"] == {"odd": WHY}
    again = toy.runner(run).execute("total")
    assert (again.status, again.left_out) == ("cached", {"odd": WHY})


def test_a_domain_that_is_repaired_comes_back(toy, run, monkeypatch):
    grow(toy, run, monkeypatch, "odd")
    toy.runner(run).execute("total")
    monkeypatch.delenv("TOY_REFUSES")
    assert toy.runner(run).execute("grow", "odd").status == "ran"
    assert list((run / FAILED_FOLDER).iterdir()) == []
    assert any("domains that failed" in line for line in toy.runner(run).why("total"))
    result = toy.runner(run).execute("total")
    assert (result.status, result.left_out) == ("ran", None)
    assert set(json.loads((run / "sum" / "sum.json").read_text())) == {"even", "odd"}


def test_a_failure_that_goes_away_with_the_next_attempt_leaves_nothing(toy, run, monkeypatch):
    monkeypatch.setenv("TOY_FAILS", "1")
    with pytest.raises(RuntimeError):
        toy.runner(run).execute("grow", "odd")
    noted = json.loads((run / FAILED_FOLDER / "grow.odd.json").read_text())
    assert noted == {"step": "grow", "domain": "odd", "reason": "RuntimeError: something else"}
    monkeypatch.delenv("TOY_FAILS")
    toy.run_all(run)
    assert list((run / FAILED_FOLDER).iterdir()) == []


def test_where_every_domain_failed_the_rest_is_not_run(toy, run, monkeypatch):
    for domain in ("even", "odd"):
        monkeypatch.setenv("TOY_REFUSES", domain)
        with pytest.raises(InsufficientDataError):
            toy.runner(run).execute("grow", domain)
    with pytest.raises(UpstreamFailedError, match="every domain failed: grow: too few numbers"):
        toy.runner(run).execute("total")


def test_a_domain_without_a_result_and_without_a_failure_is_still_missing(toy, run):
    """A step that is run too early by hand must not leave out what somebody else is working on."""
    toy.runner(run).execute("grow", "even")
    with pytest.raises(Exception, match="no artifact at .*grown/odd"):
        toy.runner(run).execute("total")


def test_what_follows_a_failed_step_that_runs_once_is_not_run(toy, monkeypatch, capsys):
    run = toy.folder / "runs" / "two"
    (toy.folder / "catalogue" / "numbers.txt").unlink()
    arguments = ["--run", str(run), "--params", str(toy.folder / "params.yaml"), "--conf", json.dumps(toy.conf)]
    assert main(toy.registry, ["read", *arguments]) == REFUSED
    assert main(toy.registry, ["divide", *arguments]) == UPSTREAM_FAILED
    assert "divide: UpstreamFailedError: not run, because step read failed: catalogue" in capsys.readouterr().err


@pytest.fixture
def kfp_run(toy, monkeypatch):
    """Runs the toy under `kfp.local`; what a container would run is a process. `python -m components` is the toy."""
    local = pytest.importorskip("kfp.local", reason="needs the extra `kfp`")
    from kfp.local import docker_task_handler, status

    from pipelines.kfp_platform import Platform
    from pipelines.kfp_view import kfp_pipeline

    (toy.folder / "components.py").write_text("import runpy\nrunpy.run_module('toysteps', run_name='__main__')\n")
    paths = (toy.folder, ROOT / "src", ROOT / "tests" / "pipeline", ROOT)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, paths)))
    monkeypatch.setenv("MODIT_PARAMS", str(toy.folder / "params.yaml"))
    monkeypatch.chdir(toy.folder)

    def as_process(handler):
        done = subprocess.run([sys.executable, *handler.full_command[1:]], check=False)
        return status.Status.FAILURE if done.returncode else status.Status.SUCCESS

    monkeypatch.setattr(docker_task_handler.DockerTaskHandler, "run", as_process)
    local.init(local.DockerRunner(), str(toy.folder / "kfp"))
    run = kfp_pipeline(toy.registry.of("toy"), Platform(), ["even", "odd"])
    where = {"catalogue": toy.conf["catalogue"], "run_root": str(toy.folder / "runs"), "run": "kfp"}
    return lambda: run(**where, domains="even,odd", preset="tiny", overrides={})


@pytest.mark.parametrize(
    ("variable", "reason"), [("TOY_REFUSES", "too few numbers"), ("TOY_KILLED", "ended with status -9")]
)
def test_under_kfp_a_domain_that_is_refused_or_crashes_leaves_the_other_to_finish(
    toy, kfp_run, monkeypatch, variable, reason
):
    monkeypatch.setenv(variable, "odd")
    run = toy.folder / "runs" / "kfp"
    with pytest.raises(RuntimeError, match="total"):
        kfp_run()
    assert set(json.loads((run / "sum" / "sum.json").read_text())) == {"even"}
    assert json.loads((run / FAILED_FOLDER / "grow.odd.json").read_text())["reason"] == reason
    monkeypatch.delenv(variable)
    kfp_run()
    assert set(json.loads((run / "sum" / "sum.json").read_text())) == {"even", "odd"}
