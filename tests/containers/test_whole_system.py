"""The whole system on one Docker host, started as docs/one-host.md says, runs the DAG and answers."""

from __future__ import annotations

import pytest

from tests.containers.whole_system import running, wait_for
from tests.worlds import small_world

pytestmark = pytest.mark.containers


@pytest.fixture(scope="module")
def system(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("system")
    data = small_world(folder / "data" / "catalogue").parent
    for parent in (folder.parent, folder, data):
        parent.chmod(0o755)
    with running(images, data, folder) as started:
        yield started


@pytest.fixture(scope="module")
def state(system):
    return system.run_dag({"preset": "tiny", "run": "one"})


def test_the_dag_ends_in_registered_versions(system, state):
    assert state == "success"
    found = system.ask("MLFLOW_PORT", "/api/2.0/mlflow/registered-models/search")["registered_models"]
    assert {model["name"] for model in found} == {"modit-popular", "modit-quality"}
    versions = [version for model in found for version in model["latest_versions"]]
    assert all(version["source"].endswith("sampler.onnx") for version in versions)


def test_what_a_step_wrote_lies_in_the_object_store_and_its_features_in_redis(system, state):
    listing = system.compose("exec", "-T", "mlflow", "python", "-c", LIST).stdout
    assert "modit/runs/one/verdict/manifest.json" in listing
    assert int(system.compose("exec", "-T", "redis", "redis-cli", "dbsize").stdout.split()[-1]) > 1000


def test_nothing_of_modit_runs_as_root_or_writes_to_its_root_file_system(system, state):
    for service in ("airflow", "scheduler", "dag-processor", "triggerer", "mlflow", "serve"):
        assert system.compose("exec", "-T", service, "id", "-u").stdout.strip() == "10001", service
        assert system.compose("exec", "-T", service, "touch", "/app/x", check=False).returncode, service


def test_the_service_answers_from_the_version_that_the_alias_names(system, state):
    ready = wait_for(lambda: system.ask("SERVE_PORT", "/readyz"), 120)
    body = {"domain": next(iter(ready["releases"])), "seeds": {"item_ids": ["item-00000001", "item-00000002"]}, "k": 5}
    answer = system.ask("SERVE_PORT", "/v1/retrieve", body, token=system.settings["MODIT_API_KEYS"])
    assert len(answer["items"]) == 5


def test_prometheus_sees_the_run_and_the_service(system, state):
    def asked(query):
        return system.ask("PROMETHEUS_PORT", f"/api/v1/query?query={query}")["data"]["result"]

    def seen():
        found = {each["metric"]["job"]: each["value"][1] for each in asked("up")}
        if {found.get("modit-exporter"), found.get("modit-serve")} != {"1"} or not asked("modit_verdict"):
            raise ValueError(found)

    wait_for(seen, 120)


LIST = """
import s3fs
print(*s3fs.S3FileSystem().glob("modit/runs/one/*/manifest.json"), sep="\\n")
"""
