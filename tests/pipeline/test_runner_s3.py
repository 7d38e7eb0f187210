"""A run on an S3 address behaves as a local one: same digests, skipping, reuse and resume."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from toycommand import command

from modit.core.errors import ArtifactError, ConfigError
from modit.core.storage import Storage

BUCKET = "bucket"


def names(s3, prefix):
    return [entry["Key"] for entry in s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]


def test_a_remote_run_has_the_digests_of_a_local_one_and_is_cached_when_repeated(toy, s3):
    run, local = f"s3://{BUCKET}/runs/a", toy.folder / "runs" / "a"
    assert set(toy.run_all(run).values()) == {"ran"}
    toy.run_all(local)
    assert toy.digests(run) == toy.digests(local)
    assert set(toy.run_all(run).values()) == {"cached"}
    assert "runs/a/grown/odd/manifest.json" in names(s3, "runs/a/")


def test_a_second_remote_run_reuses_the_first(toy, s3):
    toy.run_all(f"s3://{BUCKET}/runs/a")
    shutil.rmtree(toy.folder / "cache")
    assert set(toy.run_all(f"s3://{BUCKET}/runs/b").values()) == {"reused"}
    assert toy.runner(f"s3://{BUCKET}/runs/b").store.get("sum").origin == f"s3://{BUCKET}/runs/a/sum"


def test_files_without_a_manifest_are_no_artifact_and_are_replaced(toy, s3):
    run = f"s3://{BUCKET}/runs/a"
    s3.put_object(Bucket=BUCKET, Key="runs/a/numbers/stale.txt", Body=b"left by a killed upload")
    assert toy.runner(run).why("read") == ["read would run because no output yet: numbers"]
    toy.runner(run).execute("read")
    assert names(s3, "runs/a/numbers/") == ["runs/a/numbers/manifest.json", "runs/a/numbers/numbers.txt"]


def test_a_killed_step_resumes_from_scratch_with_the_same_digests(toy, s3):
    run, undisturbed = f"s3://{BUCKET}/runs/a", toy.folder / "elsewhere" / "b"
    toy.run_all(undisturbed)
    for step in ("read", "divide"):
        toy.runner(run).execute(step)
    with command(toy, run, "grow", "--domain", "odd", TOY_PAUSE="1", MODIT_CACHE=os.environ["MODIT_CACHE"]) as process:
        assert process.stdout.readline() == "paused\n", process.stderr.read()
        process.send_signal(signal.SIGKILL)
    assert names(s3, "runs/a/grown/") == []
    toy.run_all(run)
    assert toy.digests(run) == toy.digests(undisturbed)
    assert toy.runner(run).store.get("grown", "odd").summary == {"starts": 2}


def test_a_damaged_remote_file_is_named_when_it_is_read(toy, s3):
    run = f"s3://{BUCKET}/runs/a"
    toy.runner(run).execute("read")
    s3.put_object(Bucket=BUCKET, Key="runs/a/numbers/numbers.txt", Body=b"1 2 3 4 6\n")
    with pytest.raises(ArtifactError, match=f"s3://{BUCKET}/runs/a/numbers/numbers.txt is damaged"):
        toy.runner(run).execute("divide")


def test_run_json_on_s3_is_written_once(toy, s3):
    run = f"s3://{BUCKET}/runs/a"
    assert toy.runner(run, seed=5).run.create_json("run.json", {}) is False
    with pytest.raises(ConfigError, match="field seed is 5, --conf says 6"):
        toy.runner(run, seed=6)


@pytest.mark.parametrize("names_condition", [True, False])
def test_a_file_is_made_once_whether_or_not_the_store_says_which_condition_failed(s3, store, names_condition):
    store.names_condition = names_condition
    folder = Storage(f"s3://{BUCKET}/folder")
    assert [folder.create_json("one.json", {"writer": writer}) for writer in (1, 2)] == [True, False]
    assert folder.read_json("one.json") == {"writer": 1}


def test_a_store_that_is_writing_the_same_file_is_asked_again(s3, store):
    folder = Storage(f"s3://{BUCKET}/folder")
    store.conflicts = 2
    assert folder.create_json("one.json", {}) and store.conflicts == 0
    store.conflicts = 1
    assert not folder.create_json("one.json", {}) and store.conflicts == 0


def test_any_other_answer_of_the_store_is_an_error(s3, store):
    store.conflicts = 99
    with pytest.raises(OSError, match="another write goes on"):
        Storage(f"s3://{BUCKET}/folder").create_json("one.json", {})


def test_two_who_fetch_one_artifact_into_one_cache_at_once_both_get_it(toy, s3, monkeypatch):
    run = f"s3://{BUCKET}/runs/a"
    toy.runner(run).execute("read")
    shutil.rmtree(toy.folder / "cache")
    together, download = threading.Barrier(2), Storage.download

    def at_once(self, name, target):
        together.wait(timeout=30)  # both have begun: in containers they have the same process number, too
        download(self, name, target)

    monkeypatch.setattr(Storage, "download", at_once)
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda _: toy.runner(run).store.read("numbers"), range(2)))
    assert folders[0] == folders[1] and (folders[0] / "numbers.txt").is_file()
    assert [path.name for path in folders[0].parent.iterdir()] == [folders[0].name]
