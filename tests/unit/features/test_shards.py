"""Shards of a night, one after the other or at once, leave the store that one task leaves."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("feast", reason="needs the extra `features`")
import pyarrow.parquet as pq
from feast.infra.registry.registry import Registry

from modit.core.errors import RunBusyError, UnknownItemError
from modit.core.locks import locked_range
from modit.core.step import Shard
from modit.data.hashing import bucket_of
from modit.features.changes import find_changes
from modit.features.lookup import OnlineItems
from modit.features.parity import compare_online
from modit.features.rows import OfflineRows
from modit.features.tables import Night
from tests.unit.features.conftest import FIRST, Store, World
from tests.unit.features.crashing import BATCH, die_at, second_night
from tests.unit.features.matrices import item_matrix
from tests.unit.features.test_crash import rows_of

VIEWS = ("item_embedding", "item_activity", "item_metric_drama")


def share(night: Night, shard: Shard) -> Night:
    """What one shard publishes of a night."""
    rows = [np.flatnonzero(np.isin(bucket_of(table.item_ids), shard.buckets)) for table in night.tables]
    tables = [table.take(mine) for table, mine in zip(night.tables, rows, strict=True)]
    return replace(night, tables=tables, buckets=shard.buckets)


def publish(store: Store, night: Night, count: int) -> list[dict]:
    return [store.publish(share(night, shard), batch=BATCH) for shard in Shard.all_of(count)]


def assert_holds(store: Store, night: Night, gone: tuple[str, ...] = ()) -> None:
    """Offline and online, all items of all views are what the night says, bit for bit."""
    feast, rows = store.open(), OfflineRows(store.folder)
    for table in night.tables:
        assert not find_changes(table, rows.files(table.view)), table.view
        assert compare_online(feast, table, np.arange(len(table))) == [], table.view
    for item_id in gone:
        with pytest.raises(UnknownItemError):
            OnlineItems(feast).embeddings([item_id])


@pytest.fixture
def undisturbed(tmp_path, sqlite_store) -> Store:
    store = Store(tmp_path / "undisturbed")
    store.publish(World().night(0), batch=BATCH)
    store.publish(second_night(World()).night(1), batch=BATCH)
    return store


@pytest.mark.parametrize("count", [2, 7])
def test_the_store_has_the_rows_of_one_task_whatever_the_number_of_shards(undisturbed, tmp_path, count):
    store, first, second = Store(tmp_path / "shards"), World().night(0), second_night(World()).night(1)
    facts = publish(store, first, count)
    assert sum(each["written"]["item_embedding"] for each in facts) == 40
    publish(store, second, count)
    for view in VIEWS:
        assert rows_of(store, view) == rows_of(undisturbed, view), view
    assert_holds(store, second, gone=("item 5",))
    names = [{each.name for each in one.open().list_feature_services()} for one in (store, undisturbed)]
    assert names[0] == names[1]
    again = publish(store, second, count)
    assert {number for each in again for part in ("written", "online") for number in each[part].values()} == {0}


def test_the_number_of_shards_may_change_from_night_to_night(store, world):
    matrices, ids = [], list(world.item_ids)
    for number, count in enumerate((1, 3, 7, 2)):
        world.vectors[f"item {number}"] = -world.vector(f"item {number}")
        world.densities = {each: number + place / 100 for place, each in enumerate(ids)}
        gone = world.item_ids.pop(20)
        if number == 2:
            world.item_ids.append(ids[20])  # it comes back
        night = world.night(number)
        publish(store, night, count)
        assert_holds(store, night, gone=(gone,))
        matrices.append((night.as_of, night.tables[0].item_ids, night.tables[0].columns["embedding"]))
    for as_of, item_ids, vectors in matrices:
        assert item_matrix(OfflineRows(store.folder), item_ids, as_of).tobytes() == vectors.tobytes()


def test_shards_without_an_item_publish_nothing_and_harm_nothing(sqlite_store, world):
    world.item_ids = world.item_ids[:8]
    publish(sqlite_store, world.night(0), 10)
    assert_holds(sqlite_store, world.night(0))


def test_an_online_store_that_is_new_is_filled_by_any_number_of_shards(sqlite_store, world, monkeypatch):
    """From the notes alone: the nightly comparison is off."""
    monkeypatch.setattr("modit.features.publish.compare_online", lambda *_: [])
    publish(sqlite_store, world.night(0), 2)
    (sqlite_store.folder / "online.db").unlink()
    for note in sqlite_store.folder.glob("online-*.json"):
        note.unlink()
    world.vectors["item 9"] = -world.vector("item 9")
    publish(sqlite_store, world.night(1), 3)
    assert_holds(sqlite_store, world.night(1))
    assert set(publish(sqlite_store, world.night(1), 5)[0]["online"].values()) == {0}


def in_child(store: Store, night: Night, *where) -> int:
    """Publishes in another process, which may be told where to die; its id."""
    child = os.fork()
    if not child:
        if where:
            die_at(*where)
        store.publish(night, batch=BATCH)
        os._exit(0)
    return child


def exit_codes(children: list[int]) -> set[int]:
    return {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children}


def test_shards_that_publish_at_once_leave_the_same_store(store, undisturbed, world):
    for night in (world.night(0), second_night(World()).night(1)):
        children = [in_child(store, share(night, shard)) for shard in Shard.all_of(3)]
        assert exit_codes(children) == {0}
        assert_holds(store, night)
    for view in VIEWS:
        assert rows_of(store, view) == rows_of(undisturbed, view), view


@pytest.mark.parametrize(
    "where",
    [
        (pq.ParquetWriter, "write_batch", 2),
        (Registry, "apply_materialization", 2),
    ],
    ids=["in a file of rows", "before a view is noted"],
)
def test_a_shard_that_is_killed_and_repeated_loses_and_doubles_nothing(store, undisturbed, where, monkeypatch):
    """The nightly comparison would hide what the notes do not make good."""
    monkeypatch.setattr("modit.features.publish.compare_online", lambda *_: [])
    publish(store, World().night(0), 3)
    night, shards = second_night(World()).night(1), Shard.all_of(3)
    store.publish(share(night, shards[0]), batch=BATCH)
    assert exit_codes([in_child(store, share(night, shards[1]), *where)]) == {-signal.SIGKILL}
    store.publish(share(night, shards[2]), batch=BATCH)
    store.publish(share(night, shards[1]), batch=BATCH)
    for view in VIEWS:
        assert rows_of(store, view) == rows_of(undisturbed, view), view
    assert_holds(store, night, gone=("item 5",))


def test_who_publishes_the_same_items_waits_and_is_refused_at_last(sqlite_store, world, monkeypatch):
    monkeypatch.setattr("modit.features.publish._WAIT", 0.2)
    night, shards = world.night(0), Shard.all_of(2)
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        with locked_range(sqlite_store.folder / ".bucket_locks", shards[0].buckets, lambda: RunBusyError("held"), 0):
            os.write(ready[1], b"x")
            os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    assert sqlite_store.publish(share(night, shards[1]))["status"] == "published"
    with pytest.raises(RunBusyError, match="is being published to by another run"):
        sqlite_store.publish(share(night, shards[0]))
    os.write(done[1], b"x")
    assert exit_codes([child]) == {0}
    assert sqlite_store.publish(share(night, shards[0]))["status"] == "published"
    assert OfflineRows(sqlite_store.folder).files("item_embedding")[0].event == FIRST
