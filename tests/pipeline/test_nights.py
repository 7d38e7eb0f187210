"""Nights in a row through the step itself: accepted, skipped, refused, late rows, and a crash in the middle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from nightlogs import OVERRIDES, ROOT, runner, write_day, write_items

from components.registry import REGISTRY
from modit.core.errors import ConfigError, ContractError, RunBusyError
from modit.core.runner import StepRunner
from modit.data.catalog import Catalog
from modit.release.verdict import data_docs, read_verdict, report_pages


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    write_items(folder, [f"i{number}" for number in range(60)])
    for day in range(1, 7):
        write_day(folder, day)
    return folder


def outcome(run: StepRunner) -> dict:
    return run.store.read_json("validation", "outcome.json")


def test_nights_in_a_row_are_accepted_and_know_the_one_before(logs):
    first, second = runner(logs, "n5", 5), runner(logs, "n6", 6)
    assert first.execute("validate_logs").outcome == "ACCEPTED"
    assert second.execute("validate_logs").outcome == "ACCEPTED"
    assert outcome(first)["window"] == {"start": "2026-01-01", "end": "2026-01-05"}
    assert (outcome(first)["new_rows"], outcome(first)["compared_with"]) == (160, None)
    assert (outcome(second)["new_rows"], outcome(second)["late_rows"]) == (40, 0)
    assert outcome(second)["compared_with"] == "2026-01-01 to 2026-01-05"


def test_a_night_that_lies_ahead_is_refused_before_it_holds_back_all_others(logs):
    conf = {"catalogue": str(logs), "preset": "tiny", "overrides": OVERRIDES, "window": {"end": "2999-01-01"}}
    ahead = StepRunner(REGISTRY, str(logs.parent / "runs" / "ahead"), ROOT / "params.yaml", conf)
    with pytest.raises(ConfigError, match="window: end 2999-01-01 lies ahead"):
        ahead.execute("validate_logs")
    assert runner(logs, "n5", 5).execute("validate_logs").outcome == "ACCEPTED"


def test_a_window_without_new_rows_is_skipped_with_the_reason_and_not_noted(logs):
    runner(logs, "n7", 7).execute("validate_logs")
    run = runner(logs, "n8", 8)
    result = run.execute("validate_logs")
    assert result.outcome == "SKIPPED_NO_DATA"
    assert "none that the accepted window 2026-01-03 to 2026-01-07 did not hold" in result.reason
    assert json.loads(result.as_json())["outcome"] == "SKIPPED_NO_DATA"
    assert len(list((logs.parent / "runs" / ".windows").rglob("*.json"))) == 1
    assert run.execute("validate_logs").outcome == "SKIPPED_NO_DATA"  # from the cache, too


def test_a_run_that_was_skipped_has_a_verdict_that_says_why(logs):
    run = runner(logs, "later", 20)
    run.execute("validate_logs")
    verdict = read_verdict(run.run.uri)
    assert verdict["status"] == "SKIPPED_NO_DATA"
    assert "none at all" in verdict["reason"]
    assert report_pages(run.run.uri) == []


def test_a_night_waits_for_no_other_night_of_its_catalogue(logs):
    patient = {**OVERRIDES, "runner.lease_minutes": 10}
    runner(logs, "n5", 5, overrides=patient).execute("validate_logs")
    with pytest.raises(RunBusyError, match="n5 is working on this catalogue; its lease expires in"):
        runner(logs, "n6", 6).execute("validate_logs")
    runner(logs, "n5", 5, overrides=patient).execute("validate_logs")


def test_a_night_that_was_skipped_is_over(logs):
    runner(logs, "later", 20, overrides={**OVERRIDES, "runner.lease_minutes": 10}).execute("validate_logs")
    assert runner(logs, "n5", 5).execute("validate_logs").outcome == "ACCEPTED"


def test_a_night_that_was_refused_is_over(logs):
    patient = {**OVERRIDES, "runner.lease_minutes": 10}
    write_day(logs, 4, item_id=["nobody"] * 40)
    with pytest.raises(ContractError):
        runner(logs, "n5", 5, overrides=patient).execute("validate_logs")
    write_day(logs, 4)
    assert runner(logs, "n5-repaired", 5, overrides=patient).execute("validate_logs").outcome == "ACCEPTED"


def test_a_backfill_and_an_older_window_are_held_back(logs, monkeypatch):
    seen = {}

    def look(context):
        seen[context.run_uri.rpartition("/")[2]] = context.held_back()
        return run_validation(context)

    run_validation = REGISTRY.load_run(REGISTRY.get("validate_logs"))
    monkeypatch.setattr(sys.modules[REGISTRY.run_module(REGISTRY.get("validate_logs"))], "run", look)
    runner(logs, "n6", 6).execute("validate_logs")
    runner(logs, "n5", 5).execute("validate_logs")
    runner(logs, "n7", 7, promote=False).execute("validate_logs")
    assert seen == {
        "n6": None,
        "n5": "its window ends 2026-01-05, one that ends 2026-01-06 is accepted",
        "n7": "a backfill never promotes",
    }


def test_an_empty_window_is_skipped_and_hands_over_a_catalogue_without_sequences(logs):
    run = runner(logs, "later", 20)
    assert run.execute("validate_logs").outcome == "SKIPPED_NO_DATA"
    assert "0 accepted interactions from 2026-01-16 to 2026-01-20, none at all" in outcome(run)["reason"]
    catalog = Catalog.load(run.store.read("catalog"))
    assert (len(catalog), len(catalog.sequences)) == (60, 0)


def test_late_rows_are_caught_by_the_overlap_and_make_the_window_new(logs):
    runner(logs, "n7", 7).execute("validate_logs")
    write_day(logs, 5, rows=10, name="late")
    write_day(logs, 6, rows=10, name="from-yesterday", on=5)
    run = runner(logs, "n8", 8)
    assert run.execute("validate_logs").outcome == "ACCEPTED"
    assert (outcome(run)["new_rows"], outcome(run)["late_rows"]) == (20, 20)


def test_a_refused_window_publishes_nothing_is_not_noted_and_keeps_what_explains_it(logs):
    runner(logs, "n5", 5).execute("validate_logs")
    write_day(logs, 5, item_id=["nobody"] * 40)
    run = runner(logs, "n6", 6)
    with pytest.raises(ContractError, match=r"40 of 160 rows \(25.00%\), allowed 5.00%") as caught:
        run.execute("validate_logs")
    message = str(caught.value)
    assert "rule unknown_item" in message
    assert message.count("item_id 'nobody'") == 3
    page = Path(message.rpartition("data docs: ")[2])
    assert "unknown_item" in page.read_text()
    assert pq.read_table(page.parents[1] / "quarantine" / "interactions.parquet").num_rows == 40
    assert run.store.find("catalog") is None
    write_day(logs, 5)
    assert run.execute("validate_logs").outcome == "ACCEPTED"
    assert outcome(run)["compared_with"] == "2026-01-01 to 2026-01-05"


def test_a_window_that_cannot_be_read_is_explained_too(logs):
    (logs / "interactions" / "date=2026-01-04" / "part.parquet").write_bytes(b"PAR1")
    with pytest.raises(ContractError, match="rule file_readable") as caught:
        runner(logs, "n5", 5).execute("validate_logs")
    assert "file_readable" in Path(str(caught.value).rpartition("data docs: ")[2]).read_text()


def test_an_old_night_is_not_run_again_when_new_partitions_come(logs):
    run = runner(logs, "n5", 5)
    run.execute("validate_logs")
    write_day(logs, 7)
    assert run.execute("validate_logs").status == "cached"
    write_day(logs, 4, rows=20, name="late")
    assert "catalogue changed: interactions/date=2026-01-04/late.parquet" in run.why("validate_logs")[0]


def test_a_night_run_again_after_later_ones_is_judged_as_it_was(logs):
    runner(logs, "n5", 5).execute("validate_logs")
    first = runner(logs, "n6", 6)
    first.execute("validate_logs")
    runner(logs, "n7", 7).execute("validate_logs")
    again = first.execute("validate_logs", force=True)
    assert (again.status, outcome(first)["compared_with"]) == ("ran", "2026-01-01 to 2026-01-05")


def test_the_same_window_gives_the_same_digests(logs):
    runner(logs, "n5", 5).execute("validate_logs")
    run = runner(logs, "n6", 6)
    first, second = (run.execute("validate_logs", force=True).outputs for _ in range(2))
    assert first == second


def test_a_run_without_a_window_reads_everything_and_is_compared_with_nothing(logs):
    runner(logs, "n5", 5).execute("validate_logs")
    run = runner(logs, "all", None)
    assert run.execute("validate_logs").outcome == "ACCEPTED"
    assert (outcome(run)["window"], outcome(run)["compared_with"]) == (None, None)
    assert outcome(run)["tables"]["interactions"]["accepted"] == 240


CRASH = """
import os, signal, sys
from modit.data import table
write = table.pq.ParquetWriter.write_table
def write_and_die(self, *arguments, **more):
    write(self, *arguments, **more)
    os.kill(os.getpid(), signal.SIGKILL)
table.pq.ParquetWriter.write_table = write_and_die
from components.registry import REGISTRY
from modit.core.command import main
sys.exit(main(REGISTRY))
"""


def test_a_crash_in_the_quarantines_writing_loses_nothing_and_doubles_nothing(logs):
    for day in range(1, 5):
        rows = [f"i{number}" for number in range(38)] + ["nobody"] * 2
        write_day(logs, day, item_id=rows, sequence_id=["a", None, *["b"] * 38])
    limits = {"validate_logs.null_share_max": 0.05, **OVERRIDES}
    conf = {"catalogue": str(logs), "preset": "tiny", "overrides": limits, "window": {"end": "2026-01-05"}}
    address = str(logs.parent / "runs" / "crashed")
    command = ["validate_logs", "--run", address, "--conf", json.dumps(conf), "--params", str(ROOT / "params.yaml")]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    died = subprocess.run([sys.executable, "-c", CRASH, *command], env=environment, capture_output=True, check=False)
    assert died.returncode == -9
    assert not (Path(address) / "quarantine").exists()
    run = StepRunner(REGISTRY, address, ROOT / "params.yaml", conf)
    assert run.execute("validate_logs").outcome == "ACCEPTED"
    aside = pq.read_table(run.store.read("quarantine") / "interactions.parquet").to_pylist()
    assert len({(row["file"], row["row"]) for row in aside}) == len(aside) == 12
    table = outcome(run)["tables"]["interactions"]
    assert (table["rows"], table["set_aside"], table["accepted"]) == (160, 12, 148)
    assert len(list((logs.parent / "runs" / ".windows").rglob("*.json"))) == 1
    assert not list(Path(address).glob(".work/*/out"))


CRASH_WHILE_ORDERING = """
import os, signal, sys
from modit.data import interactions
def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)
interactions._whole_sequences = die
from components.registry import REGISTRY
from modit.core.command import main
sys.exit(main(REGISTRY))
"""


def test_what_a_crash_leaves_of_the_rows_on_disk_is_gone_after_the_next_attempt(logs):
    conf = {"catalogue": str(logs), "preset": "tiny", "overrides": OVERRIDES, "window": {"end": "2026-01-05"}}
    address = logs.parent / "runs" / "crashed"
    command = [
        "validate_logs",
        "--run",
        str(address),
        "--conf",
        json.dumps(conf),
        "--params",
        str(ROOT / "params.yaml"),
    ]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    died = subprocess.run([sys.executable, "-c", CRASH_WHILE_ORDERING, *command], env=environment, check=False)
    assert died.returncode == -9
    assert list(address.rglob("duckdb-*"))
    assert not [path for path in address.glob("*") if path.name in ("catalog", "quarantine", "validation")]
    assert runner(logs, "crashed", 5).execute("validate_logs").outcome == "ACCEPTED"
    assert not list(address.rglob("duckdb-*"))


def test_the_data_docs_of_a_run_are_found_by_its_address(logs):
    run = runner(logs, "n5", 5)
    run.execute("validate_logs")
    page = f"{run.store.at('validation').uri}/data_docs/index.html"
    assert Path(page).is_file()
    assert data_docs(run.run.uri) == [page]
