"""The runner skips what has not changed, says why, and never publishes a part of an artifact."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from toycommand import command

from modit.core.artifacts import seal
from modit.core.errors import ArtifactError, ConfigError, GraphError, RunBusyError
from modit.core.storage import Storage
from modit.core.workspace import Workspace
from modit.features.store import store_folder
from modit.release.model_registry.mlflow_registry import MlflowRegistry
from modit.release.model_registry.registry_access import tracking_uri

ROOT = Path(__file__).resolve().parents[2]


def test_every_step_runs_once_and_a_second_pass_runs_none(toy):
    run = toy.folder / "runs" / "a"
    assert set(toy.run_all(run).values()) == {"ran"}
    assert set(toy.run_all(run).values()) == {"cached"}
    assert json.loads((run / "sum" / "sum.json").read_text()) == {"even": 26, "odd": 39}


def test_equal_runs_apart_from_each_other_have_equal_digests(toy):
    toy.run_all(toy.folder / "here" / "a")
    toy.run_all(toy.folder / "there" / "b")
    assert toy.digests(toy.folder / "here" / "a") == toy.digests(toy.folder / "there" / "b")


def test_a_parameter_reruns_its_step_and_what_follows_and_no_other(toy):
    run = toy.folder / "runs" / "a"
    toy.run_all(run)
    (toy.folder / "params.yaml").write_text(
        (toy.folder / "params.yaml").read_text().replace("steps: 10}", "steps: 11}")
    )
    assert toy.runner(run).why("grow", "odd") == ["grow would run because params.pretrain.steps 10 -> 11"]
    statuses = toy.run_all(run)
    assert [name for name, status in statuses.items() if status == "ran"] == ["grow.even", "grow.odd", "total"]


def test_a_sealed_domain_is_not_written_to_and_what_is_unchanged_is_cached(toy):
    run = toy.folder / "runs" / "a"
    toy.run_all(run)
    seal(Storage(str(run)), "odd", "toy-odd version 1 was promoted from it")
    seal(Storage(str(run)), "odd", "something later")
    assert set(toy.run_all(run).values()) == {"cached"}
    before = toy.digests(run)
    for step, domain in (("grow", "odd"), ("read", None)):
        with pytest.raises(ConfigError, match="is sealed: toy-odd version 1 was promoted from it.*because forced"):
            toy.runner(run).execute(step, domain, force=True)
    assert toy.runner(run).execute("grow", "even", force=True).status == "ran"
    assert toy.digests(run) == before


def test_why_names_each_kind_of_reason(toy):
    run = toy.folder / "runs" / "a"
    assert toy.runner(run).why("read") == ["read would run because no output yet: numbers"]
    toy.run_all(run)
    assert toy.runner(run).why("read")[0].startswith("read: cached since 20")
    assert toy.runner(run).why("read", force=True) == ["read would run because forced"]
    (toy.folder / "catalogue" / "numbers.txt").write_text("1 2 3 4 6\n")
    assert toy.runner(run).why("read") == ["read would run because catalogue changed: numbers.txt"]
    toy.runner(run).execute("read")
    assert toy.runner(run).why("divide") == ["divide would run because input numbers changed"]


def test_only_a_changed_module_that_the_step_imports_reruns_it(toy, monkeypatch):
    packages = toy.folder / "packages"
    shutil.copytree(ROOT / "tests" / "pipeline" / "toysteps", packages / "toysteps")
    run = toy.folder / "runs" / "a"
    toy.run_all(run)
    import toysteps

    monkeypatch.setattr(toysteps.__spec__, "submodule_search_locations", [str(packages / "toysteps")])
    from modit.core.key import _source_of

    _source_of.cache_clear()
    assert "cached" in toy.runner(run).why("grow", "odd")[0]
    source = packages / "toysteps" / "grow" / "arithmetic.py"
    source.write_text("# a comment\n" + source.read_text())
    assert "cached" in toy.runner(run).why("grow", "odd")[0]
    source.write_text(source.read_text().replace("number + by", "by + number"))
    assert toy.runner(run).why("grow", "odd") == ["grow would run because code changed: toysteps.grow.arithmetic"]
    assert "cached" in toy.runner(run).why("divide")[0]
    _source_of.cache_clear()


def test_no_cache_runs_again_with_the_same_digest(toy):
    run = toy.folder / "runs" / "a"
    toy.run_all(run)
    before = toy.digests(run)
    assert toy.runner(run).execute("grow", "even", force=True).status == "ran"
    assert toy.digests(run) == before


def test_another_run_reuses_artifacts_of_equal_key_and_names_their_origin(toy):
    first, second = toy.folder / "runs" / "a", toy.folder / "runs" / "b"
    toy.run_all(first)
    assert set(toy.run_all(second).values()) == {"reused"}
    assert toy.digests(second) == toy.digests(first)
    assert toy.runner(second).store.get("sum").origin == str(first / "sum")
    shutil.rmtree(first)
    assert toy.runner(second).execute("total").status == "cached"


def test_a_step_that_changes_something_outside_runs_in_every_run_and_once_in_each(toy):
    steps = tuple(replace(step, reusable=step.name != "total") for step in toy.registry.steps)
    toy.registry = replace(toy.registry, steps=steps)
    first, second = toy.folder / "runs" / "a", toy.folder / "runs" / "b"
    toy.run_all(first)
    assert [name for name, status in toy.run_all(second).items() if status == "ran"] == ["total"]
    assert toy.run_all(second)["total"] == "cached"


def test_a_step_that_watches_a_folder_beside_the_run_runs_again_when_its_domain_has_a_new_file(toy):
    steps = tuple(replace(step, watches=(".log",) if step.name == "grow" else ()) for step in toy.registry.steps)
    toy.registry = replace(toy.registry, steps=steps)
    run, log = toy.folder / "runs" / "a", toy.folder / "runs" / ".log"
    toy.run_all(run)
    assert "ran" not in toy.run_all(run).values()
    (log / "odd").mkdir(parents=True)
    (log / "odd" / "00000001.json").write_text("{}")
    assert toy.runner(run).why("grow", "odd") == ["grow would run because folders beside the run changed: .log"]
    assert [name for name, status in toy.run_all(run).items() if status == "ran"] == ["grow.odd"]


def test_a_damaged_origin_is_not_reused(toy):
    first, second = toy.folder / "runs" / "a", toy.folder / "runs" / "b"
    toy.run_all(first)
    (first / "numbers" / "numbers.txt").write_text("9 9 9 9 9\n")
    assert toy.runner(second).execute("read").status == "ran"
    assert (second / "numbers" / "numbers.txt").read_text() == "1 2 3 4 5\n"


def test_another_seed_changes_what_is_random(toy):
    toy.run_all(toy.folder / "runs" / "a")
    toy.run_all(toy.folder / "runs" / "b", seed=4)
    a, b = toy.runner(toy.folder / "runs" / "a").store, toy.runner(toy.folder / "runs" / "b", seed=4).store
    assert a.get("grown", "odd").digest != b.get("grown", "odd").digest


def test_a_killed_step_leaves_no_artifact_and_a_rerun_gives_the_same_digests(toy):
    run, undisturbed = toy.folder / "runs" / "a", toy.folder / "elsewhere" / "b"
    toy.run_all(undisturbed)
    for step in ("read", "divide"):
        toy.runner(run).execute(step)
    with command(toy, run, "grow", "--domain", "odd", TOY_PAUSE="1") as process:
        assert process.stdout.readline() == "paused\n"
        process.send_signal(signal.SIGKILL)
    assert toy.runner(run).store.find("grown", "odd") is None
    toy.run_all(run)
    assert toy.digests(run) == toy.digests(undisturbed)
    # Scratch survived the kill, garbage in the output did not.
    assert toy.runner(run).store.get("grown", "odd").summary == {"starts": 2}
    assert not (run / ".work" / "grow.odd" / "scratch").exists()


def test_two_processes_cannot_run_one_task_at_once(toy):
    run = toy.folder / "runs" / "a"
    runner = toy.runner(run)
    with Workspace(runner.run, "read", None).locked(), pytest.raises(RunBusyError, match=str(os.getpid())):
        runner.execute("read")


def test_a_damaged_file_is_named_when_it_is_read(toy):
    run = toy.folder / "runs" / "a"
    toy.runner(run).execute("read")
    (run / "numbers" / "numbers.txt").write_text("1 2 3 4 6\n")
    with pytest.raises(ArtifactError, match="numbers/numbers.txt is damaged"):
        toy.runner(run).execute("divide")


def test_a_lost_file_makes_its_step_run_again(toy):
    run = toy.folder / "runs" / "a"
    toy.runner(run).execute("read")
    (run / "numbers" / "numbers.txt").unlink()
    assert toy.runner(run).why("read") == ["read would run because output numbers lacks files that its manifest lists"]
    assert toy.runner(run).execute("read").status == "ran"
    assert (run / "numbers" / "numbers.txt").exists()


@pytest.mark.parametrize(
    ("step", "domain", "message"),
    [
        ("grow", None, "give --domain, one of"),
        ("grow", "prime", "not eligible.*skipped: too few"),
        ("total", "odd", "runs once, for all domains"),
    ],
)
def test_a_wrong_domain_is_refused_with_those_allowed(toy, step, domain, message):
    run = toy.folder / "runs" / "a"
    toy.run_all(run)
    with pytest.raises(ConfigError, match=message):
        toy.runner(run).execute(step, domain)


def test_domains_of_the_run_limit_what_runs(toy):
    statuses = toy.run_all(toy.folder / "runs" / "a", domains=["odd"])
    assert "grow.odd" in statuses and "grow.even" not in statuses


def test_a_step_before_its_input_is_refused_by_name(toy):
    with pytest.raises(ArtifactError, match="the step that writes 'numbers' must run first"):
        toy.runner(toy.folder / "runs" / "a").execute("divide")


def test_an_unknown_step_is_refused_with_those_that_exist(toy):
    with pytest.raises(GraphError, match="known: read, divide"):
        toy.runner(toy.folder / "runs" / "a").execute("shrink")


def test_run_json_is_written_once_and_disagreement_names_the_field(toy):
    run = toy.folder / "runs" / "a"
    toy.runner(run, seed=5)
    assert json.loads((run / "run.json").read_text())["seed"] == 5
    with pytest.raises(ConfigError, match="field seed is 5, --conf says 6"):
        toy.runner(run, seed=6)


def test_the_last_line_of_the_command_is_small_json(toy):
    run = toy.folder / "runs" / "a"
    for step in ("read", "divide"):
        process = command(toy, run, step, "--conf", json.dumps(toy.conf))
        output, log = process.communicate(timeout=60)
        assert process.returncode == 0, log
    line = output.splitlines()[-1]
    result = json.loads(line)
    assert result["status"] == "ran" and result["domains"] == ["even", "odd"]
    assert set(result["outputs"]["parts"]) == {"uri", "digest"}
    assert len(line) < 1_000


def test_a_refusal_ends_with_status_3_and_one_line(toy):
    process = command(toy, toy.folder / "runs" / "a", "read")
    output, log = process.communicate(timeout=60)
    assert process.returncode == 3
    assert output == "" and "run.json is missing" in log and "Traceback" not in log


def test_a_step_cannot_read_a_section_that_it_does_not_declare(toy, monkeypatch):
    monkeypatch.setattr("toysteps.read.run.run", lambda context: context.params.pretrain)
    with pytest.raises(ConfigError, match="step 'read' does not declare the section 'pretrain'; declared: none"):
        toy.runner(toy.folder / "runs" / "a").execute("read")


def test_the_last_line_goes_into_a_file_too_where_one_is_named(toy, tmp_path):
    file = tmp_path / "return.json"
    process = command(toy, tmp_path / "run", "read", "--conf", json.dumps(toy.conf), "--result", str(file))
    said, _ = process.communicate(timeout=60)
    assert json.loads(file.read_text()) == json.loads(said.splitlines()[-1])


@pytest.mark.parametrize(
    ("service", "opens"),
    [
        ("registry", lambda run: tracking_uri(run)),
        ("registry", lambda run: MlflowRegistry(f"sqlite:///{run}/mlflow.db")),
        ("feature_store", lambda run: store_folder(run, "/catalogue")),
    ],
)
def test_a_step_that_opens_what_it_does_not_declare_is_refused_and_publishes_nothing(toy, monkeypatch, service, opens):
    monkeypatch.setattr("toysteps.read.run.run", lambda context: opens(context.run_uri))
    run = toy.folder / "runs" / "a"
    with pytest.raises(GraphError, match=f"'read' does not declare that it needs the {service}; declared: none"):
        toy.runner(run).execute("read")
    assert not (run / "numbers").exists()
    opens(str(run))  # a person may
