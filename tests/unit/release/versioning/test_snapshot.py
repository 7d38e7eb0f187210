"""Which files make a dataset follows from what the run's manifests say."""

from __future__ import annotations

import pytest

from modit.core.artifacts import FileEntry, Manifest
from modit.core.errors import ArtifactError
from modit.core.storage import Storage
from modit.core.window import WindowLedger
from modit.release.versioning.snapshot import artifact_dataset, input_datasets, repository_place


def manifest(kind: str, domain: str | None = None, **parts: dict[str, str]) -> Manifest:
    return Manifest(kind, domain, (FileEntry("part.bin", f"of {kind}", 1),), "digest", {}, "step", "key", parts)


def test_the_input_is_the_files_that_were_read_and_the_windows_that_were_compared_with(tmp_path):
    lineage = [
        manifest("catalog", catalogue={"b": "2", "a": "1"}, history={"2026-01-04.json": "3"}),
        manifest("patterns"),
    ]
    found = input_datasets(str(tmp_path / "run"), str(tmp_path / "logs"), lineage)
    assert {name: source.sha256 for name, source in found["raw"].items()} == {"a": "1", "b": "2"}
    assert found["raw"]["a"].place.uri == str(tmp_path / "logs")
    (history,) = found["history"].values()
    ledger = WindowLedger(Storage(str(tmp_path / "run")), str(tmp_path / "logs"))
    assert (history.place.uri, history.sha256) == (ledger.place.uri, "3")
    assert "history" not in input_datasets("/runs/a", "/logs", [manifest("catalog", catalogue={"a": "1"})])


def test_input_of_which_steps_say_different_things_or_nothing_is_refused():
    with pytest.raises(ArtifactError, match="/logs/a changed between steps of this run"):
        input_datasets("/runs/a", "/logs", [manifest(kind, catalogue={"a": kind}) for kind in ("catalog", "other")])
    with pytest.raises(ArtifactError, match="no step of this run noted which files of /logs it read"):
        input_datasets("/runs/a", "/logs", [manifest("catalog")])


def test_names_in_a_dataset_leave_out_what_there_is_only_one_of(tmp_path):
    lineage = [manifest("cases", "drama"), manifest("cases", "war"), manifest("report"), manifest("sampler", "war")]
    folders = {name: tmp_path / name for name in ("cases/drama", "cases/war", "report", "sampler/war")}
    assert list(artifact_dataset(("cases",), lineage, folders)) == ["drama/part.bin", "war/part.bin"]
    assert list(artifact_dataset(("report",), lineage, folders)) == ["part.bin"]
    bundle = artifact_dataset(("sampler", "report"), lineage, folders)
    assert list(bundle) == ["report/part.bin", "sampler/war/part.bin"]
    assert bundle["sampler/war/part.bin"].place.uri == str(tmp_path / "sampler" / "war")


def test_the_repository_is_beside_the_runs_and_local_also_when_they_are_not(tmp_path, monkeypatch):
    monkeypatch.setenv("MODIT_CACHE", str(tmp_path / "cache"))
    assert repository_place("/runs/a", "") == repository_place("/runs/b", "")
    folder, remote = repository_place("/runs/a", "")
    assert (str(folder), remote) == ("/runs/.versions", "/runs/.versions/remote")
    folder, remote = repository_place("s3://bucket/runs/a", "")
    assert folder.is_relative_to(tmp_path / "cache") and remote == "s3://bucket/runs/.versions/remote"
    assert repository_place("/runs/a", "s3://bucket/x")[1] == "s3://bucket/x"
