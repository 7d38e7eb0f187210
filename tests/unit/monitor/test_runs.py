"""The facts of a run are those that its own files state."""

from __future__ import annotations

import json
import os

import pytest
from maderuns import START, TABLES, add_artifact, at, finish_run, refuse_run, start_run

from modit.core.errors import ArtifactError
from modit.core.storage import Storage
from modit.monitor.runs import RunReader


def facts_of(run):
    return RunReader(Storage(str(run)), START).facts()


def test_a_finished_run_tells_its_end_its_verdicts_and_how_long_steps_worked(tmp_path):
    facts = facts_of(finish_run(tmp_path, "a", status="FAIL"))
    assert (facts.name, facts.catalogue, facts.preset, facts.state) == ("a", "/data/shop", "tiny", "finished")
    assert (facts.started, facts.finished) == (START, START + 600)
    assert facts.verdicts == {"popular": "FAIL", "rare": "SKIPPED"}
    assert facts.steps[("finetune", "popular")] == 60 and facts.steps[("validate_logs", "")] == 3


def test_the_share_set_aside_is_of_the_rows_in_the_window_and_a_table_without_such_rows_has_none(tmp_path):
    assert facts_of(finish_run(tmp_path, "a")).quarantine == {"interactions": 0.07, "items": 0.0}


def test_a_run_that_has_only_begun_is_unfinished(tmp_path):
    facts = facts_of(start_run(tmp_path, "a"))
    assert (facts.state, facts.finished, facts.verdicts, facts.steps) == ("unfinished", None, {}, {})


def test_a_run_with_a_verdict_but_not_yet_registered_is_unfinished_and_shows_the_verdict(tmp_path):
    run = finish_run(tmp_path, "a")
    (run / "registration" / "manifest.json").unlink()
    facts = facts_of(run)
    assert (facts.state, facts.verdicts["popular"]) == ("unfinished", "PASS")


def test_a_night_without_new_data_is_skipped_and_over(tmp_path):
    run = start_run(tmp_path, "a")
    summary = {"outcome": "SKIPPED_NO_DATA", "tables": TABLES}
    add_artifact(run, "validation", None, "validate_logs", 3, created=at(START + 4), summary=summary)
    assert (facts_of(run).state, facts_of(run).finished) == ("skipped", START + 4)


def test_a_refused_run_tells_when_and_how_much_was_set_aside(tmp_path):
    facts = facts_of(refuse_run(tmp_path, "a"))
    assert (facts.state, facts.finished, facts.quarantine["interactions"]) == ("refused", START + 5, 0.07)


def test_a_run_that_was_refused_and_then_repaired_is_no_longer_refused(tmp_path):
    run = refuse_run(tmp_path, "a")
    add_artifact(run, "validation", None, "validate_logs", 3, summary={"outcome": "ACCEPTED", "tables": TABLES})
    assert facts_of(run).state == "unfinished"


def test_what_was_copied_from_another_run_or_tells_no_time_counts_no_seconds(tmp_path):
    run = start_run(tmp_path, "a")
    add_artifact(run, "index", None, "stage_index", 9, origin="/runs/b/index")
    add_artifact(run, "patterns", None, "assign_patterns", None)
    assert facts_of(run).steps == {}


def test_a_file_that_has_changed_is_read_again(tmp_path):
    run = finish_run(tmp_path, "a")
    reader = RunReader(Storage(str(run)), START)
    assert reader.facts().verdicts["popular"] == "PASS"
    judged = {"status": "FAIL", "domains": {"popular": {"status": "FAIL"}}}
    (run / "verdict" / "verdict.json").write_text(json.dumps(judged))
    os.utime(run / "verdict" / "verdict.json", (START + 900, START + 900))
    assert reader.facts().verdicts == {"popular": "FAIL"}


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("run.json", "{}", "catalogue"),
        ("run.json", "{", "run.json is not JSON"),
        ("verdict/verdict.json", '{"domains": {"popular": {}}}', "status"),
        ("validation/manifest.json", '{"schema_version": 1}', "is not a manifest"),
        ("validation/manifest.json", '{"schema_version": 99}', "schema_version is 99"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(tmp_path, file, content, named):
    run = finish_run(tmp_path, "a")
    (run / file).write_text(content)
    with pytest.raises(ArtifactError, match=named):
        facts_of(run)
