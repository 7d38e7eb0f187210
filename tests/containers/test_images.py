"""Every image holds what its steps import and no more, runs as nobody, and changes nothing but what it is given."""

from __future__ import annotations

import json
import time

import pytest

from components.registry import REGISTRY
from infra.images import PACKAGES
from modit.core.step import IMAGES
from tests.containers.conftest import docker

pytestmark = pytest.mark.containers

# As a cluster runs them: no network here, nothing writable but /tmp, no rights.
STRICT = ("--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL")


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_imports_all_that_its_steps_need(images, image):
    modules = [REGISTRY.run_module(step) for step in REGISTRY.steps if step.image == image]
    docker("run", *STRICT, images.format(image=image), "python", "-c", f"import {', '.join(sorted(set(modules)))}")


@pytest.mark.parametrize("image", PACKAGES)
def test_an_image_runs_as_nobody_without_entrypoint_and_says_which_code_it_has(images, image):
    content = json.loads(docker("image", "inspect", images.format(image=image)).stdout)[0]["Config"]
    assert content["User"] == "10001" and not content["Entrypoint"]
    assert content["Labels"]["org.opencontainers.image.revision"].partition("+")[0].isalnum()
    assert docker("run", *STRICT, images.format(image=image), "id", "-u").stdout.strip() == "10001"


@pytest.mark.parametrize("image", IMAGES)
def test_the_command_of_every_step_image_is_the_one_of_everywhere(images, image):
    said = docker("run", *STRICT, images.format(image=image), "python", "-m", "components", "--help").stdout
    assert "Run one step of a run" in said


@pytest.mark.parametrize(
    ("image", "foreign"),
    [
        ("data", ["torch", "faiss", "mlflow", "feast", "airflow"]),
        ("train", ["mlflow", "feast", "great_expectations", "airflow"]),
        ("features", ["torch", "faiss", "onnx", "airflow"]),
        ("release", ["feast", "great_expectations", "airflow"]),
        ("serve", ["torch", "onnx", "dvc", "great_expectations", "airflow", "components"]),
        ("airflow", ["torch", "faiss", "numpy", "mlflow", "kfp"]),
    ],
)
def test_an_image_has_nothing_of_the_other_kinds(images, image, foreign):
    code = f"import importlib.util as u; print([n for n in {foreign} if u.find_spec(n)])"
    assert docker("run", *STRICT, images.format(image=image), "python", "-c", code).stdout.strip() == "[]"


def test_the_serve_image_starts_the_service_unless_others_could_ask_without_a_key(images):
    image = images.format(image="serve")
    registry = ("-e", "MLFLOW_TRACKING_URI=sqlite:////none/mlflow.db")
    refused = docker("run", *STRICT, *registry, image, check=False)
    assert refused.returncode == 1 and "set MODIT_API_KEYS" in refused.stderr
    name = docker("run", "--detach", *STRICT, *registry, "-e", "MODIT_API_KEYS=one", image).stdout.strip()
    try:
        code = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/healthz').read().decode())"
        deadline = time.monotonic() + 60
        while (asked := docker("exec", name, "python", "-c", code, check=False)).returncode:
            assert time.monotonic() < deadline, docker("logs", name, check=False).stderr
            time.sleep(1)
        assert json.loads(asked.stdout) == {"status": "alive"}
        assert "sqlite:////none/mlflow.db cannot be read: unable to open" in docker("logs", name).stderr
    finally:
        docker("rm", "--force", name)


@pytest.mark.parametrize("executor", ["docker", "kubernetes"])
def test_the_airflow_image_parses_the_dag(images, executor):
    code = "import runpy; print(*runpy.run_path('/app/dags/pipeline_dags.py')['dag'].task_dict, sep='\\n')"
    given = ("-e", f"MODIT_EXECUTOR={executor}", "-e", "AIRFLOW_HOME=/tmp/airflow")
    said = docker("run", *STRICT, *given, images.format(image="airflow"), "python", "-c", code).stdout
    assert {step.name for step in REGISTRY.steps} <= set(said.splitlines())
