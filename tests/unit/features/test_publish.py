"""Nights published one after the other, with SQLite and with Redis online."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from modit.core.errors import FeatureParityError, RunBusyError, UnknownItemError
from modit.core.locks import locked
from modit.features.changes import find_changes
from modit.features.lookup import OnlineItems
from modit.features.parity import differing, references, sample_of
from modit.features.rows import OfflineRows
from tests.unit.features.conftest import FIRST
from tests.unit.features.matrices import item_matrix

pytest.importorskip("feast", reason="needs the extra `features`")
from feast.infra.passthrough_provider import PassthroughProvider


def features_at(store, table, item_ids, at, known_at_the_time=True):
    """Feast's point-in-time join, a row for each item in the order asked for."""
    asked = pd.DataFrame({"item_id": item_ids, "event_timestamp": pd.Timestamp(at)})
    job = store.get_historical_features(asked, references(table), filter_by_created_timestamp=known_at_the_time)
    return job.to_df().set_index("item_id").reindex(list(item_ids)).reset_index()


def online_bits(store, item_ids) -> bytes:
    return OnlineItems(store.open()).embeddings(item_ids).tobytes()


def test_offline_and_online_and_the_matrix_have_the_same_bits(store, world):
    night = world.night(0)
    store.publish(night)
    feast, rows = store.open(), OfflineRows(store.folder)
    for table in night.tables:
        sample = sample_of(table, 25)
        ids = table.item_ids[sample]
        offline = features_at(feast, table, ids, datetime.now(UTC) + timedelta(seconds=1))
        online = feast.get_online_features(
            [f"{table.view}:{name}" for name in table.columns], {"item_id": ids.tolist()}
        )
        assert differing(table, sample, offline) == []
        assert differing(table, sample, online.to_dict()) == []
        assert not find_changes(table, rows.files(table.view))
    embedding = night.tables[0]
    assert item_matrix(rows, embedding.item_ids).tobytes() == embedding.columns["embedding"].tobytes()
    assert online_bits(store, embedding.item_ids.tolist()) == embedding.columns["embedding"].tobytes()


def test_a_difference_of_one_bit_is_found(sqlite_store, world):
    """Without this the test above could not fail."""
    night = world.night(0)
    sqlite_store.publish(night)
    table, rows = night.tables[0], OfflineRows(sqlite_store.folder)
    table.columns["embedding"].view(np.uint32)[7, 3] ^= 1
    assert find_changes(table, rows.files(table.view)).rows.tolist() == [7]
    sample = np.array([6, 7])
    online = sqlite_store.open().get_online_features(["item_embedding:embedding"], {"item_id": ["item 6", "item 7"]})
    assert differing(table, sample, online.to_dict()) == ["item 7"]


def test_publishing_again_writes_nothing(store, world):
    first = store.publish(world.night(0))
    assert set(first["written"].values()) == {40}
    files = sorted(path.name for path in store.folder.rglob("*.parquet"))
    again = store.publish(world.night(0))
    assert (set(again["written"].values()), set(again["online"].values())) == ({0}, {0})
    assert sorted(path.name for path in store.folder.rglob("*.parquet")) == files


def test_a_new_night_writes_what_has_changed_and_what_expires(store, world):
    store.publish(world.night(0))
    world.densities["item 3"] = 0.7
    facts = store.publish(world.night(1), overlap_hours=1)
    assert facts["written"] == {"item_embedding": 0, "item_activity": 40, "item_metric_drama": 1}
    assert facts["online"] == {"item_embedding": 0, "item_activity": 40, "item_metric_drama": 1}


def test_the_overlap_writes_the_last_hours_again(store, world):
    store.publish(world.night(0))
    world.densities["item 3"] = 0.7
    assert store.publish(world.night(1), overlap_hours=24)["online"]["item_metric_drama"] == 40
    world.densities["item 4"] = 0.8
    assert store.publish(world.night(2), overlap_hours=24)["online"]["item_metric_drama"] == 2


def test_new_items_appear_and_removed_ones_disappear_the_same_night(store, world):
    store.publish(world.night(0))
    gone, came = world.item_ids.pop(5), "item new"
    world.item_ids.append(came)
    facts = store.publish(world.night(1))
    assert facts["written"]["item_embedding"] == 1 and facts["removed"]["item_embedding"] == 1
    items = OnlineItems(store.open())
    assert np.array_equal(items.embeddings([came])[0], world.vector(came))
    with pytest.raises(UnknownItemError, match=rf"1 of 2 items are not in the feature store .*: {gone}$"):
        items.embeddings(["item 6", gone])
    with pytest.raises(UnknownItemError, match="1 items have no embedding"):
        item_matrix(OfflineRows(store.folder), np.array([gone]))
    before = item_matrix(OfflineRows(store.folder), np.array([gone]), as_of=FIRST)
    assert np.array_equal(before[0], world.vector(gone))


def test_a_night_that_only_removes_items_removes_them_online(store, world):
    store.publish(world.night(0))
    gone = [world.item_ids.pop(), world.item_ids.pop()]
    store.publish(world.night(1), overlap_hours=0)
    with pytest.raises(UnknownItemError, match="2 of 2"):
        OnlineItems(store.open()).embeddings(gone)


def test_an_item_that_comes_back_is_found_again(store, world):
    store.publish(world.night(0))
    gone = world.item_ids.pop()
    store.publish(world.night(1))
    world.item_ids.append(gone)
    store.publish(world.night(2))
    assert np.array_equal(OnlineItems(store.open()).embeddings([gone])[0], world.vector(gone))


def test_a_correction_of_the_same_night_replaces_what_is_online(store, world):
    """Feast's Redis store alone would drop it: the event time is not newer."""
    store.publish(world.night(0))
    world.vectors["item 2"] = -world.vector("item 2")
    assert store.publish(world.night(0))["written"]["item_embedding"] == 1
    assert online_bits(store, ["item 2"]) == world.vector("item 2").tobytes()


def test_a_night_older_than_the_newest_changes_nothing(store, world):
    store.publish(world.night(3))
    world.vectors["item 2"] = -world.vector("item 2")
    facts = store.publish(world.night(1))
    assert facts["status"] == "older" and facts["newest"] == (FIRST + timedelta(days=3)).isoformat()
    assert online_bits(store, ["item 2"]) == (-world.vector("item 2")).tobytes()


def test_an_online_store_that_lost_its_rows_is_filled_again(store, world):
    store.publish(world.night(0))
    feast = store.open()
    feast.teardown()  # online tables and registry
    facts = store.publish(world.night(0))
    assert set(facts["online"].values()) == {40}
    assert online_bits(store, ["item 2"]) == world.vector("item 2").tobytes()


def test_another_publication_into_the_same_store_is_named_by_its_run(sqlite_store, world, monkeypatch):
    monkeypatch.setattr("modit.features.publish._WAIT", 0.1)
    busy = pytest.raises(RunBusyError, match=r"is being published to by run /runs/other \(process \d+ .*waited 0.1 s")
    with locked(sqlite_store.folder, RunBusyError, holder="run /runs/other"), busy:
        sqlite_store.publish(world.night(0))
    assert not (sqlite_store.folder / "rows").exists()


def test_an_online_store_that_goes_on_answering_otherwise_ends_the_night(store, world, monkeypatch):
    real = PassthroughProvider.ingest_df

    def one_bit_less(self, view, frame, *arguments):
        if view.name == "item_embedding":
            place = frame.index[frame["item_id"] == "item 31"]
            frame.loc[place, "embedding"] = frame.loc[place, "embedding"].map(
                lambda values: (values.view(np.uint32) ^ 1).view(np.float32)
            )
        return real(self, view, frame, *arguments)

    monkeypatch.setattr(PassthroughProvider, "ingest_df", one_bit_less)
    with pytest.raises(FeatureParityError, match="item_embedding: 1 of 40 items differ online, first item 31$"):
        store.publish(world.night(0))


def test_a_row_created_later_never_leaks_into_an_earlier_window(sqlite_store, world):
    """A correction of night 0 that is written two days later: training as of the day between must not see it."""
    between = FIRST + timedelta(days=1)
    first = world.night(0)
    sqlite_store.publish(first, created=FIRST + timedelta(hours=1))
    old, ids = world.vector("item 2"), np.array(["item 2"])
    world.vectors["item 2"] = -old
    sqlite_store.publish(world.night(0), created=FIRST + timedelta(days=2))
    feast, table, rows = sqlite_store.open(), first.tables[0], OfflineRows(sqlite_store.folder)

    assert np.array_equal(features_at(feast, table, ids, between)["embedding"][0], old)
    assert np.array_equal(item_matrix(rows, ids, between, known_at=between)[0], old)
    # Later both see it, and Feast's default would have let it into the window: so the filter is what keeps it out.
    later = FIRST + timedelta(days=3)
    assert np.array_equal(features_at(feast, table, ids, later)["embedding"][0], -old)
    assert np.array_equal(item_matrix(rows, ids, later, known_at=later)[0], -old)
    leaking = features_at(feast, table, ids, between, known_at_the_time=False)
    assert np.array_equal(leaking["embedding"][0], -old)
    # Nor does a night that is true from a later day on, though it is known early.
    world.vectors["item 2"] = np.roll(old, 1)
    sqlite_store.publish(world.night(4), created=FIRST + timedelta(days=2))
    assert np.array_equal(features_at(sqlite_store.open(), table, ids, later)["embedding"][0], -old)
    assert np.array_equal(item_matrix(rows, ids, later)[0], -old)
    assert np.array_equal(item_matrix(rows, ids)[0], np.roll(old, 1))


def test_activity_older_than_its_time_to_live_is_not_joined(sqlite_store, world):
    night = world.night(0)
    sqlite_store.publish(night, created=FIRST)
    feast, ids = sqlite_store.open(), np.array(["item 7"])
    assert features_at(feast, night.tables[1], ids, FIRST + timedelta(days=6))["interactions"][0] == 7
    expired = features_at(feast, night.tables[1], ids, FIRST + timedelta(days=8))
    assert expired["interactions"].isna().all()


def test_looking_up_nothing_or_nobody_is_refused_by_name(sqlite_store, world):
    sqlite_store.publish(world.night(0))
    items = OnlineItems(sqlite_store.open())
    with pytest.raises(UnknownItemError, match="no item id is given"):
        items.embeddings([])
    with pytest.raises(UnknownItemError, match="6 of 7 items are not in the feature store .*: a, b, c, d, e, ..."):
        items.embeddings(["item 1", *"abcdef"])


def test_seeds_come_in_the_order_asked_for_with_repeats(store, world):
    store.publish(world.night(0))
    asked = ["item 9", "item 2", "item 9", "item 30"]
    found = OnlineItems(store.open()).embeddings(asked)
    assert found.dtype == np.float32
    assert np.array_equal(found, np.stack([world.vector(each) for each in asked]))


def test_each_model_version_has_a_service_and_earlier_ones_stay(sqlite_store, world):
    for number in (0, 1):
        sqlite_store.publish(world.night(number))
    services = {each.name: each for each in sqlite_store.open().list_feature_services()}
    assert len(services) == 2
    assert {each.tags["run_uri"] for each in services.values()} == {"/runs/run-0", "/runs/run-1"}
    for service in services.values():
        assert [each.name for each in service.feature_view_projections] == ["item_embedding", "item_metric_drama"]
    answer = sqlite_store.open().get_online_features(service, {"item_id": ["item 5"]}).to_dict()
    assert (answer["pattern"], answer["density"]) == ([1], [pytest.approx(0.1)])


def test_published_rows_are_timed_and_never_rewritten(sqlite_store, world):
    sqlite_store.publish(world.night(0), created=FIRST + timedelta(hours=2))
    file = OfflineRows(sqlite_store.folder).files("item_embedding")[0]
    assert (file.event, file.created) == (FIRST, FIRST + timedelta(hours=2))
    batch = next(file.batches())
    assert set(batch["event_timestamp"].to_pylist()) == {FIRST}
    assert set(batch["created_timestamp"].to_pylist()) == {FIRST + timedelta(hours=2)}
    before = file.path.stat().st_mtime_ns
    world.densities["item 1"] = 0.9
    time.sleep(0.01)
    sqlite_store.publish(world.night(1))
    assert file.path.stat().st_mtime_ns == before
