"""`make demo-nights` for real: its first five nights (the sixth costs as much as three of them), and what each left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dags.demo_nights.__main__ import DemoNights, main
from dags.demo_nights.checks import NightResult, Observation, aliases, read_result
from dags.demo_nights.scenario import NEW_ITEMS, OVERRIDES, REMOVED_ITEMS, SCENARIO
from dags.demo_nights.table import night_table
from modit.core.errors import UnknownItemError
from modit.core.storage import Storage
from modit.features.lookup import OnlineItems
from modit.features.store import open_store
from modit.params import load_params
from modit.release.model_registry.registry_access import local_registry

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
NIGHTS = SCENARIO[:5]
FIRST, CHANGED, EMPTY, BAD, AGAIN = (night.name for night in NIGHTS)


@dataclass
class Nights:
    """The folder of the demo after its nights."""

    folder: Path
    status: int

    def result(self, name: str) -> NightResult:
        return read_result(str(self.folder / name))

    def seen(self, name: str) -> Observation:
        return Observation(**Storage(str(self.folder / "observed")).read_json(f"{name}.json"))

    def rows(self, name: str) -> dict:
        return self.result(name).outcome["tables"]["interactions"]


@pytest.fixture(scope="module")
def nights(tmp_path_factory) -> Nights:
    runs = tmp_path_factory.mktemp("runs")
    status = main(["--runs", str(runs), "--nights", str(len(NIGHTS))])
    return Nights(runs / "demo-nights", status)


def test_every_night_ends_as_the_story_says(nights):
    assert nights.status == 0
    assert [nights.result(night.name).outcome["outcome"] for night in NIGHTS] == [night.expected for night in NIGHTS]
    lines = (nights.folder / "nights.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in lines[2 : 2 + len(NIGHTS)]] == [night.name for night in NIGHTS]


def test_late_rows_are_read_and_counted_the_night_they_come(nights):
    assert nights.result(FIRST).outcome["late_rows"] == 0
    assert nights.result(CHANGED).outcome["late_rows"] > 100
    assert "timestamp_in_partition" not in nights.rows(CHANGED)["quarantined"]


def test_a_night_without_new_data_publishes_and_registers_nothing(nights):
    result = nights.result(EMPTY)
    assert "No new data" in result.outcome["reason"]
    assert (result.versions, result.verdict) == ([], "")
    assert nights.seen(EMPTY).aliases == nights.seen(CHANGED).aliases


def test_the_bad_night_is_refused_and_what_serves_stays(nights):
    result = nights.result(BAD)
    assert "null_in_interaction" in result.outcome["reason"] and "timestamp_in_range" in result.outcome["reason"]
    assert not any((nights.folder / BAD / name).exists() for name in ("catalog", "features", "index", "registration"))
    assert Path(result.data_docs).is_file()
    assert nights.seen(BAD).aliases == nights.seen(CHANGED).aliases


def test_the_repaired_night_sets_the_repeats_aside_and_registers_a_version(nights):
    assert nights.rows(AGAIN)["quarantined"]["duplicate_interaction"] > 100
    assert nights.result(AGAIN).outcome["window"] == nights.result(BAD).outcome["window"]
    assert nights.result(AGAIN).versions == ["modit-quality/3"]


def test_versions_that_pass_the_gate_of_params_yaml_become_the_challenger(nights):
    assert not any(name.startswith("gate") for name in OVERRIDES)
    assert load_params(ROOT / "params.yaml", "tiny").gate == load_params(ROOT / "params.yaml", "tiny", OVERRIDES).gate
    expected: list[str] = []
    for night in NIGHTS:
        (entry,) = nights.result(night.name).registration.values() or ({"alias": None},)
        expected = [f"modit-quality: challenger -> {entry['version']}"] if entry["alias"] else expected
        assert nights.seen(night.name).aliases == expected, night.name
    assert aliases(local_registry(str(nights.folder / "night"))) == expected
    assert expected, "no night passed: nothing was there that the bad night could have moved"


def test_new_items_are_in_index_and_online_store_that_night_and_removed_ones_in_neither(nights):
    seen, result = nights.seen(CHANGED), nights.result(CHANGED)
    assert (len(seen.new), len(seen.removed), seen.wrong) == (NEW_ITEMS, REMOVED_ITEMS, [])
    assert (result.published, result.removed) == (NEW_ITEMS, REMOVED_ITEMS)
    before, after = (
        set(np.load(nights.folder / name / "index" / "item_ids.npy").tolist()) for name in (FIRST, CHANGED)
    )
    assert (after - before, before - after) == (set(seen.new), set(seen.removed))
    (store,) = (nights.folder / ".features").iterdir()
    online = OnlineItems(open_store(store))
    assert online.embeddings(seen.new).shape == (NEW_ITEMS, 64)
    for item in seen.removed:
        with pytest.raises(UnknownItemError):
            online.embeddings([item])


def test_nights_run_again_come_from_the_cache_and_give_the_same_lines(nights, capfd):
    scenario = [night for night in NIGHTS if night.name in (FIRST, EMPTY, BAD)]
    lines = night_table(DemoNights(nights.folder).run(scenario), nights.folder).splitlines()[2:5]
    ran = [line for line in capfd.readouterr().out.splitlines() if "runs because" in line]
    assert all("modit.validate_logs" in line for line in ran)  # of the night that was refused
    before = (nights.folder / "nights.md").read_text().splitlines()
    assert {tuple(cell.strip() for cell in line.split("|")) for line in lines} <= {
        tuple(cell.strip() for cell in line.split("|")) for line in before
    }
