"""What lies in the catalogue of a demo on a night: what had come by then, and nothing else."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dags.demo_nights.delivery import ItemChange, deliver
from modit.core.errors import ConfigError
from modit.data.demo import DemoFault, DemoParameters, write_demo_world

WORLD = DemoParameters(items=5_000, days=5, sessions_per_item=0.2)
DAY = date(2026, 1, 4)


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "sound"
    write_demo_world(folder, WORLD)
    return folder


@pytest.fixture(scope="module")
def change(sound) -> ItemChange:
    return ItemChange.choose(sound, DAY, 30, 10)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def met(world: Path, *days: int) -> set[str]:
    files = [world / "interactions" / f"date=2026-01-0{day}" / "part.parquet" for day in days]
    return {item for file in files for item in pq.ParquetFile(file).read()["item_id"].to_pylist()}


def test_new_items_are_met_first_on_their_day_and_removed_ones_last_on_the_day_before(sound, change):
    assert (len(change.new), len(change.removed)) == (30, 10)
    assert set(change.new) <= met(sound, 4) - met(sound, 1, 2, 3)
    assert set(change.removed) <= met(sound, 3) - met(sound, 4, 5)
    assert ItemChange.choose(sound, DAY, 30, 10) == change


def test_items_are_those_of_the_night(sound, change, tmp_path):
    items = []
    for day in (4, 5):
        end = date(2026, 1, day)
        deliver(tmp_path / "catalogue", sound, end, change.absent(end))
        items.append(set(pq.read_table(tmp_path / "catalogue" / "items.parquet")["item_id"].to_pylist()))
    everything = set(pq.read_table(sound / "items.parquet")["item_id"].to_pylist())
    assert items == [everything - set(change.new), everything - set(change.removed)]


def test_partitions_come_day_by_day_and_late_files_with_the_day_of_their_arrival(sound, tmp_path):
    faulty = tmp_path / "world"
    write_demo_world(faulty, WORLD, [DemoFault.parse("late:2026-01-02")])
    deliver(tmp_path / "catalogue", faulty, date(2026, 1, 3), ())
    assert set(contents(tmp_path / "catalogue")) == {
        "items.parquet",
        "interactions/date=2026-01-01/part.parquet",
        "interactions/date=2026-01-02/part.parquet",
    }
    deliver(tmp_path / "catalogue", faulty, date(2026, 1, 4), ())
    assert "interactions/date=2026-01-03/late.parquet" in contents(tmp_path / "catalogue")


def test_an_earlier_night_is_delivered_again_as_it_was(sound, change, tmp_path):
    catalogue, end = tmp_path / "catalogue", date(2026, 1, 3)
    deliver(catalogue, sound, end, change.absent(end))
    before = contents(catalogue)
    deliver(catalogue, sound, date(2026, 1, 6), change.absent(date(2026, 1, 6)))
    assert contents(catalogue) != before
    deliver(catalogue, sound, end, change.absent(end))
    assert contents(catalogue) == before


def test_a_world_without_enough_such_items_is_refused_by_numbers(sound):
    with pytest.raises(ConfigError, match=r"items are first met on 2026-01-04, .*; needed: 9999 and 10"):
        ItemChange.choose(sound, DAY, 9_999, 10)
