"""Where the store lies, what is declared for it, and that Feast's own command line sees the same."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from google.protobuf.timestamp_pb2 import Timestamp

from modit.core.errors import ArtifactError, ConfigError
from modit.features.lookup import OnlineItems
from modit.features.rows import OfflineRows
from modit.features.store import declarations, environment, open_store, service_name, store_folder, write_config
from tests.unit.features.conftest import REPOSITORY

pytest.importorskip("feast", reason="needs the extra `features`")

from feast.repo_config import RegistryConfig  # noqa: E402

from modit.features.registry_file import AtomicRegistryStore  # noqa: E402


def test_nights_of_one_catalogue_share_a_store_beside_their_runs(tmp_path, monkeypatch):
    monkeypatch.delenv("MODIT_FEATURES", raising=False)
    first, second = (store_folder(str(tmp_path / "runs" / name), "/data/shop") for name in ("a", "b"))
    assert first == second
    assert first.parent == tmp_path / "runs" / ".features"
    assert store_folder(str(tmp_path / "runs" / "a"), "/other/shop") != first


def test_the_environment_says_where_the_store_lies_and_must_for_remote_runs(tmp_path, monkeypatch):
    monkeypatch.delenv("MODIT_FEATURES", raising=False)
    with pytest.raises(ConfigError, match="MODIT_FEATURES is not set and run memory://runs/a"):
        store_folder("memory://runs/a", "/data/shop")
    monkeypatch.setenv("MODIT_FEATURES", str(tmp_path))
    assert store_folder("memory://runs/a", "/data/shop") == tmp_path


def test_services_of_different_runs_and_domains_have_different_names():
    runs = ("/a/night-1", "/b/night-1", "s3://bucket/night-1")
    names = {service_name(domain, run) for run in runs for domain in ("drama", "quality")}
    assert len(names) == 6
    assert all(name.isidentifier() for name in names)


def config_of(folder) -> dict:
    folder.mkdir(exist_ok=True)
    write_config(REPOSITORY, folder)
    return yaml.safe_load((folder / "feature_store.yaml").read_text())


def test_redis_is_taken_online_where_its_address_is_given_and_the_address_is_in_no_file(tmp_path, monkeypatch):
    monkeypatch.delenv("MODIT_REDIS", raising=False)
    assert config_of(tmp_path)["online_store"]["type"] == "sqlite"
    monkeypatch.setenv("MODIT_REDIS", "cache:6379,password=secret,db=1")
    assert config_of(tmp_path)["online_store"]["type"] == "redis"
    assert "secret" not in (tmp_path / "feature_store.yaml").read_text()
    assert open_store(tmp_path).config.online_store.connection_string == "cache:6379,password=secret,db=1"
    monkeypatch.delenv("MODIT_REDIS")
    with pytest.raises(ConfigError, match="feature_store.yaml has its online store in Redis: set MODIT_REDIS to host"):
        open_store(tmp_path)


def test_a_store_that_is_mounted_elsewhere_is_read_there(sqlite_store, world, tmp_path):
    sqlite_store.publish(world.night(0))
    moved = sqlite_store.folder.rename(tmp_path / "mounted elsewhere")
    found = OnlineItems(open_store(moved)).embeddings(["item 3"])
    assert np.array_equal(found[0], world.vector("item 3"))


def test_a_folder_without_a_store_is_named(tmp_path):
    with pytest.raises(ConfigError, match=f"{tmp_path}/feature_store.yaml is missing"):
        open_store(tmp_path)


def test_stores_do_not_share_keys_of_one_redis(tmp_path):
    assert config_of(tmp_path / "a")["project"] != config_of(tmp_path / "b")["project"]


def test_an_unknown_placeholder_is_named(tmp_path):
    (tmp_path / "feature_store.yaml").write_text("project: ${NOBODY}\n")
    with pytest.raises(ConfigError, match="NOBODY.*placeholders are MODIT_FEATURES, MODIT_FEATURES_PROJECT"):
        write_config(tmp_path, tmp_path)


def test_a_strange_file_among_the_rows_is_refused_by_name(sqlite_store, world):
    sqlite_store.publish(world.night(0))
    (sqlite_store.folder / "rows" / "item_embedding" / "extra.parquet").write_bytes(b"")
    with pytest.raises(
        ArtifactError, match=r"extra.parquet: the name is not EVENT-CREATED\[-all\]\[-FIRST-LAST\].parquet"
    ):
        OfflineRows(sqlite_store.folder).files("item_embedding")


def store_of_registry(folder) -> AtomicRegistryStore:
    return AtomicRegistryStore(RegistryConfig(path="registry.db"), folder)


def test_a_crash_while_the_registry_is_written_leaves_the_old_one(sqlite_store, world):
    class Dying(SimpleNamespace):
        def SerializeToString(self):
            raise KeyboardInterrupt  # by now the file that is written to is open

    sqlite_store.publish(world.night(0))
    before = (sqlite_store.folder / "registry.db").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        store_of_registry(sqlite_store.folder).update_registry_proto(Dying(last_updated=Timestamp()))
    assert (sqlite_store.folder / "registry.db").read_bytes() == before


def test_reading_the_declarations_leaves_no_trace_in_the_process(sqlite_store, world, monkeypatch):
    sqlite_store.publish(world.night(0))
    monkeypatch.setitem(sys.modules, "entities", os)
    before = (Path.cwd(), list(sys.path), dict(os.environ))
    names = {each.name for each in declarations(REPOSITORY, sqlite_store.folder)}
    assert {"item", "item_embedding", "item_activity", "item_metric_drama", "item_embedding_rows"} <= names
    assert (Path.cwd(), list(sys.path), dict(os.environ)) == before
    assert sys.modules["entities"] is os
    assert not {"sources", "feature_views", "services"} & set(sys.modules)


def test_feasts_own_command_line_finds_what_was_applied(sqlite_store, world):
    sqlite_store.publish(world.night(0))
    command = [sys.executable, "-c", "from feast.cli.cli import cli; cli()", "-c", str(REPOSITORY), "plan"]
    source = str(REPOSITORY.parent / "src")
    variables = {**os.environ, **environment(sqlite_store.folder), "PYTHONPATH": source}
    result = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    # It updates when each was declared; nothing is unknown to the registry, or to the repository.
    assert "Updated feature view item_metric_drama" in result.stdout
    assert re.findall(r"^(?:Created|Deleted) (?!sqlite table).*", result.stdout, re.MULTILINE) == []
