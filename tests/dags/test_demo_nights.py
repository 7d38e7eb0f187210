"""The table of the demo's nights, and what it calls a departure from the scenario."""

from __future__ import annotations

import dataclasses
import re

import pytest

from dags.demo_nights.checks import NightResult, Observation, read_result
from dags.demo_nights.delivery import ItemChange
from dags.demo_nights.scenario import CHANGE_DAY, NEW_ITEMS, REMOVED_ITEMS, SCENARIO, WORLD
from dags.demo_nights.table import Ended, departures, night_table
from modit.core.errors import ArtifactError
from modit.data.demo import DemoFault, write_demo_world
from modit.data.demo.faults import FaultPlan

CHALLENGER = ["modit-quality: challenger -> 1"]


def ended(number: int, aliases: list[str], **changes) -> Ended:
    """A night of the scenario that ended as it must."""
    night = SCENARIO[number]
    outcome = {
        "outcome": night.expected,
        "reason": "Because.",
        "window": {"start": "2026-01-03", "end": str(night.end)},
        "tables": {"interactions": {"rows": 70, "quarantined": {"unknown_item": 3}}},
        "late_rows": 5,
        "warnings": [],
    }
    accepted = night.expected == "ACCEPTED"
    registration = {"quality": {"model": "modit-quality", "version": 1}, "popular": {"status": "skipped"}}
    result = NightResult(outcome, f"/runs/demo/{night.name}/validation/index.html")
    if accepted:
        result = dataclasses.replace(result, verdict="PASS", registration=registration, published=9, removed=2)
    fields = {"status": int(night.expected == "REFUSED"), "result": result, "seen": Observation("", aliases)} | changes
    return Ended(night, **fields)


def as_told() -> list[Ended]:
    return [ended(number, CHALLENGER) for number in range(len(SCENARIO))]


def test_nights_as_told_depart_nowhere():
    assert list(departures(as_told())) == []


@pytest.mark.parametrize(
    ("number", "changes", "sentence"),
    [
        (1, {"status": 1}, "2026-01-09: Airflow ended with status 1"),
        (3, {"status": 0}, "2026-01-11: Airflow ended with status 0"),
        (3, {"seen": Observation("", ["m: champion -> 2"])}, "2026-01-11: aliases were .* and are .*champion -> 2"),
        (2, {"result": ended(1, []).result}, "2026-01-10: outcome ACCEPTED, expected SKIPPED_NO_DATA"),
        (1, {"result": ended(2, []).result}, "2026-01-09: registered nothing"),
        (1, {"seen": Observation("", CHALLENGER, wrong=["i1 is removed and in the index"])}, "i1 is removed and in"),
    ],
)
def test_a_departure_names_the_night_and_what_was_found(number, changes, sentence):
    nights = as_told()
    nights[number] = ended(number, CHALLENGER, **changes)
    assert re.search(sentence, "; ".join(departures(nights)))


def test_the_table_has_a_line_a_night_and_addresses_below_the_folder(tmp_path):
    nights = as_told()
    nights[1] = ended(1, CHALLENGER, seen=Observation("", CHALLENGER, ["i7", "i8"], ["i1"]))
    lines = night_table(nights, "/runs/demo").splitlines()
    assert len({len(line) for line in lines[: 2 + len(SCENARIO)]}) == 1
    cells = [cell.strip() for cell in lines[3].split("|")[1:-1]]
    assert cells[0:2] == ["2026-01-09", "2026-01-03 to 2026-01-09"]
    assert cells[3:10] == ["70", "3 unknown_item", "5", "ACCEPTED", "Because.", "PASS", "modit-quality/1"]
    assert cells[10:] == [*CHALLENGER, "9 / 2", "2026-01-09/validation/index.html"]
    assert [cell.strip() for cell in lines[5].split("|")[9:13]] == ["-", "-", *CHALLENGER, "-"]
    assert lines[-1].startswith("Asked right after 2026-01-09: the new items, 2 (i7, i8, ...), must be in the index")


def test_a_run_that_ended_before_its_logs_were_judged_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="has neither an artifact validation nor refused/validate_logs"):
        read_result(str(tmp_path))


def test_the_world_of_the_story_can_have_its_faults_and_changes(tmp_path):
    write_demo_world(tmp_path / "world", WORLD)
    change = ItemChange.choose(tmp_path / "world", CHANGE_DAY, NEW_ITEMS, REMOVED_ITEMS)
    assert (len(change.new), len(change.removed)) == (NEW_ITEMS, REMOVED_ITEMS)
    for night in SCENARIO:
        assert FaultPlan(WORLD, [DemoFault.parse(text) for text in night.faults]).faults
