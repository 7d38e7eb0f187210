"""`dvc repro` runs the real pipeline in a clone, its tools compare, and the registered model is reproduced."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from modit.release.verdict import read_verdict

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
RUN, DOMAIN = "runs/dvc", "quality"


class Clone:
    """A clone of this repository with the working tree's files, set to one domain of a small world."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
        changed = self.output("git", "-C", str(ROOT), "ls-files", "--modified", "--others", "--exclude-standard")
        for name in changed.splitlines():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_file():
                shutil.copy(ROOT / name, folder / name)
        self.python("-m", "modit.cli", "demo-world", "--out", "runs/world", "--items", "5000", "--domains", "1")
        variables = {"run": RUN, "catalogue": "runs/world", "preset": "tiny"}
        variables |= {"pipelines": ["retrain", "semantic_ids"], "domains": [DOMAIN]}
        (folder / "pipelines" / "dvc_vars.yaml").write_text(yaml.safe_dump(variables))
        self.python("-m", "pipelines.dvc_view")
        self.commit("set up")

    def output(self, *command: str, status: int = 0) -> str:
        environment = {
            **{name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"},
            "PYTHONPATH": f"{self.folder / 'src'}{os.pathsep}{self.folder}",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "DVC_NO_ANALYTICS": "1",
            "MODIT_CACHE": str(self.folder.parent / "cache"),
        }
        where = self.folder if self.folder.is_dir() else None
        done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def python(self, *arguments: str, status: int = 0) -> str:
        return self.output(sys.executable, *arguments, status=status)

    def dvc(self, *arguments: str) -> str:
        return self.python("-m", "dvc", *arguments)

    def commit(self, message: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        self.output("git", "add", "-A")
        self.output("git", *identity, "commit", "-qm", message)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    clone = Clone(tmp_path_factory.mktemp("versions") / "clone")
    for name, value in (("user.name", "a"), ("user.email", "a@example.org")):
        clone.output("git", "config", name, value)
    clone.dvc("repro")
    clone.commit("ran")
    return clone


def test_repro_ends_with_a_verdict_that_names_the_versions_and_runs_nothing_twice(clone):
    verdict = read_verdict(str(clone.folder / RUN))
    assert verdict["versions"]["status"] == "versioned"
    assert verdict["versions"]["code"]["changed"] is False
    assert {"raw", "catalog", "cases", "bundle"} <= verdict["versions"]["datasets"].keys()
    assert "Running stage" not in clone.dvc("repro")


def test_metrics_params_and_plots_are_shown(clone):
    metrics = json.loads(clone.dvc("metrics", "show", "--json"))
    assert "item_holdout Joint@K" in json.dumps(metrics)
    assert json.loads(clone.dvc("plots", "show", "--json", "-o", str(clone.folder.parent / "plots")))["data"]
    assert clone.dvc("params", "diff") == ""


def test_an_older_version_is_reproduced_from_a_checkout_of_its_commit(clone):
    code = clone.folder / "components" / "assign_patterns" / "run.py"
    code.write_text(code.read_text() + "\n\nUNUSED = 1\n")
    clone.commit("other code")
    arguments = ("-m", "modit.cli", "reproduce", f"modit-{DOMAIN}/1", "--run", RUN)
    text = clone.python(*arguments, "--into", str(clone.folder.parent / "older"))
    assert "checked out, because the present code of assign_patterns differs" in text
    assert "REPRODUCED: all" in text


def test_an_experiment_runs_what_it_changes_and_its_figures_are_compared(clone):
    clone.output("git", "revert", "--no-edit", "HEAD")
    # Other cases change every figure; more steps of training change none where the served query is the vote alone.
    clone.dvc("exp", "run", "-S", "presets.tiny.build_trajectories.cases=44")
    assert json.loads(clone.dvc("params", "diff", "--json"))["params.yaml"] == {
        "presets.tiny.build_trajectories.cases": {"old": 40, "new": 44, "diff": 4}
    }
    compared = json.loads(clone.dvc("metrics", "diff", "--json"))[f"{RUN}/verdict/metrics.json"]
    assert any("Joint@K" in name or "Same@K" in name for name in compared)
    assert "rev" in clone.dvc("plots", "diff", "--json", "-o", str(clone.folder.parent / "plots"))
