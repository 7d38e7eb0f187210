"""A service reads the registry without MLflow's client, and reads the same."""

from __future__ import annotations

import subprocess
import sys

import pytest

from modit.core.errors import ConfigError
from modit.release.model_registry.followed_registry import FollowedRegistry, followed_registry
from modit.release.model_registry.mlflow_registry import MlflowRegistry
from tests.unit.release.registry_content import content_of, register_some


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.db"


@pytest.fixture(scope="module")
def registry(address):
    registry = MlflowRegistry(address, f"file://{address.removeprefix('sqlite:///')}.artifacts")
    register_some(registry)
    return registry


def test_a_file_is_read_as_mlflows_client_reads_it(address, registry):
    followed = followed_registry(address)
    assert isinstance(followed, FollowedRegistry) and content_of(followed) == content_of(registry)


def test_what_was_deleted_is_not_read(address, registry):
    registry.client.delete_model_version("modit-western", "1")
    assert followed_registry(address).stored_versions("western") == registry.stored_versions("western") == []


def test_a_version_that_does_not_exist_is_named(address, registry):
    with pytest.raises(ConfigError, match="the registry has no modit-noir version 9"):
        followed_registry(address).version("noir", 9)


def test_what_is_written_goes_by_mlflows_client(address, registry):
    followed = followed_registry(address)
    followed.point_alias("noir", "previous", 1)
    assert followed.aliases("noir")["previous"] == registry.aliases("noir")["previous"] == 1


def test_reading_a_file_does_not_import_mlflow(address, registry):
    code = (
        "import sys; from modit.release.model_registry.followed_registry import followed_registry; "
        f"print(followed_registry({address!r}).domains(), 'mlflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['noir', 'western'] False"


@pytest.mark.parametrize(
    ("uri", "variable", "by_client"),
    [
        ("http://mlflow:5000", "", False),
        ("https://mlflow", "", False),
        ("https://mlflow", "MLFLOW_TRACKING_SERVER_CERT_PATH", True),
        ("http://mlflow:5000", "MLFLOW_TRACKING_AWS_SIGV4", True),
        ("http://user:password@mlflow:5000", "", True),
        ("postgresql+psycopg2://mlflow", "", True),
        ("databricks", "", True),
    ],
)
def test_what_only_mlflows_client_can_ask_for_is_left_to_it(uri, variable, by_client, monkeypatch, tmp_path):
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    if variable:
        monkeypatch.setenv(variable, "1")
    assert isinstance(followed_registry(uri), FollowedRegistry) is not by_client
