"""modit installed by name from a wheel, in an empty environment, outside of any checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.e2e.service import ROOT
from tests.unit.serve.bundles import Bundle
from tests.worlds import LENIENT, small_world

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    (found,) = folder.glob("modit-*.whl")
    return found


def without_checkout() -> dict[str, str]:
    """The environment variables, without those by which programs would find this checkout or its registry."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MLFLOW_TRACKING_URI")}


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", *arguments]
    subprocess.run(command, check=True, cwd=ROOT, env=without_checkout())


def install(folder: Path, requirement: str) -> Path:
    """An environment with a requirement and what it needs, and the folder of its programs."""
    venv.create(folder, with_pip=False)
    python = str(folder / "bin" / "python")
    if "[train]" in requirement:  # uv would fetch the build with CUDA
        pip("--python", python, "install", "-c", "constraints.txt", "torch")
    uv = [str(Path(sys.executable).parent / "uv"), "pip", "install", "--quiet", "--python", python]
    subprocess.run([*uv, "-c", "constraints.txt", requirement], check=True, cwd=ROOT, env=without_checkout())
    return folder / "bin"


def megabytes(programs: Path) -> float:
    return sum(path.stat().st_size for path in programs.parent.rglob("*") if path.is_file()) / 1e6


def run(command: list[str | Path], folder: Path, *, fails: bool = False) -> str:
    """What a command prints, in a folder of its own and without this checkout."""
    own = {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment = without_checkout() | own
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


def test_without_extras_it_says_what_to_install_for_what(wheel, tmp_path):
    programs = install(tmp_path / "env", str(wheel))
    assert "modit[serve]" in run([programs / "modit"], tmp_path)
    said = run([programs / "modit", "serve", "--registry", "sqlite:///none.db"], tmp_path, fails=True)
    assert "modit[serve]" in said and "Traceback" not in said
    said = run([programs / "python", "-c", "import modit; modit.train"], tmp_path, fails=True)
    assert "pip install 'modit[train]'" in said
    assert (next((tmp_path / "env").rglob("modit/py.typed"))).is_file()


def test_with_serve_it_answers_and_is_small(wheel, tmp_path, sampler_file):
    programs = install(tmp_path / "env", f"{wheel}[serve]")
    assert megabytes(programs) < 1_000
    bundle = Bundle(str(tmp_path / "run"), tmp_path / "scratch", sampler_file, ["drama"])
    code = f"import modit; print(len(modit.load({bundle.run!r}).query(['item-1', 'item-2'], k=7)))"
    assert run([programs / "python", "-c", code], tmp_path) == "7\n"
    assert "--port" in run([programs / "modit", "serve", "--help"], tmp_path)


def test_with_train_it_goes_from_a_table_to_answers(wheel, tmp_path):
    programs = install(tmp_path / "env", f"{wheel}[train]")
    small_world(tmp_path / "world")
    (tmp_path / "notebook.py").write_text(
        f"""
import modit, pandas
items = pandas.read_parquet("world/items.parquet")
run = modit.train(items, domains=["popular"], run="runs/first", preset="tiny", overrides={LENIENT!r}, progress=False)
assert run.report.is_file() and run.verdict["domain"].tolist() == ["popular"], run.verdict
assert len(run.load("popular").query(items["item_id"][:3], k=5)) == 5
registered = modit.load("models:/modit-popular/1", registry="sqlite:///runs/.registry/mlflow.db")
assert len(registered.query(items["item_id"][:3])) == 10
print("answered")
"""
    )
    assert "answered" in run([programs / "python", "notebook.py"], tmp_path)
