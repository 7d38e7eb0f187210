"""The Compose file demands what its settings give, opens nothing to the network, and gives nobody more than needed."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest
import yaml

from infra import compose_env

FILE = Path(compose_env.__file__).parent / "compose" / "compose.yaml"
DAGS = Path(__file__).resolve().parents[3] / "dags"
SERVICES = yaml.safe_load(FILE.read_text())["services"]
OURS = {name for name, service in SERVICES.items() if "MODIT_" in service["image"]}
# One-shot tasks, which end.
TASKS = {"airflow-database", "bucket", "databases"}


def test_every_variable_that_is_demanded_is_made_and_none_that_nobody_reads(tmp_path):
    text = FILE.read_text()
    demanded = set(re.findall(r"\$\{(\w+):\?", text))
    assert demanded == set(compose_env.settings(tmp_path))
    assert set(re.findall(r"\$\{(\w+)\}", text)) <= demanded


# What Airflow's processes read, and tasks get from them.
READERS = ("fields.py", "notices.py", "review.py", "executors/__init__.py")
HANDED_ON = {"MODIT_BATCH_PARTS", "MODIT_SHARDS", "MODIT_TIMEOUT_SCALE"}


def test_airflow_is_handed_what_its_dags_read():
    named = {name for file in READERS for name in re.findall(r'"(MODIT_\w+)"', (DAGS / file).read_text())}
    names = named - {"MODIT_TRAIN_NODES", "MODIT_TRAIN_GPUS"} | HANDED_ON  # those two are for Kubernetes alone
    assert len(names) >= 9
    for service in ("scheduler", "dag-processor", "triggerer"):
        assert names <= set(SERVICES[service]["environment"]), service


def test_secrets_are_new_each_time_and_long(tmp_path):
    first, second = compose_env.settings(tmp_path), compose_env.settings(tmp_path)
    differing = {name for name in first if first[name] != second[name]}
    assert differing == set(first) - {"MODIT_DATA", "MODIT_IMAGES", "DOCKER_GROUP"}
    assert all(len(first[name]) >= 40 for name in differing)


def test_settings_are_readable_by_their_owner_only_and_never_replaced(tmp_path):
    file = tmp_path / "env"
    assert compose_env.main(["--data", str(tmp_path), "--file", str(file)]) == 0
    before = file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert compose_env.main(["--data", str(tmp_path), "--file", str(file)]) == 1
    assert file.read_text() == before


def test_a_folder_of_catalogues_that_is_missing_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        compose_env.main(["--data", str(tmp_path / "none"), "--file", str(tmp_path / "env")])
    assert "no such folder" in capsys.readouterr().err and not (tmp_path / "env").exists()


def test_ports_are_open_on_this_host_only():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("name", sorted(OURS - TASKS))
def test_what_runs_our_images_has_no_rights_and_writes_nowhere_but_to_mounts(name):
    service = SERVICES[name]
    assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["restart"] == "unless-stopped"
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_only_the_scheduler_has_the_engines_socket():
    having = [name for name, service in SERVICES.items() if any("docker.sock" in v for v in service.get("volumes", []))]
    assert having == ["scheduler"]


def test_what_others_wait_for_says_when_it_answers():
    waited = {
        name
        for service in SERVICES.values()
        for name, on in (service.get("depends_on", {}) if isinstance(service.get("depends_on"), dict) else {}).items()
        if on["condition"] == "service_healthy"
    }
    assert len(waited) >= 4 and all(SERVICES[name]["healthcheck"]["test"][0] == "CMD" for name in waited)


def test_images_of_others_are_of_one_version():
    defaults = [re.search(r":-(.+?)\}$", SERVICES[name]["image"])[1] for name in set(SERVICES) - OURS]
    assert all(":" in image and not image.endswith("latest") for image in defaults)
