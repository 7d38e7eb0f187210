"""Under Airflow a domain that fails leaves the others to finish, and the run says so at its end."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path

import pytest

from dags.local_airflow import airflow_environment, run_dag
from dags.progress import Progress

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[2]

REGISTRY = """
from modit.core.registry import Pipeline, discover

REGISTRY = discover("components", "modit.params", (Pipeline("toy", ("sum",), "A toy."),))
"""
MAIN = """
import sys
from components.registry import REGISTRY
from modit.core.command import main

sys.exit(main(REGISTRY))
"""
DAG_FILE = """
import json
from airflow.sdk import DAG
from pathlib import Path
import dags.executors.process
dags.executors.process.REPOSITORY = Path(__file__).resolve().parents[1]
from dags.steps import REGISTRY, add_steps

CONF = json.dumps({"catalogue": str(Path(__file__).resolve().parents[1] / "catalogue"), "preset": "tiny"})
with DAG(dag_id="toy", schedule=None) as dag:
    add_steps(REGISTRY.of("toy"), str(Path(__file__).resolve().parents[1] / "run"), CONF)
"""


@pytest.fixture
def toy(tmp_path):
    """The toy steps of the pipeline tests as the package `components`, with a DAG of its own."""
    shutil.copytree(ROOT / "tests" / "pipeline" / "toysteps", tmp_path / "components")
    for file in (tmp_path / "components").rglob("*.py"):
        file.write_text(file.read_text().replace("toysteps", "components"))
    for name, text in (("registry.py", REGISTRY), ("__main__.py", MAIN), ("__init__.py", "")):
        (tmp_path / "components" / name).write_text(text)
    (tmp_path / "dagfolder").mkdir()
    (tmp_path / "dagfolder" / "toy.py").write_text(DAG_FILE)
    (tmp_path / "catalogue").mkdir()
    (tmp_path / "catalogue" / "numbers.txt").write_text("1\n2\n3\n4\n5\n")
    (tmp_path / "params.yaml").write_text("presets: {tiny: {}}\n")
    return tmp_path


@pytest.mark.parametrize(
    ("variable", "status", "reason"),
    [("TOY_REFUSES", "refused", "too few numbers"), ("TOY_KILLED", "failed", "ended with status -9")],
)
def test_the_other_domains_finish_and_the_run_fails(toy, variable, status, reason, monkeypatch):
    environment = airflow_environment(toy) | {
        "AIRFLOW_HOME": str(toy / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(toy / "dagfolder"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{toy}/airflow.db",
        "PYTHONPATH": os.pathsep.join(str(path) for path in (toy, ROOT / "src", ROOT)),
        variable: "odd",
    }
    monkeypatch.chdir(toy)
    out, err = io.StringIO(), io.StringIO()
    failed, log = run_dag("toy", {}, environment, Progress(out, err))
    assert failed, log.read_text()[-3000:]
    tasks = {" ".join(line.split()[:-3]): line.split()[-3] for line in out.getvalue().splitlines()}
    assert tasks == {"read": "ran", "divide": "ran", "grow even": "ran", "grow odd": status, "total": "ran"}
    assert status == "failed" or err.getvalue() == "  too few numbers\n"
    assert json.loads((toy / "run" / "sum" / "sum.json").read_text()).keys() == {"even"}
    assert f"the run has no result for domain odd: grow: {reason}" in log.read_text()
