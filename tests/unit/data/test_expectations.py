"""The suites judge what was measured, by the limits of the rules, and their pages need no network."""

import re
from dataclasses import replace

import pytest

from modit.core.errors import ContractError
from modit.data.data_docs import write_data_docs
from modit.data.drift import Drift, measure_drift
from modit.data.expectations import judge, suite_rules
from modit.data.measurements import contract_measurements, measured, refuse
from modit.data.params import ValidationParams
from modit.data.rules import RULES, TABLES

PARAMS = ValidationParams()
ROWS = {table: [name for name, rule in RULES.items() if rule.is_on_rows and table in rule.ranges] for table in TABLES}
DRIFT = Drift("interactions.timestamp (hour)", 0.1, "chi-square", 0.05, 1e-9, "ok")


def measurements(table, **values):
    """All measurements of a table at zero, but for some."""
    rows = [measured(table, rule, 0.0, PARAMS, 0, 1_000) for rule in ROWS[table]]
    return [replace(each, value=values.get(each.rule, 0.0)) for each in (*contract_measurements(table), *rows)]


def test_every_rule_is_judged_by_a_suite():
    found = {rule for table in TABLES for rule in suite_rules(table)} | {"drift_psi", "drift_distance"}
    assert found == set(RULES) - {"interactions_not_empty"}


@pytest.mark.parametrize("table", TABLES)
def test_every_measurement_of_a_table_has_an_expectation(table):
    assert {each.rule for each in measurements(table)} <= set(suite_rules(table))


@pytest.mark.parametrize(("table", "rule"), [(table, rule) for table in TABLES for rule in ROWS[table]])
def test_a_suite_fails_exactly_where_the_measurement_is_breached(table, rule):
    limit = RULES[rule].bounds(table, PARAMS)[1]
    at, above = (measurements(table, **{rule: share}) for share in (limit, limit + 1e-6))
    assert judge(at, [], PARAMS).failing(at) == []
    failing = judge(above, [], PARAMS).failing(above)
    assert failing == [each for each in above if each.is_breached]
    assert [each.rule for each in failing] == [rule]


def test_rules_that_were_not_measured_are_named():
    judgement = judge(measurements("interactions"), [], PARAMS)
    assert set(judgement.unmeasured["interactions"]) == {"time_order", "days_present", "volume"}


@pytest.mark.parametrize(
    ("psi", "distance", "p_value", "failed", "warned"),
    [
        (0.1, 0.1, 0.0, set(), set()),
        (0.3, 0.1, 0.0, set(), {"drift_psi"}),
        (1.1, 0.1, 0.0, {"drift_psi"}, {"drift_psi"}),
        (0.1, 0.3, 0.0, set(), {"drift_distance"}),
        (0.1, 0.6, 0.0, {"drift_distance"}, {"drift_distance"}),
        (0.1, 0.6, 0.5, set(), set()),
    ],
)
def test_drift_has_a_level_that_warns_and_one_that_fails(psi, distance, p_value, failed, warned):
    drift = replace(DRIFT, psi=psi, distance=distance, p_value=p_value)
    found = measure_drift([drift], PARAMS)
    judgement = judge(found, [drift], PARAMS)
    assert {rule for _, rule in judgement.failed} == failed == {each.rule for each in judgement.failing(found)}
    assert {rule for _, rule in judgement.warned} == warned


def test_the_limits_of_a_suite_are_those_of_the_parameters():
    strict = ValidationParams(unknown_item_share_max=0.01)
    found = [measured("interactions", "unknown_item", 0.02, strict, 20, 1_000, ["a.parquet: three examples"])]
    assert judge(found, [], PARAMS).failing(found) == []
    failing = judge(found, [], strict).failing(found)
    with pytest.raises(ContractError, match=r"20 of 1000 rows \(2.00%\), allowed 1.00%:\n  a.parquet: three examples"):
        refuse(failing)


def test_a_refusal_names_the_option_that_lets_the_rows_through():
    found = measured("interactions", "duplicate_interaction", 0.1234, PARAMS, 1_234, 10_000)
    assert """OVERRIDES='{"validate_logs.duplicate_share_max": 0.13}'""" in str(found)
    assert "OVERRIDES" not in str(measured("interactions", "duplicate_interaction", 0.01, PARAMS, 100, 10_000))
    assert "OVERRIDES" not in str(measured("items", "column_type", 1.0, PARAMS))


def test_no_page_fetches_anything_or_runs_a_script(tmp_path):
    found = [*measurements("interactions", unknown_item=0.9), *measurements("items")]
    judgement = judge(found, [DRIFT], PARAMS)
    outcome = {
        "outcome": "REFUSED",
        "reason": "<b>because</b>",
        "catalogue": "logs",
        "window": {"start": "2026-01-01", "end": "2026-01-03"},
        "compared_with": "2025-12-01 to 2026-01-01",
        "new_rows": 3,
        "late_rows": 1,
        "tables": {},
        "warnings": ["look"],
        "significance": 0.001,
    }
    write_data_docs(tmp_path, outcome, found, [DRIFT], judgement, {"interactions": {"2026-01-01": 3, "2026-01-02": 0}})
    pages = {page.stem: page.read_text() for page in (tmp_path / "data_docs").iterdir()}
    assert set(pages) == {"index", "items", "interactions", "drift"}
    for page in pages.values():
        assert re.findall(r"https?:|<script|<link|<img|@import|url\(", page) == []
        links = re.findall(r'href="([^"]+)"', page)
        assert {link.removesuffix(".html") for link in links} <= set(pages)
    assert "&lt;b&gt;because" in pages["index"]
    assert "unknown_item" in pages["interactions"]
    assert "0.05" in pages["interactions"]


def test_pages_of_equal_measurements_are_equal_to_the_byte(tmp_path):
    pages = []
    for name in ("first", "second"):
        outcome = {
            "outcome": "ACCEPTED",
            "reason": "",
            "catalogue": "logs",
            "window": None,
            "tables": {},
            "warnings": [],
        }
        found = measurements("items")
        write_data_docs(tmp_path / name, outcome, found, [], judge(found, [], PARAMS), {})
        pages.append({page.name: page.read_bytes() for page in (tmp_path / name / "data_docs").iterdir()})
    assert pages[0] == pages[1] and len(pages[0]) == 2
