"""The step `snapshot` in a run: what it versions, that a kill loses nothing, and that S3 is a remote like any other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakerun import DOMAINS, PARAMS, fake_run, write_catalogue

from components.gate import STEP as GATE
from components.registry import REGISTRY
from components.snapshot import DATASETS
from modit.core.command import FAILED, main
from modit.core.errors import ArtifactError
from modit.release.versioning.version_store import DatasetVersion, VersionStore

ROOT = Path(__file__).resolve().parents[2]
BUCKET = "bucket"
# Stands for `python -m dvc`: says when it is at the place where the test wants to kill, and waits there.
PAUSING_DVC = """
import os, pathlib, subprocess, sys, time
def pause(here):
    if os.environ["PAUSE"] == f"{here} {sys.argv[1]}":
        pathlib.Path(os.environ["PAUSED"]).touch()
        time.sleep(60)
pause("before")
status = subprocess.call([sys.executable, "-m", "dvc", *sys.argv[1:]])
pause("after")
sys.exit(status)
"""
RUN_STEP = """
import sys
from components.__main__ import run
from modit.release.versioning.version_store import VersionStore
start, dvc = VersionStore.__init__, sys.argv.pop(1)
def patched(self, *arguments):
    start(self, *arguments, command=[sys.executable, dvc])
VersionStore.__init__ = patched
sys.exit(run())
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MODIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MODIT_CODE_COMMIT", "1" * 40)


@pytest.fixture
def catalogue(tmp_path):
    return write_catalogue(tmp_path / "world")


def versions(run: Path) -> dict:
    return json.loads((run / "versions" / "versions.json").read_text())


def kept(folder: Path) -> dict[str, bytes]:
    """What a repository keeps, without DVC's notes and the lock."""
    found = (path for path in folder.rglob("*") if path.is_file())
    own = (path for path in found if not {"tmp", "site"} & set(path.relative_to(folder).parts))
    return {str(path.relative_to(folder)): path.read_bytes() for path in own if path.name not in (".lock", ".holder")}


def test_it_comes_before_the_gate_and_reads_all_that_it_versions():
    assert ("snapshot", "gate") in REGISTRY.edges and "versions" in GATE.inputs
    for step, datasets in DATASETS.items():
        assert {name for names in datasets.values() for name in names} == set(REGISTRY.get(step).inputs)
    assert {"catalog", "cases", "sampler"} <= set(REGISTRY.get("snapshot").inputs)


def test_input_catalogue_cases_and_bundle_are_versioned_and_come_back_from_the_remote(tmp_path, catalogue):
    runner = fake_run(tmp_path / "runs" / "a", catalogue)
    assert runner.execute("snapshot").status == "ran"
    record = versions(tmp_path / "runs" / "a")
    assert (record["status"], record["code"]) == ("versioned", {"commit": "1" * 40, "changed": False})
    other = VersionStore(tmp_path / "other", str(tmp_path / "runs" / ".versions" / "remote"))
    found = {name: kept(other.fetch(DatasetVersion(**entry))) for name, entry in record["datasets"].items()}
    assert found["raw"] == {"items.parquet": b"items", "interactions/day.parquet": b"interactions"}
    assert found["catalog"] == {"content.txt": b"catalog None"}
    assert found["cases"] == {f"{domain}/content.txt": f"cases {domain}".encode() for domain in DOMAINS}
    samplers = {f"sampler/{domain}/content.txt": f"sampler {domain}".encode() for domain in DOMAINS}
    shared = {f"{name}/content.txt": f"{name} None".encode() for name in ("index", "report")}
    assert found["bundle"] == samplers | shared


def test_another_run_of_the_same_content_has_the_same_versions_and_adds_nothing(tmp_path, catalogue):
    runs = tmp_path / "runs"
    fake_run(runs / "a", catalogue).execute("snapshot")
    before = kept(runs / ".versions")
    assert fake_run(runs / "b", catalogue).execute("snapshot").status == "ran"
    contents = {(runs / name / "versions" / "versions.json").read_bytes() for name in "ab"}
    assert len(contents) == 1
    assert kept(runs / ".versions") == before


def test_input_that_changed_since_it_was_read_is_not_versioned_under_its_name(tmp_path, catalogue):
    runner = fake_run(tmp_path / "runs" / "a", catalogue)
    (catalogue / "items.parquet").write_bytes(b"others")
    with pytest.raises(ArtifactError, match=r"world/items\.parquet changed while the run went on"):
        runner.execute("snapshot")


def test_a_run_without_a_snapshot_says_so_and_needs_no_dvc(tmp_path, catalogue):
    runner = fake_run(tmp_path / "runs" / "a", catalogue, **{"snapshot.enabled": False})
    runner.execute("snapshot")
    record = versions(tmp_path / "runs" / "a")
    assert (record["status"], record["datasets"]) == ("disabled", {})
    assert "snapshot.enabled is false" in record["reason"]
    assert not (tmp_path / "runs" / ".versions").exists()


def test_a_snapshot_that_waited_in_vain_names_the_holder_and_may_be_tried_again(tmp_path, catalogue, capsys):
    fake_run(tmp_path / "runs" / "a", catalogue, **{"snapshot.lock_wait": 0.2})
    arguments = ["snapshot", "--run", str(tmp_path / "runs" / "a"), "--params", str(PARAMS)]
    with VersionStore(tmp_path / "runs" / ".versions", holder="run runs/other")._locked():
        assert main(REGISTRY, arguments) == FAILED
    assert "LockedError" in (said := capsys.readouterr().err) and "is held by run runs/other (process" in said
    assert main(REGISTRY, arguments) == 0


@pytest.mark.parametrize("place", ["before add", "after add", "before push", "after push"])
def test_a_killed_snapshot_loses_nothing_and_doubles_nothing_when_it_is_run_again(tmp_path, catalogue, place):
    fake_run(tmp_path / "undisturbed" / "a", catalogue).execute("snapshot")
    runs = tmp_path / "runs"
    fake_run(runs / "a", catalogue)
    (tmp_path / "dvc.py").write_text(PAUSING_DVC)
    command = [sys.executable, "-c", RUN_STEP, str(tmp_path / "dvc.py"), "snapshot", "--run", str(runs / "a")]
    environment = os.environ | {
        "PAUSE": place,
        "PAUSED": str(tmp_path / "paused"),
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
    }
    process = subprocess.Popen([*command, "--params", str(PARAMS)], env=environment, cwd=ROOT, start_new_session=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "paused").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (tmp_path / "paused").exists() and process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (runs / "a" / "versions").exists()
    assert fake_run(runs / "a", catalogue).execute("snapshot").status == "ran"
    assert versions(runs / "a") == versions(tmp_path / "undisturbed" / "a")
    assert kept(runs / ".versions") == kept(tmp_path / "undisturbed" / ".versions")


def names(s3, prefix: str) -> set[str]:
    return {entry["Key"] for entry in s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])}


def test_s3_is_a_remote_that_what_it_lost_is_pushed_to_again(tmp_path, catalogue, s3):
    remote = f"s3://{BUCKET}/versions"
    fake_run(tmp_path / "runs" / "a", catalogue, **{"snapshot.remote": remote}).execute("snapshot")
    record = versions(tmp_path / "runs" / "a")
    fetched = VersionStore(tmp_path / "other", remote).fetch(DatasetVersion(**record["datasets"]["raw"]))
    assert kept(fetched) == {"items.parquet": b"items", "interactions/day.parquet": b"interactions"}
    there = names(s3, "versions/")
    s3.delete_object(Bucket=BUCKET, Key=min(key for key in there if not key.endswith(".dir")))
    fake_run(tmp_path / "runs" / "b", catalogue, **{"snapshot.remote": remote}).execute("snapshot", force=True)
    assert names(s3, "versions/") == there


def test_a_run_on_s3_pushes_beside_the_runs_and_has_the_versions_of_a_local_one(tmp_path, catalogue, s3):
    fake_run(tmp_path / "runs" / "a", catalogue).execute("snapshot")
    remote = fake_run(f"s3://{BUCKET}/runs/a", catalogue)
    remote.execute("snapshot")
    assert (
        remote.store.get("versions").digest == fake_run(tmp_path / "runs" / "a", catalogue).store.get("versions").digest
    )
    local = {path[len("remote/") :] for path in kept(tmp_path / "runs" / ".versions") if path.startswith("remote/")}
    assert {key[len("runs/.versions/remote/") :] for key in names(s3, "runs/.versions/")} == local
