"""Faults of the demo world: each kind does what it says, hits nothing else, and nights come to what the guide says."""

from __future__ import annotations

import json
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from modit.cli import main
from modit.core.errors import ConfigError, ContractError
from modit.core.params import WindowParams
from modit.core.window import Days
from modit.data.demo import KINDS, DemoFault, DemoParameters, write_demo_world
from modit.data.demo.faults import UNKNOWN_ITEM, UNSET_CLOCK
from modit.data.nightly import Night, WindowValidator
from modit.data.params import ValidationParams

WORLD = DemoParameters(items=5_000, days=6, sessions_per_item=0.2)
BEFORE, DAY, AFTER = (date(2026, 1, number) for number in (3, 4, 5))


def write(folder: Path, *faults: str, parameters: DemoParameters = WORLD) -> Path:
    write_demo_world(folder, parameters, [DemoFault.parse(text) for text in faults])
    return folder


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("demo") / "sound")


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*.parquet"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def name(day: date, file: str = "part") -> str:
    return f"interactions/date={day}/{file}.parquet"


def rows(folder: Path, day: date, file: str = "part") -> list[tuple]:
    table = pq.ParquetFile(folder / name(day, file)).read()
    return list(zip(*(table[column].to_pylist() for column in table.column_names), strict=True))


def changed(sound: Path, faulty: Path) -> set[str]:
    before, after = contents(sound), contents(faulty)
    return {file for file in before | after if before.get(file) != after.get(file)}


def validate(
    source: Path, start: int, end: int, quarantine: Path, history: tuple = (), params: WindowParams | None = None
) -> Night:
    days = Days(date(2026, 1, start), date(2026, 1, 1) + timedelta(days=end - 1))
    (validation := quarantine / "validation").mkdir(parents=True, exist_ok=True)
    validator = WindowValidator(ValidationParams(), params or WindowParams(), days, history)
    return validator.run(source, quarantine, validation)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_faults_give_the_same_bytes_whatever_their_order(kind, tmp_path):
    first = write(tmp_path / "first", f"{kind}:{DAY}", f"duplicated:{BEFORE}")
    again = write(tmp_path / "again", f"duplicated:{BEFORE}", f"{kind}:{DAY}", f"{kind}:{DAY}")
    assert contents(first) == contents(again)
    assert (first / "world.json").read_bytes() == (again / "world.json").read_bytes()


def test_late_sessions_lie_in_the_partition_of_the_next_day_and_no_row_is_lost(sound, tmp_path):
    faulty = write(tmp_path / "world", f"late:{DAY}")
    assert changed(sound, faulty) == {name(DAY), name(AFTER, "late")}
    late, on_time, all_rows = rows(faulty, AFTER, "late"), rows(faulty, DAY), rows(sound, DAY)
    assert on_time == [row for row in all_rows if row not in set(late)]
    assert late == [row for row in all_rows if row not in set(on_time)]
    assert not {session for session, *_ in late} & {session for session, *_ in on_time}
    assert 0.03 * len(all_rows) < len(late) < 0.2 * len(all_rows)


def test_the_late_rows_of_the_last_day_come_after_the_world(sound, tmp_path):
    faulty = write(tmp_path / "world", "late:2026-01-06")
    assert {moment.date() for *_, moment in rows(faulty, date(2026, 1, 7), "late")} == {date(2026, 1, 6)}


def test_duplicated_rows_come_once_more_in_a_file_of_their_own(sound, tmp_path):
    faulty = write(tmp_path / "world", f"duplicated:{DAY}")
    assert changed(sound, faulty) == {name(DAY, "redelivery")}
    again, all_rows = rows(faulty, DAY, "redelivery"), rows(sound, DAY)
    assert set(again) <= set(all_rows)
    assert 0.1 * len(all_rows) < len(again) < 0.2 * len(all_rows)


def test_malformed_rows_lack_an_item_or_a_clock_or_name_an_unknown_item_and_the_others_are_as_they_were(
    sound, tmp_path
):
    faulty = write(tmp_path / "world", f"malformed:{DAY}")
    assert changed(sound, faulty) == {name(DAY)}
    pairs = list(zip(rows(sound, DAY), rows(faulty, DAY), strict=True))
    fates = Counter()
    for (session, item, moment), after in pairs:
        outcomes = {
            "no item": (session, None, moment),
            "no clock": (session, item, UNSET_CLOCK),
            "unknown": (session, UNKNOWN_ITEM, moment),
            "sound": (session, item, moment),
        }
        fates.update(fate for fate, row in outcomes.items() if row == after)
    assert sum(fates.values()) == len(pairs)
    shares = {fate: round(count / len(pairs), 1) for fate, count in fates.items()}
    assert shares == {"no item": 0.4, "no clock": 0.4, "unknown": 0.1, "sound": 0.1}


def test_drifting_rows_name_one_item_and_keep_session_and_time(sound, tmp_path):
    faulty = write(tmp_path / "world", f"drifting:{DAY}")
    assert changed(sound, faulty) == {name(DAY)}
    assert [(s, t) for s, _, t in rows(faulty, DAY)] == [(s, t) for s, _, t in rows(sound, DAY)]
    (item,) = {item for _, item, _ in rows(faulty, DAY)}
    assert item in {item for _, item, _ in rows(sound, DAY)}


def test_the_partition_of_a_missing_day_is_not_there(sound, tmp_path):
    faulty = write(tmp_path / "world", f"missing:{DAY}")
    assert changed(sound, faulty) == {name(DAY)}
    assert not (faulty / name(DAY)).parent.exists()
    there = json.loads((sound / "world.json").read_text())["interactions"]
    assert json.loads((faulty / "world.json").read_text())["interactions"] == there - len(rows(sound, DAY))


def test_a_day_may_have_several_faults_and_each_hits_the_rows_that_it_hits_alone(tmp_path):
    both = write(tmp_path / "both", f"late:{DAY}", f"malformed:{DAY}")
    late = write(tmp_path / "late", f"late:{DAY}")
    assert [session for session, *_ in rows(both, AFTER, "late")] == [
        session for session, *_ in rows(late, AFTER, "late")
    ]
    assert None in {item for _, item, _ in rows(both, DAY)}


def test_every_file_has_the_schema_of_the_sound_ones(sound, tmp_path):
    faulty = write(tmp_path / "world", *(f"{kind}:2026-01-0{number}" for number, kind in enumerate(KINDS, start=1)))
    schemas = {str(pq.read_schema(path)) for path in (faulty / "interactions").rglob("*.parquet")}
    assert schemas == {str(pq.read_schema(sound / name(DAY)))}


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        (["lost:2026-01-04"], r"KIND is 'lost'; allowed: drifting, duplicated, late, malformed, missing"),
        (["late"], r"fault 'late': DAY is ''; allowed: YYYY-MM-DD"),
        (["late:4"], r"DAY is '4'; allowed: YYYY-MM-DD"),
        (["late:2026-02-30"], r"DAY is '2026-02-30'; allowed: YYYY-MM-DD"),
        (["late:2026-01-07"], r"late:2026-01-07: DAY must be in 2026-01-01 to 2026-01-06"),
        (["late:2025-12-31"], r"DAY must be in 2026-01-01 to 2026-01-06"),
        (["missing:2026-01-04", "drifting:2026-01-04"], r"missing:2026-01-04: drifting:2026-01-04 puts rows into"),
        (["missing:2026-01-04", "late:2026-01-03"], r"missing:2026-01-04: late:2026-01-03 puts rows into"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_by_name(faults, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        write(tmp_path / "world", *faults)
    assert not list(tmp_path.iterdir())


def test_the_command_takes_faults_and_a_sound_world_is_another_world(tmp_path, capsys):
    arguments = ["demo-world", "--items", "5000", "--days", "2", "--out", str(tmp_path / "world")]
    faults = ["--fault", "late:2026-01-01", "--fault", "duplicated:2026-01-02"]
    assert main([*arguments, *faults]) == 0
    assert (tmp_path / "world" / name(date(2026, 1, 2), "redelivery")).is_file()
    assert main([*arguments, *faults]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main(arguments) == 1
    assert "holds another demo world" in capsys.readouterr().err
    assert main([*arguments, "--fault", "late:1.1.2026"]) == 1
    assert "DAY is '1.1.2026'; allowed: YYYY-MM-DD" in capsys.readouterr().err


def test_late_rows_are_read_by_the_next_window_and_counted_as_late(tmp_path):
    faulty = write(tmp_path / "world", f"late:{DAY}")
    first = validate(faulty, 2, 5, tmp_path / "first")
    second = validate(faulty, 3, 6, tmp_path / "second", (first.record,))
    assert first.outcome["outcome"] == second.outcome["outcome"] == "ACCEPTED"
    late = len(rows(faulty, AFTER, "late"))
    assert second.outcome["late_rows"] == late
    assert second.outcome["new_rows"] == late + len(rows(faulty, AFTER))
    assert second.outcome["tables"]["interactions"]["set_aside"] == 0


def test_late_rows_beyond_the_overlap_are_set_aside(tmp_path):
    faulty = write(tmp_path / "world", f"late:{DAY}")
    with pytest.raises(ContractError, match="timestamp_in_partition"):
        validate(faulty, 3, 6, tmp_path / "q", params=WindowParams(overlap_days=0))
    aside = pq.read_table(tmp_path / "q" / "interactions.parquet")
    assert aside["file"].unique().to_pylist() == [name(AFTER, "late")]
    assert len(aside) == len(rows(faulty, AFTER, "late"))


def test_duplicated_rows_are_set_aside_and_the_window_is_accepted(tmp_path):
    faulty = write(tmp_path / "world", f"duplicated:{DAY}")
    found = validate(faulty, 1, 6, tmp_path / "q").outcome
    assert found["outcome"] == "ACCEPTED"
    again = len(rows(faulty, DAY, "redelivery"))
    assert found["tables"]["interactions"]["quarantined"] == {"duplicate_interaction": again}


def test_a_window_of_two_days_has_too_many_duplicates(tmp_path):
    faulty = write(tmp_path / "world", f"duplicated:{DAY}")
    with pytest.raises(ContractError, match="rule duplicate_interaction"):
        validate(faulty, 3, 5, tmp_path / "q")


@pytest.mark.parametrize("days", [1, 5, 30])
def test_a_window_with_a_malformed_day_is_refused(days, tmp_path):
    parameters = DemoParameters(items=5_000, days=days)
    faulty = write(tmp_path / "world", f"malformed:2026-01-{days:02d}", parameters=parameters)
    with pytest.raises(ContractError) as caught:
        validate(faulty, 1, days + 1, tmp_path / "q")
    assert "rule null_in_interaction" in str(caught.value) and "rule timestamp_in_range" in str(caught.value)


@pytest.mark.parametrize(("days", "found"), [(2, "refused"), (5, "warned of"), (30, "not seen")])
def test_a_drifting_day_is_seen_if_it_is_much_of_the_window(days, found, tmp_path):
    parameters = DemoParameters(items=5_000, days=days)
    sound = write(tmp_path / "sound", parameters=parameters)
    faulty = write(tmp_path / "world", f"drifting:2026-01-{days:02d}", parameters=parameters)
    before = validate(sound, 1, days + 1, tmp_path / "before").record
    if found == "refused":
        with pytest.raises(ContractError, match="drift_psi"):
            validate(faulty, 1, days + 1, tmp_path / "q", (before,))
        return
    warnings = validate(faulty, 1, days + 1, tmp_path / "q", (before,)).outcome["warnings"]
    assert [text.split(":")[0] for text in warnings] == (
        ["interactions.item_id (cell of its embedding)"] if found == "warned of" else []
    )


def test_a_night_whose_day_is_missing_is_skipped(tmp_path):
    faulty = write(tmp_path / "world", f"missing:{DAY}")
    first = validate(faulty, 1, 4, tmp_path / "first")
    night = validate(faulty, 2, 5, tmp_path / "second", (first.record,))
    assert night.outcome["outcome"] == "SKIPPED_NO_DATA"
    after = validate(faulty, 3, 6, tmp_path / "third", (first.record,))
    (present,) = [fact for fact in after.inspection.measurements if fact.rule == "days_present"]
    assert (after.outcome["outcome"], round(present.value, 2)) == ("ACCEPTED", 0.33)
    assert str(DAY) in present.details[0]
