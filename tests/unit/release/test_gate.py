import copy
import json

import pytest

from modit.core.errors import ArtifactError
from modit.core.sections import GateParams
from modit.release.gate import judge
from modit.release.verdict_table import verdict_text

PARITY = {"status": "passed", "tolerance": 1e-4, "greatest_difference": 2e-6}


def comparison(name, mean, half=0.02):
    interval = {"mean": mean, "low": mean - half, "high": mean + half}
    wide = {"pattern_low": mean - 10 * half, "pattern_high": mean + 10 * half}
    return {"name": name, "joint": interval | wide, "same": interval | wide}


def split(**gains):
    gains = {"HPPO - Average pooling": 0.1, "HPPO - MO-DiT": 0.03, "HPPO - best classical": 0.01} | gains
    rows = [("HPPO", 0.5, 0.9), ("Average pooling", 0.4, 0.98), ("Rocchio", 0.49, 0.9)]
    return {
        "cases": 300,
        "rows": [{"name": name, "joint": joint, "same": same} for name, joint, same in rows],
        "best_classical": {"test": "Rocchio", "validation": "Rocchio"},
        "comparisons": [comparison(name, mean) for name, mean in gains.items()],
    }


def build_report(domains=("drama",), skipped=None):
    content = {name: {"splits": {"item_holdout": split(), "pattern_holdout": split()}} for name in domains}
    return {"run": {"skipped_domains": skipped or {}}, "domains": content}


def verdict_of(report, parity=None, **params):
    parity = {name: PARITY for name in report["domains"]} if parity is None else parity
    return judge(report, parity, GateParams(**params))


def test_good_domain_passes_and_says_that_there_is_no_champion():
    verdict = verdict_of(build_report())
    assert verdict["status"] == verdict["domains"]["drama"]["status"] == "PASS"
    assert verdict["basis"] == "no champion yet: judged against absolute thresholds"
    assert "difference +0.100, 95% interval +0.080 to +0.120" in verdict["domains"]["drama"]["reasons"][0]


def test_gain_over_average_pooling_must_be_significant_on_both_splits():
    for name in ("item_holdout", "pattern_holdout"):
        report = build_report()
        report["domains"]["drama"]["splits"][name] = split(**{"HPPO - Average pooling": 0.015})
        verdict = verdict_of(report)
        assert verdict["status"] == "FAIL"
        assert verdict["domains"]["drama"]["reasons"] == [
            f"{name}: Joint@K of HPPO is not significantly above Average pooling: difference +0.015, "
            "95% interval -0.005 to +0.035."
        ]


def test_loss_against_modit_fails_only_when_significant():
    report = build_report()
    report["domains"]["drama"]["splits"]["pattern_holdout"] = split(**{"HPPO - MO-DiT": -0.015})
    assert verdict_of(report)["status"] == "PASS"
    report["domains"]["drama"]["splits"]["pattern_holdout"] = split(**{"HPPO - MO-DiT": -0.03})
    (reason,) = verdict_of(report)["domains"]["drama"]["reasons"]
    assert reason.startswith("pattern_holdout: Joint@K of HPPO is significantly below MO-DiT: difference -0.030")


def test_best_classical_row_counts_on_the_configured_splits():
    report = build_report()
    report["domains"]["drama"]["splits"]["pattern_holdout"] = split(**{"HPPO - best classical": -0.05})
    assert verdict_of(report)["status"] == "PASS"
    strict = verdict_of(report, classical_splits=("item_holdout", "pattern_holdout"))
    (reason,) = strict["domains"]["drama"]["reasons"]
    assert reason.startswith("pattern_holdout: Joint@K of HPPO is significantly below the best classical row (Rocchio)")


def test_same_below_its_floor_fails():
    report = build_report()
    report["domains"]["drama"]["splits"]["pattern_holdout"]["rows"][0]["same"] = 0.08
    (reason,) = verdict_of(report)["domains"]["drama"]["reasons"]
    assert reason == "pattern_holdout: Same@K of HPPO is 0.080, the floor is 0.400."


def test_intervals_over_patterns_can_be_asked_for():
    assert verdict_of(build_report(), interval="patterns")["status"] == "FAIL"


def test_too_few_cases_or_none_fail_with_the_reason():
    report = build_report()
    report["domains"]["drama"]["splits"]["item_holdout"]["cases"] = 7
    report["domains"]["drama"]["splits"]["pattern_holdout"] = {"cases": 0, "reason": "all patterns are small"}
    assert verdict_of(report)["domains"]["drama"]["reasons"] == [
        "item_holdout: 7 cases were judged, at least 20 are needed.",
        "pattern_holdout: nothing was judged: all patterns are small.",
    ]


@pytest.mark.parametrize(
    ("parity", "reason"),
    [
        ({}, "The exported sampler has no parity table."),
        ({"drama": PARITY | {"greatest_difference": 0.2}}, "The exported sampler does not answer as torch does"),
        ({"drama": PARITY | {"status": "failed"}}, "The exported sampler does not answer as torch does"),
    ],
)
def test_without_parity_nothing_passes(parity, reason):
    verdict = verdict_of(build_report(), parity)
    assert verdict["status"] == "FAIL"
    assert verdict["domains"]["drama"]["reasons"][0].startswith(reason)


def test_skipped_domain_is_shown_with_its_reason_and_does_not_decide():
    verdict = verdict_of(build_report(skipped={"western": "12 positive items"}))
    assert verdict["status"] == "PASS"
    assert verdict["domains"]["western"] == {
        "status": "SKIPPED",
        "reasons": ["The domain was not trained: 12 positive items."],
        "figures": {},
        "splits": {},
    }


def test_run_without_a_judged_domain_fails():
    assert verdict_of(build_report(domains=(), skipped={"western": "too few"}))["status"] == "FAIL"


def test_one_failing_domain_fails_the_run():
    report = build_report(domains=("crime", "drama"))
    report["domains"]["crime"]["splits"]["item_holdout"]["rows"][0]["same"] = 0.1
    verdict = verdict_of(report)
    assert [verdict["status"], *(d["status"] for d in verdict["domains"].values())] == ["FAIL", "FAIL", "PASS"]


def test_report_that_lacks_a_comparison_is_refused_by_name():
    report = build_report()
    del report["domains"]["drama"]["splits"]["item_holdout"]["comparisons"][1]
    with pytest.raises(ArtifactError, match="domain drama, split item_holdout: no 'HPPO - MO-DiT'"):
        verdict_of(report)


def test_gate_changes_nothing_that_it_reads_and_its_verdict_is_json():
    report = build_report()
    before = copy.deepcopy(report)
    json.dumps(verdict_of(report), allow_nan=False)
    assert report == before


def test_table_is_aligned_and_shows_every_domain():
    report = build_report(domains=("crime", "drama"), skipped={"western": "too few"})
    report["domains"]["crime"]["splits"]["pattern_holdout"] = {"cases": 0, "reason": "small"}
    lines = verdict_text(verdict_of(report)).splitlines()
    assert lines[0] == "FAIL (no champion yet: judged against absolute thresholds)"
    header, *rows = lines[2:]
    start = header.index("Joint@K HPPO")
    assert [row[start : start + 5].strip() for row in rows] == ["0.500", "0.500", "0.500", "-"]
    assert [row.split()[0] for row in rows] == ["crime", "drama", "pattern_holdout", "western"]
    assert rows[0].endswith("pattern_holdout: nothing was judged: small.")
