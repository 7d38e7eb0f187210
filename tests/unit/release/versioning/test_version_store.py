"""Versions are DVC's own: added once, pushed whole, fetched by their hash, by one process at a time."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from modit.core.errors import ArtifactError, ConfigError, LockedError, VersionError
from modit.core.storage import Storage, sha256_of_file
from modit.release.versioning.version_store import DatasetVersion, TrackedFile, VersionStore

CONTENT = {"items.parquet": "items", "interactions/day=1/part.parquet": "one", "interactions/day=2/part.parquet": "two"}

# Holds DVC's own lock of the folder in which it is started.
HOLD_DVC = (
    "import time, zc.lockfile; l = zc.lockfile.LockFile('.dvc/tmp/lock'); print('held', flush=True); time.sleep({})"
)


def write(folder: Path, content: dict[str, str]) -> dict[str, TrackedFile]:
    for name, text in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    place = Storage(str(folder))
    return {name: TrackedFile(place, name, sha256_of_file(folder / name)) for name in content}


def files(folder: Path) -> dict[str, bytes]:
    """All that a store keeps but DVC's own notes and the lock."""
    found = (path for path in folder.rglob("*") if path.is_file())
    kept = (path for path in found if not {"tmp", "site"} & set(path.relative_to(folder).parts))
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept if path.name not in (".lock", ".holder")}


@pytest.fixture
def raw(tmp_path):
    return write(tmp_path / "input", CONTENT)


def test_a_version_is_fetched_from_the_remote_by_what_its_record_says(tmp_path, raw):
    store = VersionStore(tmp_path / "versions")
    version = store.track({"raw": raw})["raw"]
    assert (version.files, version.bytes) == (3, sum(map(len, CONTENT.values())))
    assert version.md5.endswith(".dir")
    elsewhere = VersionStore(tmp_path / "elsewhere", str(tmp_path / "versions" / "remote"))
    fetched = elsewhere.fetch(version)
    assert {name: (fetched / name).read_text() for name in CONTENT} == CONTENT


def test_the_same_content_is_the_same_version_and_is_kept_once(tmp_path, raw):
    store = VersionStore(tmp_path / "versions")
    first, before = store.track({"raw": raw}), files(tmp_path / "versions")
    again = write(tmp_path / "copy", CONTENT)
    assert store.track({"raw": again}) == first
    assert files(tmp_path / "versions") == before


def test_of_a_window_that_moved_on_only_what_is_new_is_added(tmp_path, raw):
    store = VersionStore(tmp_path / "versions")
    first, before = store.track({"raw": raw})["raw"], files(tmp_path / "versions" / "remote")
    moved = {name: text for name, text in CONTENT.items() if "day=1" not in name} | {"interactions/day=3": "three"}
    second = store.track({"raw": write(tmp_path / "next", moved)})["raw"]
    assert second.md5 != first.md5
    new = files(tmp_path / "versions" / "remote").keys() - before.keys()
    assert len(new) == 2  # the new partition, and the list of files


def test_what_a_remote_lost_is_noticed_and_pushed_again(tmp_path, raw):
    store = VersionStore(tmp_path / "versions")
    first, before = store.track({"raw": raw}), files(tmp_path / "versions")
    lost = next(p for p in (tmp_path / "versions" / "remote").rglob("*") if p.is_file() and p.read_bytes() == b"two")
    lost.unlink()
    assert store.track({"raw": raw}) == first
    assert files(tmp_path / "versions") == before


def test_a_lost_cache_costs_nothing(tmp_path, raw):
    store = VersionStore(tmp_path / "versions")
    first, before = store.track({"raw": raw}), files(tmp_path / "versions")
    subprocess.run(["rm", "-r", str(tmp_path / "versions" / ".dvc" / "cache")], check=True)
    assert store.track({"raw": raw}) == first
    assert files(tmp_path / "versions") == before


def test_input_that_changed_while_the_run_went_on_is_refused_by_name(tmp_path, raw):
    (tmp_path / "input" / "items.parquet").write_text("other items")
    with pytest.raises(ArtifactError, match=r"input/items\.parquet changed while the run went on"):
        VersionStore(tmp_path / "versions").track({"raw": raw})
    assert not list((tmp_path / "versions" / "raw").glob("*.dvc"))


def test_who_waits_for_the_lock_gives_up_in_time_and_names_the_holder(tmp_path, raw):
    store = VersionStore(tmp_path / "versions", holder="run runs/tonight")
    waiting = VersionStore(tmp_path / "versions", wait=0.5)
    start = time.monotonic()
    with store._locked(), pytest.raises(LockedError, match=r"held by run runs/tonight \(process \d+ on .*waited 0.5 s"):
        waiting.track({"raw": raw})
    assert time.monotonic() - start < 5


def test_a_dvc_command_given_by_hand_is_waited_for(tmp_path, raw):
    folder = tmp_path / "versions"
    VersionStore(folder).track({"raw": raw})
    for seconds, wait in ((6, 60), (60, 0)):
        command = [sys.executable, "-c", HOLD_DVC.format(seconds)]
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout.readline() == "held\n"
            if wait:
                assert VersionStore(folder, wait=wait).track({"raw": raw})
            else:
                with pytest.raises(LockedError, match="another dvc command holds"):
                    VersionStore(folder, wait=wait).track({"raw": raw})
            holder.kill()


def test_a_remote_that_cannot_be_used_is_named(tmp_path, raw):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(VersionError, match=r"remote .*/file/remote cannot be read: .*Not a directory"):
        VersionStore(tmp_path / "versions", str(tmp_path / "file" / "remote")).track({"raw": raw})


def test_a_version_that_the_remote_does_not_have_is_an_error_with_what_dvc_says(tmp_path):
    version = DatasetVersion("raw/0123456789abcdef", "0123456789abcdef0123456789abcdef.dir", 1, 5)
    with pytest.raises(VersionError, match=r"(?s)dvc pull in .*versions \(remote .*\) failed: .*0123456789abcdef"):
        VersionStore(tmp_path / "versions").fetch(version)


def test_a_missing_dvc_is_named_with_the_remedy(tmp_path, raw):
    says = [sys.executable, "-c", "import sys; sys.exit('python: No module named dvc')"]
    with pytest.raises(ConfigError, match=r"install modit\[versioning\], or set snapshot.enabled to false"):
        VersionStore(tmp_path / "versions", command=says).track({"raw": raw})
