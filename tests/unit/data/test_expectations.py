"""The suites judge what was measured, by the limits of the parameters, and their pages need no network."""

import re
from dataclasses import replace

import pytest

from modit.core.errors import ContractError
from modit.data.data_docs import write_data_docs
from modit.data.drift import Drift, drift_facts
from modit.data.expectations import judge, read_suite
from modit.data.facts import TABLES, Fact, contract_facts, refuse
from modit.data.params import DriftParams, ValidationParams
from modit.data.problems import RULES
from modit.data.tolerance import allowed_of_interactions, allowed_of_items, allowed_of_labels

PARAMS = DriftParams()
TOLERANCE = ValidationParams()
ROWS = {
    "items": allowed_of_items(TOLERANCE),
    "interactions": allowed_of_interactions(TOLERANCE, "timestamp"),
    "retrieval_labels": allowed_of_labels(TOLERANCE),
}
DRIFT = Drift("interactions.timestamp (hour)", 0.1, "chi-square", 0.05, 1e-9, "ok")


def facts(table, **values):
    """All facts of a table at zero, but for some."""
    rows = [Fact(table, rule, 0.0, 0.0, high, 0, 1_000) for rule, high in ROWS[table].items()]
    return [replace(fact, value=values.get(fact.rule, 0.0)) for fact in (*contract_facts(table), *rows)]


def rules_of(suite):
    return [expectation["meta"]["rule"] for expectation in read_suite(suite)["expectations"]]


def test_every_rule_has_an_expectation_and_every_expectation_a_rule():
    found = {rule for suite in (*TABLES, "drift") for rule in rules_of(suite)}
    assert found == set(RULES) - {"interactions_not_empty"}


@pytest.mark.parametrize("table", TABLES)
def test_every_fact_of_a_table_has_an_expectation(table):
    assert {fact.rule for fact in facts(table)} <= set(rules_of(table))


@pytest.mark.parametrize(("table", "rule"), [(table, rule) for table in TABLES for rule in ROWS[table]])
def test_a_suite_fails_exactly_where_the_fact_is_breached(table, rule):
    limit = ROWS[table][rule]
    at, above = (facts(table, **{rule: share}) for share in (limit, limit + 1e-6))
    assert judge(at, [], PARAMS).failing(at) == []
    failing = judge(above, [], PARAMS).failing(above)
    assert failing == [fact for fact in above if fact.is_breached]
    assert [fact.rule for fact in failing] == [rule]


def test_facts_that_were_not_measured_are_named():
    judgement = judge(facts("interactions"), [], PARAMS)
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
    measured = drift_facts([drift], PARAMS)
    judgement = judge(measured, [drift], PARAMS)
    assert {rule for _, rule in judgement.failed} == failed == {fact.rule for fact in judgement.failing(measured)}
    assert {rule for _, rule in judgement.warned} == warned


def test_the_limits_of_a_suite_are_those_of_the_parameters():
    measured = [Fact("interactions", "unknown_item", 0.02, 0.0, 0.01, 20, 1_000, ("a.parquet: three examples",))]
    failing = judge(measured, [], PARAMS).failing(measured)
    with pytest.raises(ContractError, match=r"20 of 1000 rows \(2.00%\), allowed 1.00%:\n  a.parquet: three examples"):
        refuse(failing)


def test_no_page_fetches_anything_or_runs_a_script(tmp_path):
    measured = [*facts("interactions", unknown_item=0.9), *facts("items")]
    judgement = judge(measured, [DRIFT], PARAMS)
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
    write_data_docs(
        tmp_path, outcome, measured, [DRIFT], judgement, {"interactions": {"2026-01-01": 3, "2026-01-02": 0}}
    )
    pages = {page.stem: page.read_text() for page in (tmp_path / "data_docs").iterdir()}
    assert set(pages) == {"index", "items", "interactions", "drift"}
    for page in pages.values():
        assert re.findall(r"https?:|<script|<link|<img|@import|url\(", page) == []
        links = re.findall(r'href="([^"]+)"', page)
        assert {link.removesuffix(".html") for link in links} <= set(pages)
    assert "&lt;b&gt;because" in pages["index"]
    assert "unknown_item" in pages["interactions"]
    assert "0.05" in pages["interactions"]


def test_pages_of_equal_facts_are_equal_to_the_byte(tmp_path):
    first, second = (judge(facts("items"), [], PARAMS) for _ in range(2))
    from modit.data.data_docs import offline

    assert offline(first.pages["items"], "items") == offline(second.pages["items"], "items")
