"""The verdict is shown as the gate wrote it."""

from __future__ import annotations

from modit.core.verdict import verdict_table


def test_the_table_shows_each_domain_with_status_figures_and_reasons():
    verdict = {
        "status": "FAIL",
        "domains": {
            "rare": {"status": "FAIL", "reasons": ["joint fell by 0.02"], "figures": {"joint": 0.123456}},
            "fresh": {"status": "PASS", "reasons": [], "figures": {"cases": 300}},
        },
    }
    assert verdict_table(verdict).splitlines() == [
        "domain  verdict  figures",
        "fresh   PASS     cases 300",
        "rare    FAIL     joint 0.1235",
        "        - joint fell by 0.02",
        "",
        "verdict: FAIL",
    ]


def test_a_run_without_new_data_shows_its_reason_and_its_verdict():
    verdict = {"status": "SKIPPED_NO_DATA", "domains": {}, "reason": "No new data: 0 accepted interactions."}
    assert verdict_table(verdict).splitlines() == [
        "No new data: 0 accepted interactions.",
        "",
        "verdict: SKIPPED_NO_DATA",
    ]


def test_the_table_names_the_versions_of_the_data_or_says_that_there_are_none():
    versions = {"status": "versioned", "datasets": {"raw": {"md5": "0123456789abcdef.dir"}, "cases": {"md5": "ff.dir"}}}
    verdict = {"status": "PASS", "domains": {}, "versions": versions}
    assert "data:    raw 0123456789ab, cases ff.dir" in verdict_table(verdict).splitlines()
    verdict["versions"] = {"status": "disabled", "datasets": {}, "reason": "snapshot.enabled is false: not versioned"}
    assert "data:    snapshot.enabled is false: not versioned" in verdict_table(verdict).splitlines()
