"""A registered run is run again from its record and the remote alone, and what differs is named."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from modit.core.artifacts import ArtifactStore
from modit.core.errors import ConfigError, ModitError, VersionError
from modit.core.key import catalogue_parts
from modit.core.storage import Storage
from modit.core.window import WindowLedger
from modit.release.versioning.code_state import CodeState
from modit.release.versioning.record import Record, record_of
from modit.release.versioning.reproduce import changed_steps, checkout, compare, reproduce, reproduction_text
from modit.release.versioning.snapshot import versions_record
from modit.release.versioning.version_store import TrackedFile, VersionStore

ROOT = Path(__file__).resolve().parents[2]
KNOWN = CodeState("1" * 40, False)


@pytest.fixture(scope="module")
def recorded(module_toy):
    """The folder of a toy run's record and versions; its run and its input have gone. DVC takes seconds."""
    toy = module_toy
    run, runner = toy.folder / "runs" / "a", toy.runner(toy.folder / "runs" / "a")
    toy.run_all(run)
    place = Storage(str(toy.folder / "catalogue"))
    raw = {name: TrackedFile(place, name, sha256) for name, sha256 in catalogue_parts(place.uri).items()}
    Storage(str(toy.folder / "windows")).write_json("2026-01-04.json", {"rows": 7})
    windows = Storage(str(toy.folder / "windows"))
    history = {"2026-01-04.json": TrackedFile(windows, "2026-01-04.json", windows.sha256("2026-01-04.json"))}
    store = VersionStore(toy.folder / "versions")
    versions = versions_record(store.track({"raw": raw, "history": history}), KNOWN)
    lineage = [
        runner.store.get(name, domain)
        for step in toy.registry.steps
        for name in step.outputs
        for domain in (runner.domains() if step.per_domain else [None])
    ]
    record = record_of(str(run), runner.config, runner.seed, lineage, versions, KNOWN)
    record.save(toy.folder / "record.json")
    shutil.rmtree(toy.folder / "runs")
    shutil.rmtree(toy.folder / "catalogue")
    return toy.folder


@pytest.fixture
def registered(toy, recorded, monkeypatch):
    """That record, with versions of the test's own."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests" / "pipeline"))
    shutil.copytree(recorded / "versions", toy.folder / "versions", symlinks=True)
    shutil.rmtree(toy.folder / "catalogue")
    return replace(Record.load(recorded / "record.json"), remote=str(toy.folder / "versions" / "remote"))


def found_catalogue(run: Path) -> str:
    return Storage(str(run)).read_json("run.json")["catalogue"]


def test_a_run_that_has_gone_is_reproduced_from_its_record_and_the_remote(toy, registered):
    reproduce(registered, toy.registry, ROOT, toy.folder / "again")
    found = reproduce(registered, toy.registry, ROOT, toy.folder / "again")  # takes the place of the first
    assert found.first_difference is None
    labels = [each.recorded.label for each in found.comparisons]
    assert (labels[0], labels[-1]) == ("numbers", "sum") and {"grown/even", "grown/odd"} < set(labels)
    assert "REPRODUCED: all" in reproduction_text(found)
    assert found.environment == {}
    ledger = WindowLedger(Storage(str(found.run)), found_catalogue(found.run))
    assert ledger.place.read_json("2026-01-04.json") == {"rows": 7}


def test_a_reproduction_judges_against_the_champions_of_its_time(toy, registered):
    store = VersionStore(toy.folder / "versions")
    (toy.folder / "champions" / "even").mkdir(parents=True)
    (toy.folder / "champions" / "even" / "champion.json").write_text("{}")
    place = Storage(str(toy.folder / "champions"))
    name = "even/champion.json"
    tracked = store.track({"champion": {name: TrackedFile(place, name, place.sha256(name))}})
    datasets = registered.versions["datasets"] | {"champion": asdict(tracked["champion"])}
    record = replace(registered, versions=registered.versions | {"datasets": datasets})
    run = reproduce(record, toy.registry, ROOT, toy.folder / "again").run
    variables = ArtifactStore(Storage(str(run)), toy.folder).get("sum").summary["variables"]
    assert variables == ["MODIT_CHAMPIONS", "MODIT_CODE_COMMIT"]


def test_a_reproduction_writes_into_no_store_that_production_names_in_the_environment(toy, registered, monkeypatch):
    monkeypatch.setenv("MODIT_FEATURES", "/the/store/of/production")
    run = reproduce(registered, toy.registry, ROOT, toy.folder / "again").run
    assert ArtifactStore(Storage(str(run)), toy.folder).get("sum").summary["variables"] == ["MODIT_CODE_COMMIT"]


def test_the_first_artifact_and_file_that_differ_are_named_in_pipeline_order(toy, registered):
    other = replace(registered, seed=registered.seed + 1, environment=registered.environment | {"torch": "1.0"})
    found = reproduce(other, toy.registry, ROOT, toy.folder / "again")
    text = reproduction_text(found)
    assert found.first_difference.recorded.kind == "grown" and found.first_difference.differing == ("first.json",)
    assert "NOT REPRODUCED" in text and "first: grown/even, first.json, written by grow" in text
    assert "torch: recorded 1.0, here" in text


def test_an_artifact_that_did_not_come_out_differs_in_all_its_files(toy, registered):
    assert [each.differing for each in compare(registered, toy.folder / "nothing")] == [
        tuple(sorted(entry.files)) for entry in registered.artifacts
    ]


def test_a_folder_with_something_else_in_it_is_left_alone(toy, registered):
    (toy.folder / "mine").mkdir()
    (toy.folder / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="holds something that no reproduction put there"):
        reproduce(registered, toy.registry, ROOT, toy.folder / "mine")
    assert (toy.folder / "mine" / "thesis.txt").read_text() == "years of work"


def test_data_that_the_remote_lost_is_an_error_and_not_another_result(toy, registered):
    shutil.rmtree(toy.folder / "versions" / "remote")
    with pytest.raises(VersionError, match="dvc pull"):
        reproduce(registered, toy.registry, ROOT, toy.folder / "again")


def test_a_step_that_fails_is_no_difference_but_an_error(toy, registered):
    broken = replace(registered, params=registered.params | {"pretrain": {"steps": 0}})
    with pytest.raises(ModitError, match="the run failed"):
        reproduce(broken, toy.registry, ROOT, toy.folder / "again")


def test_a_run_that_was_not_versioned_cannot_be_reproduced(toy, registered):
    with pytest.raises(ConfigError, match="snapshot.enabled is false"):
        reproduce(replace(registered, versions=versions_record(None, KNOWN)), toy.registry, ROOT, toy.folder / "again")


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """A repository of two commits; what ran is the first."""
    for text in ("first", "second"):
        (tmp_path / "git" / "src" / "modit").mkdir(parents=True, exist_ok=True)
        (tmp_path / "git" / "src" / "modit" / "__init__.py").write_text(f"'''{text}'''")
        if text == "first":
            git(tmp_path / "git", "init", "-q")
        git(tmp_path / "git", "add", "-A")
        git(tmp_path / "git", "commit", "-qm", text)
    return tmp_path / "git"


def test_another_commit_is_checked_out_beside_and_removed_afterwards(toy, registered, repository):
    first = git(repository, "rev-parse", "HEAD~1")
    changed = registered.code_parts | {"grow": {"toysteps.grow.run": "0"}}
    record = replace(registered, code=first, code_parts=changed)
    assert changed_steps(record, toy.registry) == ["grow"]
    with checkout(record, toy.registry, repository, toy.folder / "code") as (root, words):
        assert (root / "src" / "modit" / "__init__.py").read_text() == "'''first'''"
        assert first in words and "grow" in words
    assert not (toy.folder / "code").exists()
    assert git(repository, "worktree", "list").count("\n") == 0


def test_code_of_equal_digests_is_used_as_it_is_and_said(toy, registered, repository):
    for code in (git(repository, "rev-parse", "HEAD~1"), "unknown"):
        with checkout(replace(registered, code=code), toy.registry, repository, toy.folder / "code") as (root, words):
            assert root == repository and "has the digests of the recorded" in words


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("unknown", "git does not have"),
        ("1" * 40 + "+changes", "git does not have"),
        ("1" * 40, "is not in .*; fetch it"),
    ],
)
def test_code_that_cannot_be_had_is_refused_with_the_steps_that_differ(toy, registered, repository, code, why):
    record = replace(registered, code=code, code_parts=registered.code_parts | {"grow": {"toysteps.grow.run": "0"}})
    with pytest.raises(ConfigError, match=why) as refusal, checkout(record, toy.registry, repository, toy.folder / "c"):
        pass
    assert "the present code of grow differs" in str(refusal.value)


def test_the_command_line_takes_no_version_that_moves():
    command = [sys.executable, "-m", "modit.cli", "reproduce", "modit-popular/latest"]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}, capture_output=True, text=True
    )
    assert done.returncode == 1 and "such as modit-popular/3" in done.stderr
