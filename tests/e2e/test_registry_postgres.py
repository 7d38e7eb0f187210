"""The registry on PostgreSQL: registered, promoted, served and rolled back as on SQLite, by its address alone."""

from __future__ import annotations

import time

import pytest

from modit.cli import main
from modit.release.gate.champion import named_champion
from modit.release.model_registry.mlflow_registry import MlflowRegistry
from tests.e2e.postgres import postgres
from tests.e2e.service import Service, serving
from tests.unit.release.world import World

pytestmark = pytest.mark.e2e


def wait_for_version(service: Service, domain: str, version: int) -> None:
    service.wait_for("/readyz")
    deadline = time.monotonic() + 60
    while service.call("/readyz")[1]["releases"].get(domain, {}).get("version") != version:
        assert time.monotonic() < deadline, service.call("/readyz")
        time.sleep(0.2)


def test_a_registry_on_postgresql_is_promoted_in_served_from_and_rolled_back(tmp_path, sampler_file, capsys):
    with postgres(tmp_path / "postgres") as uri:
        world = World(tmp_path, MlflowRegistry(uri, f"file://{tmp_path}/artifacts"), sampler_file)
        assert named_champion(uri, world.domain) is None
        first = world.promoted()
        with serving(tmp_path / "log", "--registry", uri, "--reload-seconds", "0.2") as service:
            wait_for_version(service, world.domain, first)
            second = world.promoted()
            wait_for_version(service, world.domain, second)
            order = ["rollback", world.domain, "--by", "ann", "--reason", "it answers badly", "--registry", uri]
            assert main(order) == 0
            wait_for_version(service, world.domain, first)
        named = named_champion(uri, world.domain)
        assert named is not None and named.version == first
        assert main(["releases", "--registry", uri]) == 0
        assert "rollback 1, champion 2 -> 1" in capsys.readouterr().out
