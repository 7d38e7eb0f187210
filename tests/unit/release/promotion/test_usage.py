"""Which runs have versions in use."""

from __future__ import annotations

import pytest

from modit.release.model_registry.mlflow_registry import MlflowRegistry
from modit.release.model_registry.model_version import Submission
from modit.release.model_registry.registry_access import runs_in_use


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    """A registry in which of four runs of two domains three have, or had, the challenger."""
    folder = tmp_path_factory.mktemp("registry")
    (folder / "sampler.onnx").write_text("sampler")
    registry = MlflowRegistry(f"sqlite:///{folder}/mlflow.db", f"file://{folder}/artifacts")
    for run, domain, verdict in (("1", "a", "PASS"), ("2", "a", "PASS"), ("3", "b", "PASS"), ("4", "b", "FAIL")):
        digests = dict.fromkeys(("bundle", "sampler", "index", "report", "verdict"), run * 64)
        registry.register(Submission(domain, verdict, f"/runs/{run}", digests, {}, (folder / "sampler.onnx",)))
    return f"sqlite:///{folder}/mlflow.db"


def test_runs_whose_versions_bear_an_alias_are_in_use(address, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert runs_in_use("/runs/9") == {"/runs/2", "/runs/3"}
    MlflowRegistry(address).client.set_registered_model_alias("modit-a", "champion", "1")
    assert runs_in_use("/runs/9") == {"/runs/1", "/runs/2", "/runs/3"}


def test_where_there_is_no_registry_yet_none_is_known_to_be(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert runs_in_use(str(tmp_path / "runs" / "one")) == set()


def test_a_registry_that_does_not_answer_says_nothing(monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with caplog.at_level("WARNING", logger="modit"):
        assert runs_in_use("/runs/9") is None
    assert "http://127.0.0.1:9 cannot be asked which versions are in use" in caplog.text
