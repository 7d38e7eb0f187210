"""Curves in MLflow, over a real SQLite."""

import json
import subprocess
import sys

import pytest

from modit.release.model_registry.mlflow_registry import MlflowRegistry
from modit.training.tracking import TrackedStage, log_stages

CURVE = [{"step": 10, "loss": 1.5, "learning_rate": 0.1}, {"step": 20, "loss": 0.5, "learning_rate": 0.01}]


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracking")
    return MlflowRegistry(f"sqlite:///{folder}/mlflow.db", f"file://{folder}/artifacts")


@pytest.fixture
def read(tmp_path):
    def build(artifact="pretrained", domain="all", curve=CURVE, rounds=None):
        folder = tmp_path / artifact / domain
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "curve.json").write_text(json.dumps(curve))
        if rounds:
            (folder / "rounds.json").write_text(json.dumps({"rounds": rounds}))
        return TrackedStage.read(folder, artifact, domain, {"steps": 20, "rotate": 1.0})

    return build


@pytest.fixture
def log(registry):
    """Writes stages; gives how many were written and all runs of that pipeline run by (stage, domain)."""

    def write(run_uri, *stages):
        client, experiment = registry.client, registry.experiment_id()
        written = log_stages(client, experiment, run_uri, stages)
        runs = client.search_runs([experiment], f"tags.run_uri = '{run_uri}'")
        found = {(run.data.tags["stage"], run.data.tags["domain"]): run for run in runs}
        assert len(found) == len(runs)
        return written, found

    return write


def test_every_stage_and_domain_has_a_run_with_its_params_and_its_curve(registry, read, log):
    stages = [read(), read("finetuned", "drama"), read("finetuned", "crime")]
    written, runs = log("/runs/one", *stages)
    assert written == 3
    assert set(runs) == {("pretrained", "all"), ("finetuned", "drama"), ("finetuned", "crime")}
    run = runs["finetuned", "drama"]
    assert run.info.status == "FINISHED"
    assert run.data.params == {"steps": "20", "rotate": "1.0"}
    history = registry.client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(10, 1.5), (20, 0.5)]


def test_a_round_comes_with_its_validation(read, log):
    rounds = [{"round": 0, "kept": True, "joint": 0.1}, {"round": 1, "kept": False, "joint": 0.25, "pairs": 12}]
    _, runs = log("/runs/rounds", read("hppo_1", "drama", rounds=rounds))
    figures = runs["hppo_1", "drama"].data.metrics
    assert figures["validation.joint"] == 0.25
    assert figures["validation.kept"] == 0
    assert figures["validation.pairs"] == 12


def test_a_round_that_did_not_train_has_no_run(read, log):
    rounds = [{"round": 2, "kept": False, "skipped": "the chain had ended"}]
    written, runs = log("/runs/ended", read("hppo_2", "drama", curve=[], rounds=rounds))
    assert (written, runs) == (0, {})


def test_writing_again_changes_nothing_and_a_changed_stage_replaces_its_run(read, log):
    _, before = log("/runs/again", read(), read("finetuned", "drama"))
    written, after = log("/runs/again", read(), read("finetuned", "drama"))
    assert written == 0
    assert {key: run.info.run_id for key, run in after.items()} == {key: run.info.run_id for key, run in before.items()}
    written, changed = log("/runs/again", read(curve=CURVE[:1]), read("finetuned", "drama"))
    assert written == 1
    assert changed["pretrained", "all"].data.metrics["loss"] == 1.5
    assert changed["finetuned", "drama"].info.run_id == before["finetuned", "drama"].info.run_id


def test_an_attempt_that_ended_in_the_middle_is_written_anew(registry, read, log, monkeypatch):
    def broken(*arguments, **options):
        raise ConnectionError("gone")

    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(registry.client, "set_terminated", broken)
        log("/runs/broken", read())
    written, runs = log("/runs/broken", read())
    assert written == 1
    assert runs["pretrained", "all"].info.status == "FINISHED"


def test_long_curves_are_written_whole(registry, read, log):
    curve = [{"step": step, "loss": float(step)} for step in range(1, 1502)]
    _, runs = log("/runs/long", read(curve=curve))
    history = registry.client.get_metric_history(runs["pretrained", "all"].info.run_id, "loss")
    assert len(history) == 1501


def test_training_does_not_import_mlflow():
    modules = "modit.training.session, modit.training.tracking, modit.hppo.chain"
    code = f"import sys, {modules}; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
