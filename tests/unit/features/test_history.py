"""Many nights: what was true in each stays known, and what a night reads stays bounded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from modit.core.errors import FeatureParityError, UnknownItemError
from modit.features.changes import append_night, down_to_complete, find_changes
from modit.features.params import FeatureParams
from modit.features.rows import OfflineRows
from modit.features.tables import FeatureTable
from tests.unit.features.conftest import FIRST, World
from tests.unit.features.matrices import files_until, item_matrix

NIGHTS = 25
EXPIRING = {"item_activity"}


def instant(number: int) -> datetime:
    return FIRST + timedelta(days=number)


def write(rows: OfflineRows, tables: list[FeatureTable], number: int) -> None:
    for table in tables:
        written = instant(number) + timedelta(hours=2)
        append_night(rows, table, instant(number), written, table.view in EXPIRING)


@pytest.fixture
def nights(tmp_path) -> tuple[OfflineRows, list[list[FeatureTable]]]:
    """Nights in which items go, come, come back and change, and what each of them said."""
    rows, world, said, random = OfflineRows(tmp_path), World(), [], np.random.default_rng(3)
    for number in range(NIGHTS):
        for gone in random.choice(world.item_ids, 2, replace=False):
            world.item_ids.remove(gone)
        back = sorted({f"item {each}" for each in range(40)} - {*world.item_ids})
        world.item_ids += [f"new {number}", *random.choice(back, 1)]
        for moved in random.choice(world.item_ids, 3, replace=False):
            world.vectors[str(moved)] = -world.vector(str(moved))
        share = (0.1, 0.5, 1.0)[number % 3]  # of the densities, from few to all
        world.densities |= {each: random.random() for each in world.item_ids if random.random() < share}
        said.append(world.tables())
        write(rows, said[-1], number)
    return rows, said


def test_every_night_is_still_known_bit_for_bit(nights):
    rows, said = nights
    for number, tables in enumerate(said):
        for table in tables:
            files = down_to_complete(files_until(rows, table.view, instant(number)))
            assert not find_changes(table, files), (number, table)
        matrix = item_matrix(rows, tables[0].item_ids, instant(number), known_at=instant(number + 1))
        assert matrix.tobytes() == tables[0].columns["embedding"].tobytes()
        come = np.setdiff1d(said[-1][0].item_ids, tables[0].item_ids)
        if len(come):
            with pytest.raises(UnknownItemError, match=f"^{len(come)} items"):
                item_matrix(rows, come, instant(number))


def test_what_a_night_reads_does_not_grow(nights):
    rows, said = nights
    for number, tables in enumerate(said):
        for table in tables:
            files = down_to_complete(files_until(rows, table.view, instant(number)))
            assert files[-1].complete
            assert sum(file.count for file in files[:-1]) <= len(table), (number, table.view)
    embeddings = rows.files("item_embedding")
    assert 1 < sum(file.complete for file in embeddings) < len(embeddings) / 2


def test_doing_any_night_again_adds_nothing(tmp_path):
    rows, world = OfflineRows(tmp_path), World()
    for number in range(6):
        world.vectors["item 2"] = -world.vector("item 2")
        world.item_ids.pop(5)
        for _ in range(2):
            write(rows, world.tables(), number)
            assert {view: len(rows.files(view)) for view in EXPIRING | {"item_embedding"}} == {
                "item_activity": number + 1,
                "item_embedding": number + 1,
            }


def test_an_item_that_goes_while_nothing_is_published_for_weeks_goes_from_what_expires_too(tmp_path):
    rows, world = OfflineRows(tmp_path), World()
    write(rows, world.tables(), 0)
    gone = world.item_ids.pop(7)
    activity = world.tables()[1]
    changes = append_night(rows, activity, instant(21), instant(21), expires=True)
    assert (len(changes.rows), changes.removed.tolist()) == (39, [gone])


def test_rows_that_are_read_back_otherwise_end_the_night(tmp_path, monkeypatch):
    rows, table, real = OfflineRows(tmp_path), World().tables()[0], OfflineRows.append

    def one_bit_less(self, table, *arguments):
        vectors = table.columns["embedding"].copy()
        vectors.view(np.uint32)[39, 5] ^= 1
        return real(self, FeatureTable(table.view, table.item_ids, {"embedding": vectors}), *arguments)

    monkeypatch.setattr(OfflineRows, "append", one_bit_less)
    with pytest.raises(FeatureParityError, match="item_embedding: 1 of 40 items differ offline: item 39$"):
        append_night(rows, table, FIRST, FIRST)


def test_services_of_the_newest_runs_stay_and_of_those_in_use(sqlite_store, world):
    pytest.importorskip("feast", reason="needs the extra `features`")
    asked = []

    def in_use() -> set[str]:
        asked.append(1)
        return {"/runs/run-1"}

    for number in range(5):
        facts = sqlite_store.publish(world.night(number), in_use=in_use, services_kept=2)
        if number < 2:
            assert (facts["services_dropped"], asked) == ([], [])
    assert [name[:13] for name in facts["services_dropped"]] == ["drama__run_2_"]
    left = {each.tags["run_uri"] for each in sqlite_store.open().list_feature_services()}
    assert left == {"/runs/run-1", "/runs/run-3", "/runs/run-4"}
    # Where nobody can say what is in use, nothing is dropped.
    facts = sqlite_store.publish(world.night(5), in_use=lambda: None, services_kept=1)
    assert facts["services_dropped"] == [] and len(sqlite_store.open().list_feature_services()) == 4


def test_a_run_that_publishes_again_counts_as_new(sqlite_store, world):
    pytest.importorskip("feast", reason="needs the extra `features`")
    for run in ("a", "b", "a", "c"):
        sqlite_store.publish(world.night(0, run), services_kept=2)
    assert {each.tags["run_uri"] for each in sqlite_store.open().list_feature_services()} == {"/runs/a-0", "/runs/c-0"}


def test_by_default_a_month_of_nights_keeps_its_services():
    assert FeatureParams().services_kept == 30


def test_services_that_an_earlier_release_wrote_are_the_oldest():
    from modit.features.store import Published
    from modit.features.tables import Night

    before = Published("", ["drama"], {"old": {"domain": "drama", "run_uri": "/runs/old"}})
    after = before.with_night(Night(FIRST, "/runs/new", ["drama"], []), datetime.now(UTC))
    assert "old" not in after.with_newest_services(1, set).services
    assert len(after.with_newest_services(1, set).services) == 1
