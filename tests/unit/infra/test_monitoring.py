"""Rules fire when they must; rules and dashboard ask only for metrics that something gives; each alert has a page."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from components.registry import REGISTRY
from modit.cli import build_parser
from modit.core.command import _parser as parser_of_steps

ROOT = Path(__file__).resolve().parents[3]
MONITORING, RUNBOOKS = ROOT / "infra" / "monitoring", ROOT / "docs" / "how-to" / "runbooks"
RULES, RULE_TESTS = MONITORING / "rules.yaml", Path(__file__).parent / "rules.test.yaml"

# What `GET /metrics` of the service gives.
SERVICE = {
    "modit_requests_total",
    "modit_request_seconds_bucket",
    "modit_request_seconds_count",
    "modit_request_seconds_sum",
    "modit_requests_in_flight",
    "modit_reloads_total",
    "modit_release_info",
    "modit_release_loaded_timestamp_seconds",
}


def load(path):
    return yaml.safe_load(path.read_text())


def rules():
    return [rule for group in load(RULES)["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
PANELS = [panel for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"] if "targets" in panel]


def expressions():
    """Every expression of rules and dashboard, by a name."""
    found = {rule.get("alert") or rule["record"]: rule["expr"] for rule in rules()}
    for panel in PANELS:
        found |= {f"{panel['title']} {target['refId']}": target["expr"] for target in panel["targets"]}
    return found


def mapping():
    return [entry for entry in load(MONITORING / "statsd-mapping.yaml")["mappings"] if entry.get("action") != "drop"]


def given():
    """All names that an expression may ask for."""
    pytest.importorskip("prometheus_client", reason="needs the extra `monitor`")
    from modit.monitor.exporter import OWN_METRICS, RUN_METRICS

    recorded = {rule["record"] for rule in rules() if "record" in rule}
    return {*RUN_METRICS, *OWN_METRICS, *SERVICE, *recorded, *(entry["name"] for entry in mapping()), "up"}


def asked(expression):
    """Metrics in an expression: names that neither stand before a bracket, nor name labels, nor are keywords."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\b(by|on|without|ignoring)\s*\([^)]*\)", "", re.sub(r"\{[^}]*\}", "", bare))
    names = re.findall(r"[a-zA-Z_:][\w:]*(?!\s*\()\b(?!\s*\()", re.sub(r"\[\w+\]", "", bare))
    return set(names) - {"and", "or", "unless", "bool"}


@pytest.fixture
def promtool():
    if shutil.which("promtool") is None:
        pytest.skip("no promtool (Debian: prometheus)")

    def run(*arguments):
        return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)

    return run


@pytest.mark.parametrize("check", ["check rules", "check config", "test rules"])
def test_prometheus_accepts_rules_configuration_and_what_the_rules_must_do(promtool, check):
    file = {"check rules": RULES, "check config": MONITORING / "prometheus.yaml", "test rules": RULE_TESTS}[check]
    done = promtool(*check.split(), file)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_is_tried_both_ways(alert):
    trials = [trial for test in load(RULE_TESTS)["tests"] for trial in test["alert_rule_test"]]
    fired = {bool(trial["exp_alerts"]) for trial in trials if trial["alertname"] == alert}
    assert fired == {True, False}


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_how_bad_it_is_and_where_to_read_on(alert):
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["runbook_url"] == f"docs/how-to/runbooks/{alert}.md"
    assert (RUNBOOKS / f"{alert}.md").read_text().startswith(f"# {alert}\n")


def test_runbooks_are_those_of_the_alerts_and_all_are_listed():
    pages = {path.stem for path in RUNBOOKS.glob("Modit*.md")}
    assert pages == set(ALERTS)
    assert re.findall(r"^\| \[(\w+)\]\(\1\.md\)", (RUNBOOKS / "index.md").read_text(), re.MULTILINE) == list(ALERTS)


def commands():
    """Each command of modit that a runbook shows, in a block or in a line."""
    text = "\n".join(path.read_text() for path in sorted(RUNBOOKS.glob("Modit*.md")))
    return sorted(set(re.findall(r"(?:^|`)((?:modit|python -m components) [^`\n]+)", text, re.MULTILINE)))


def test_runbooks_show_commands():
    assert len(commands()) >= 4


@pytest.mark.parametrize("command", commands())
def test_a_command_of_a_runbook_exists_with_its_options(command):
    program, *words = shlex.split(command)
    if program == "modit":
        build_parser().parse_args(words)
        return
    assert words[:2] == ["-m", "components"]
    parser_of_steps(REGISTRY).parse_args(["gate" if word == "STEP" else word for word in words[2:]])


@pytest.mark.parametrize("name", expressions())
def test_an_expression_asks_only_for_metrics_that_something_gives(name):
    metrics = asked(expressions()[name])
    assert metrics or name.startswith("Latency")
    assert metrics <= given()


def test_the_check_of_names_sees_a_metric_wherever_it_stands():
    expression = 'time() - max by (a, b) (rate(one_total{c=~"d|e"}[5m])) / 6 * 3600 and on (run) two unless three == 1'
    assert asked(expression) == {"one_total", "two", "three"}


def test_every_metric_of_the_exporter_and_of_the_mapping_is_used():
    used = set().union(*(asked(expression) for expression in expressions().values()))
    assert given() - used - SERVICE - {"modit_request_seconds_sum"} == set()


def test_the_dashboards_expressions_are_promql(promtool, tmp_path):
    records = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(expressions().values())]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": records}]}))
    done = promtool("check", "rules", tmp_path / "panels.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_panels_have_numbers_of_their_own_and_do_not_overlap():
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    cells = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) == 23


def airflow():
    """Where Airflow is; importing it would change the logging of the tests that follow."""
    return importlib.util.find_spec("airflow") or pytest.skip("needs the extra `airflow`")


def test_what_the_mapping_takes_is_what_airflow_gives_and_is_named_by_its_kind():
    folder = Path(airflow().origin).parent
    registry = yaml.safe_load((folder / "_shared/observability/metrics/metrics_template.yaml").read_text())
    kinds = {entry["name"]: entry["type"] for entry in registry["metrics"]}
    ends = {"counter": "_total", "timer": "_seconds", "gauge": ""}
    for entry in mapping():
        kind = kinds[entry["match"].removeprefix("airflow.")]
        assert entry["name"].endswith(ends[kind]), entry
        assert kind != "gauge" or not entry["name"].endswith(("_total", "_seconds")), entry


def test_the_service_gives_what_rules_and_dashboard_ask_of_it():
    from prometheus_client.parser import text_string_to_metric_families

    from modit.serve.metrics import metrics_text

    text = metrics_text([]).decode()
    families = {family.name for family in text_string_to_metric_families(text)}
    assert {re.sub("_(total|bucket|count|sum)$", "", name) for name in SERVICE} <= families
