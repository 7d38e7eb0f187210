"""After a `kill -9` anywhere in the publication, doing it again loses nothing and doubles nothing."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from modit.features.online import OnlineItems
from modit.features.rows import OfflineRows
from tests.unit.features.conftest import Store

pytest.importorskip("feast", reason="needs the extra `features`")

ROOT = Path(__file__).resolve().parents[3]
PLACES = (
    "in the second file of rows",
    "in the first batch",
    "between batches",
    "between views",
    "in the registry",
    "before the last view",
)


@pytest.fixture(scope="module")
def crashed(tmp_path_factory) -> Path:
    """A store for each place, left as the crash there left it."""
    folder = tmp_path_factory.mktemp("crashed")
    command = [sys.executable, "-m", "tests.unit.features.crashing", str(folder)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    environment.pop("MODIT_REDIS", None)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("place", PLACES)
def test_publishing_again_after_a_kill_loses_and_doubles_nothing(crashed, world, place, monkeypatch):
    monkeypatch.delenv("MODIT_REDIS", raising=False)
    store = Store(crashed / place)
    night = world.night(0)
    store.publish(night, batch=10)
    rows = OfflineRows(store.folder)
    for table in night.tables:
        ids = [each for file in rows.files(table.view) for batch in file.batches() for each in batch[0].to_pylist()]
        assert sorted(ids) == sorted(world.item_ids), table.view
    found = OnlineItems(store.open()).embeddings(world.item_ids)
    assert found.tobytes() == night.tables[0].columns["embedding"].tobytes()
    with sqlite3.connect(store.folder / "online.db") as online:
        tables = [name for (name,) in online.execute("select name from sqlite_master where type = 'table'")]
        counts = {name: online.execute(f"select count(*) from '{name}'").fetchone()[0] for name in tables}
    assert sorted(counts.values()) == [40, 80, 80]  # a row for each feature of each item
    assert set(store.publish(night)["online"].values()) == {0}
