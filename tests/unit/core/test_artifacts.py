"""Readers of an artifact that is published meanwhile find the old one or the new one, or are told to try again."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from modit.core import artifacts
from modit.core.artifacts import ArtifactStore, Manifest, digest_of_files, list_files
from modit.core.errors import ArtifactChangedError, ArtifactError, TransientError
from modit.core.storage import Storage


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(artifacts, "_PAUSES", (0.0, 0.0, None))
    return ArtifactStore(Storage(str(tmp_path / "run")), tmp_path / "cache")


def publish(store: ArtifactStore, folder: Path, text: str) -> Manifest:
    folder.mkdir()
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text(text)
    files = list_files(folder)
    manifest = Manifest("thing", None, files, digest_of_files(files), {}, "step", text, {})
    store.write(folder, manifest)
    return manifest


def test_a_reader_finds_the_old_or_the_new_artifact_while_it_is_published_again_and_again(store, tmp_path):
    publish(store, tmp_path / "first", "0")
    done = threading.Event()

    def publish_often():
        for number in range(1, 60):
            publish(store, tmp_path / f"next{number}", str(number))
        done.set()

    writer = threading.Thread(target=publish_often)
    writer.start()
    while not done.is_set():
        manifest = store.get("thing")  # never missing: the folders are exchanged in one step
        assert manifest.key.isdecimal()
    writer.join()
    assert (store.read("thing") / "a.txt").read_text() == "59"


def test_a_reader_that_meets_a_change_reads_again(store, tmp_path, monkeypatch):
    publish(store, tmp_path / "one", "old")
    verify = artifacts.verify
    calls = []

    def published_meanwhile(folder, manifest, source=None):
        if not calls:
            calls.append(manifest.key)
            publish(store, tmp_path / "two", "new")
        verify(folder, manifest, source)

    monkeypatch.setattr(artifacts, "verify", published_meanwhile)
    assert (store.read("thing") / "a.txt").read_text() == "new" and calls == ["old"]


def test_what_changes_at_every_attempt_may_be_tried_again_later(store, tmp_path, monkeypatch):
    publish(store, tmp_path / "0", "0")

    def changes(folder, manifest, source=None):
        publish(store, tmp_path / f"x{manifest.key}", manifest.key + "0")
        raise ArtifactError("damaged")

    monkeypatch.setattr(artifacts, "verify", changes)
    with pytest.raises(ArtifactChangedError, match="was published again while it was read") as error:
        store.read("thing")
    assert isinstance(error.value, TransientError)


def test_a_damaged_file_is_refused_at_once(store, tmp_path):
    publish(store, tmp_path / "one", "old")
    (store.run.local / "thing" / "a.txt").write_text("x")
    with pytest.raises(ArtifactError, match=r"a\.txt is damaged") as error:
        store.read("thing")
    assert not isinstance(error.value, TransientError)
    (store.run.local / "thing" / "a.txt").unlink()
    with pytest.raises(ArtifactError, match=r"a\.txt is missing, though the manifest lists it"):
        store.read("thing")


def test_a_file_is_hashed_once_in_a_process_and_again_when_it_changed(store, tmp_path, monkeypatch):
    publish(store, tmp_path / "one", "old")
    hashed = []
    monkeypatch.setattr(artifacts, "sha256_of_file", lambda path: hashed.append(path.name) or "other")
    for _ in range(2):
        with pytest.raises(ArtifactError):
            store.read("thing")
    assert hashed == ["a.txt"]
