"""What Prometheus gets is what the runs say, under names that rules and dashboards can rely on."""

from __future__ import annotations

import pytest
from maderuns import START, finish_run, refuse_run, start_run

pytest.importorskip("prometheus_client", reason="needs the extra `monitor`")

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from modit.cli import build_parser
from modit.monitor.exporter import OWN_METRICS, RUN_METRICS, RunCollector
from modit.monitor.watch import RunWatcher


@pytest.fixture
def scrape(tmp_path):
    """Gives the samples of a scrape: (name, labels) -> value."""
    registry = CollectorRegistry()
    registry.register(RunCollector(RunWatcher(str(tmp_path), every=0)))

    def ask():
        families = text_string_to_metric_families(generate_latest(registry).decode())
        samples = [sample for family in families for sample in family.samples]
        return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}

    return ask


def sample(name, **labels):
    return name, frozenset(labels.items())


def test_a_run_shows_every_metric_with_its_labels(tmp_path, scrape):
    finish_run(tmp_path, "a", status="FAIL")
    found = scrape()
    run = {"run": "a", "catalogue": "/data/shop"}
    assert found[sample("modit_run_info", **run, preset="tiny", state="finished")] == 1
    assert found[sample("modit_run_started_timestamp_seconds", **run)] == START
    assert found[sample("modit_run_duration_seconds", **run, state="finished")] == 600
    assert found[sample("modit_verdict", **run, domain="popular", status="FAIL")] == 1
    assert found[sample("modit_quarantine_share", **run, table="interactions")] == 0.07
    assert found[sample("modit_step_seconds", run="a", step="finetune", domain="popular")] == 60
    assert {name for name, _ in found} == {*RUN_METRICS, *OWN_METRICS}


def test_a_run_that_has_not_ended_has_no_duration(tmp_path, scrape):
    start_run(tmp_path, "a")
    assert "modit_run_duration_seconds" not in {name for name, _ in scrape()}


def test_a_refused_run_has_a_duration_that_says_so(tmp_path, scrape):
    refuse_run(tmp_path, "a")
    assert scrape()[sample("modit_run_duration_seconds", run="a", catalogue="/data/shop", state="refused")] == 5


def test_a_clock_that_is_behind_gives_no_negative_duration(tmp_path, scrape):
    finish_run(tmp_path, "a", seconds=-3)
    assert scrape()[sample("modit_run_duration_seconds", run="a", catalogue="/data/shop", state="finished")] == 0


def test_an_empty_root_says_that_there_are_no_runs(scrape):
    assert scrape()[sample("modit_runs")] == 0


def test_the_command_listens_on_loopback_unless_told_otherwise():
    chosen = build_parser().parse_args(["exporter", "--runs", "runs"])
    assert (chosen.host, chosen.port, chosen.newest) == ("127.0.0.1", 9108, 50)
