"""After a `kill -9` anywhere in a night's publication, readers get that night or the one before, and doing it again
loses nothing and doubles nothing. With SQLite, and with a real Redis."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("feast", reason="needs the extra `features`")

from modit.core.errors import UnknownItemError
from modit.features.lookup import OnlineItems
from modit.features.parity import compare_online
from modit.features.rows import OfflineRows
from tests.unit.features.conftest import Store, World
from tests.unit.features.crashing import BATCH, PLACES, second_night

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def crashed(request, tmp_path_factory) -> Path:
    """A store for each place, left as the crash there left it."""
    folder = tmp_path_factory.mktemp(f"crashed_{request.param}")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    environment.pop("MODIT_REDIS", None)
    if request.param == "redis":
        environment["MODIT_REDIS"] = request.getfixturevalue("redis_address")
    command = [sys.executable, "-m", "tests.unit.features.crashing", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    with pytest.MonkeyPatch.context() as variables:
        variables.delenv("MODIT_REDIS", raising=False)
        if request.param == "redis":
            variables.setenv("MODIT_REDIS", environment["MODIT_REDIS"])
        yield folder


def bits(items: OnlineItems, item_id: str) -> bytes | None:
    """What is online of an item; None if nothing."""
    try:
        return items.embeddings([item_id]).tobytes()
    except UnknownItemError:
        return None


def rows_of(store: Store, view: str) -> Counter:
    """Every row of a view without the time at which it was written, and how often it is there."""
    found: Counter = Counter()
    for file in OfflineRows(store.folder).files(view):
        for batch in file.batches():
            content = batch.drop_columns(["created_timestamp"])
            found.update(str(row) for row in content.to_pylist())
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Store:
    with pytest.MonkeyPatch.context() as variables:
        variables.delenv("MODIT_REDIS", raising=False)
        store = Store(tmp_path_factory.mktemp("undisturbed") / "store")
        store.publish(World().night(0))
        store.publish(second_night(World()).night(1))
    return store


@pytest.mark.parametrize("number", range(len(PLACES)), ids=list(PLACES))
def test_after_a_kill_readers_go_on_and_publishing_again_loses_and_doubles_nothing(
    crashed, undisturbed, number, monkeypatch
):
    store, before, after = Store(crashed / str(number)), World(), second_night(World())
    items = OnlineItems(store.open())
    for item_id in {*before.item_ids, *after.item_ids}:
        allowed = {world.vector(item_id).tobytes() if item_id in world.item_ids else None for world in (before, after)}
        assert bits(items, item_id) in allowed, item_id
    # What the crash left must be made good from the notes; the nightly comparison would hide that it is not.
    monkeypatch.setattr("modit.features.publish.compare_online", lambda *_: [])
    night = after.night(1)
    store.publish(night, batch=BATCH)
    for table in night.tables:
        assert rows_of(store, table.view) == rows_of(undisturbed, table.view), table.view
        assert compare_online(store.open(), table, np.arange(len(table))) == []
    assert bits(OnlineItems(store.open()), "item 5") is None
    again = store.publish(night)
    assert (set(again["written"].values()), set(again["online"].values())) == ({0}, {0})
