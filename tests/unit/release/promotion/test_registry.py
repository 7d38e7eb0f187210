import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from modit.core.errors import ConfigError
from modit.release.model_registry.mlflow_registry import MlflowRegistry
from modit.release.model_registry.model_version import ALIAS, Submission, parse_version
from modit.release.model_registry.registry_access import open_registry, registry_uri, tracking_uri


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """One SQLite for all tests: MLflow needs seconds to make its tables. Tests use domains of their own."""
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def registry(database):
    return MlflowRegistry(f"sqlite:///{database}/mlflow.db", f"file://{database}/artifacts")


@pytest.fixture
def submit(tmp_path):
    files = tuple(tmp_path / name for name in ("sampler.onnx", "report.html", "verdict.json"))
    for path in files:
        path.write_text(path.name)

    def build(domain, verdict="PASS", sampler="1" * 64):
        digests = {"bundle": sampler, "sampler": sampler, "index": "2" * 64, "report": "3" * 64, "verdict": "4" * 64}
        return Submission(domain, verdict, "/runs/one", digests, {"item_holdout Joint@K": 0.5}, files)

    return build


def test_passed_version_is_challenger_with_digests_metrics_and_files(registry, submit):
    found = registry.register(submit("drama"))
    assert (found.model, found.version, found.status, found.alias) == ("modit-drama", 1, "passed", ALIAS)
    version = registry.client.get_model_version_by_alias("modit-drama", ALIAS)
    assert version.tags == {
        "domain": "drama",
        "run_uri": "/runs/one",
        "status": "passed",
        "bundle_digest": "1" * 64,
        "sampler_digest": "1" * 64,
        "index_digest": "2" * 64,
        "report_digest": "3" * 64,
        "verdict_digest": "4" * 64,
    }
    run = registry.client.get_run(version.run_id)
    assert run.data.metrics == {"item_holdout_Joint_at_k": 0.5}
    assert {f.path for f in registry.client.list_artifacts(version.run_id)} == {
        "model",
        "sampler.onnx",
        "report.html",
        "verdict.json",
    }


def test_registering_again_makes_no_second_version_or_run(registry, submit):
    first = registry.register(submit("crime"))
    assert registry.register(submit("crime")) == first
    assert len(registry.client.search_model_versions("name = 'modit-crime'")) == 1
    experiment = registry.client.get_experiment_by_name("modit").experiment_id
    assert len(registry.client.search_runs([experiment], "tags.domain = 'crime'")) == 1


def test_files_and_facts_of_a_version_that_is_there_are_brought_up_to_date(registry, submit):
    registry.register(submit("noir"))
    submission = replace(submit("noir"), facts={"code_commit": "new"})
    submission.files[-1].write_text("another verdict")
    assert registry.register(submission).version == 1
    version = registry.client.get_model_version("modit-noir", "1")
    assert version.tags["code_commit"] == "new"
    kept = registry.client.download_artifacts(version.run_id, "verdict.json")
    assert Path(kept).read_text() == "another verdict"


def test_a_version_without_a_record_is_named(registry, submit):
    registry.register(submit("anime"))
    for model, version in (("modit-anime", 1), ("modit-anime", 7), ("modit-nothing", 1)):
        with pytest.raises(ConfigError, match=f"{model} version {version} has no record.json in the registry"):
            registry.record(model, version)


def test_a_model_version_is_a_model_and_a_number_and_nothing_that_moves():
    assert parse_version("modit-popular/3") == parse_version("models:/modit-popular/3") == ("modit-popular", 3)
    for text in ("modit-popular", "modit-popular/latest", "models:/modit-popular@champion", "/3", ""):
        with pytest.raises(ConfigError, match="such as modit-popular/3"):
            parse_version(text)


def test_a_person_names_the_registry_by_the_run_or_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert registry_uri(str(tmp_path)) == f"sqlite:///{tmp_path.parent}/.registry/mlflow.db"
    with pytest.raises(ConfigError, match="Give --run"):
        registry_uri(None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://registry")
    assert registry_uri(None) == "http://registry"


def test_attempt_that_ended_before_the_version_was_made_goes_on_with_its_run(registry, submit, monkeypatch):
    def broken(*arguments, **options):
        raise ConnectionError("gone")

    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(registry.client, "create_model_version", broken)
        registry.register(submit("war"))
    assert registry.register(submit("war")).version == 1
    experiment = registry.client.get_experiment_by_name("modit").experiment_id
    assert len(registry.client.search_runs([experiment], "tags.domain = 'war'")) == 1


def test_another_bundle_or_run_is_another_version(registry, submit):
    assert registry.register(submit("comedy")).version == 1
    assert registry.register(submit("comedy", sampler="9" * 64)).version == 2
    assert registry.register(replace(submit("comedy"), run_uri="/runs/two")).version == 3


def test_rejected_version_has_no_alias_and_leaves_the_challenger_where_it_is(registry, submit):
    registry.register(submit("horror"))
    found = registry.register(submit("horror", "FAIL", sampler="9" * 64))
    assert (found.version, found.status, found.alias) == (2, "rejected", None)
    assert registry.client.get_model_version("modit-horror", "2").tags["status"] == "rejected"
    assert registry.client.get_registered_model("modit-horror").aliases == {ALIAS: 1}


def test_passed_version_that_is_held_back_has_no_alias_and_says_why(registry, submit):
    registry.register(submit("poetry"))
    held = replace(submit("poetry", sampler="9" * 64), held_back="a backfill never promotes")
    found = registry.register(held)
    assert (found.status, found.alias, found.held_back) == ("passed", None, "a backfill never promotes")
    assert registry.client.get_registered_model("modit-poetry").aliases == {ALIAS: 1}
    assert registry.client.get_model_version("modit-poetry", "2").tags["held_back"] == "a backfill never promotes"


def test_challenger_that_is_rejected_later_loses_the_alias(registry, submit):
    registry.register(submit("sport"))
    assert registry.register(submit("sport", "FAIL")).version == 1
    assert registry.client.get_registered_model("modit-sport").aliases == {}


def test_the_model_says_where_its_release_log_lies(registry, submit):
    registry.register(submit("opera"))
    assert registry.model_tags("opera") == {"release_log": "/runs/.releases/opera"}
    registry.register(replace(submit("opera"), run_uri="/elsewhere/two"))
    assert registry.model_tags("opera") == {"release_log": "/runs/.releases/opera"}


def test_records_are_kept_beside_the_runs_unless_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri("/runs/one") == tracking_uri("/runs/two") == "sqlite:////runs/.registry/mlflow.db"
    open_registry(str(tmp_path / "runs" / "one"))
    assert (tmp_path / "runs" / ".registry" / "mlflow.db").is_file()
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI is not set and run s3://bucket/one"):
        tracking_uri("s3://bucket/one")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://registry")
    assert tracking_uri("s3://bucket/one") == "http://registry"


def test_mlflow_is_imported_only_when_a_registry_is_opened():
    code = "import sys, modit.release.model_registry.registry_access; sys.exit('mlflow' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], check=False, env=environment).returncode == 0
