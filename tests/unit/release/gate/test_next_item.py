"""The gate on a retriever of the next item: both keys, every condition, and what it refuses to judge."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from modit.core.errors import ArtifactError
from modit.data.catalog import Sequences
from modit.evaluate.next_item.names import SERVED
from modit.inference.retrieval import SearchResult
from modit.inference.sessions import SessionQuery
from modit.release.gate.champion import (
    NONE,
    READY,
    UNREADABLE,
    Champion,
    OtherCatalogue,
    fetch_champion,
    load_champion_judged_once,
)
from modit.release.gate.gate import overridden_thresholds
from modit.release.gate.judged_once import JudgedOnceEvidence, judge_once
from modit.release.gate.next_item import RULES
from modit.release.gate.servability import CHECKS, judge_trial, try_in_fresh_process
from modit.release.params import NextItemGateParams, ServabilityParams
from modit.release.verdict import judged_in_words, verdict_text
from tests.unit.release.gateworld import interval
from tests.unit.serve.bundles import make_catalog
from tests.unit.serve.session_bundles import SessionBundle

DIGESTS = {"retriever_digest": "a" * 64, "index_digest": "b" * 64}
FIRST = Champion(NONE, "no version of modit-next_item has the alias champion")
CHAMPION = Champion(READY, None, "modit-next_item", 3, "/runs/old", "d" * 64, "e" * 64, lost_items=0.0)
GAINS = {"Popularity": 0.05, "Item-kNN": 0.01, "Champion": 0.002}


def recall(value: float, half: float = 0.004) -> dict[str, Any]:
    return {"recall_at_10": interval(value, half, 200)}


def row(name: str, value: float, hallucination: float | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "recall_at_10": value,
        "recall_at_10_interval": interval(value, 0.004, 200),
        "hallucination": hallucination,
    }


def measured(champion: bool, slices: dict[str, float] | None = None, **gains: float) -> dict[str, Any]:
    """An evaluation whose served row has a Recall@10 of 0.1, with gains over other rows by their names."""
    gains = {name: value for name, value in (GAINS | gains).items() if champion or name != "Champion"}
    rows = [row(SERVED, 0.1, 0.0), *(row(name, 0.1 - gain) for name, gain in gains.items())]
    against = "Champion" if champion else "SASRec, full cross-entropy"
    cases = {"head": 300, "tail": 180, "cold": 20}
    return {
        "cases": 500,
        "rows": rows,
        "comparisons": [
            {"name": f"{SERVED} - {name}", "row": SERVED, "against": name} | recall(gain)
            for name, gain in gains.items()
        ],
        "slices_against": against,
        "slices": [
            {"name": name, "cases": count, "difference": recall((slices or {}).get(name, 0.0))}
            for name, count in cases.items()
        ],
    }


def evidence(champion: Champion = FIRST, **how: Any) -> JudgedOnceEvidence:
    split = how.pop("split", None) or measured(champion.status == READY, **how)
    checks = [
        {"name": name, "holds": True, "sentence": f"{name} is as it should be"} for name in CHECKS["semantic_ids"]
    ]
    return JudgedOnceEvidence(
        measured=DIGESTS | {"champion": champion.facts, "splits": {"test": split}},
        digests=DIGESTS,
        champion=champion,
        servability=DIGESTS | {"checks": checks, "budgets": {"p99_ms": 250.0}},
        parity={"status": "passed", "greatest_difference": 2e-6},
    )


def judged(found: JudgedOnceEvidence, **params: Any) -> dict[str, Any]:
    return judge_once(found, RULES, NextItemGateParams(**params))["domains"]["next_item"]


def test_a_first_retriever_that_is_above_popularity_and_not_below_item_knn_passes_and_its_rows_are_shown():
    verdict = judge_once(evidence(), RULES, NextItemGateParams())
    domain = verdict["domains"]["next_item"]
    assert verdict["status"] == domain["status"] == "PASS" and domain["champion"] is None
    assert domain["basis"] == "no champion: absolute thresholds" == judged_in_words(domain)[0].removeprefix("basis: ")
    assert domain["figures"]["Recall@10"] == 0.1 and domain["figures"]["gain over Popularity"] == 0.05
    text = verdict_text(verdict)
    assert f"{SERVED}  Recall@10 0.1000  (0.0960 to 0.1040)" in text and text.endswith("verdict: PASS")


def test_a_retriever_that_is_no_worse_than_the_champion_passes_against_it():
    domain = judged(evidence(CHAMPION))
    assert (domain["status"], domain["basis"]) == ("PASS", "champion modit-next_item/3")
    assert domain["champion"]["version"] == 3 and domain["figures"]["gain over Champion"] == 0.002
    names = [finding["name"] for finding in domain["keys"]["quality"]["findings"]]
    assert {"champion", "items of the champion", "slice head", "slice tail", "slice cold"} <= set(names)


@pytest.mark.parametrize(
    ("champion", "how", "reason"),
    [
        (FIRST, {"Popularity": 0.003}, "the gain in Recall@10 over Popularity is +0.3 points"),
        (FIRST, {"Item-kNN": -0.02}, "Recall@10 is significantly below Item-kNN: -2.0 points"),
        (CHAMPION, {"Popularity": -0.02}, "Recall@10 is significantly below Popularity"),
        (CHAMPION, {"Champion": -0.01}, "Recall@10 is significantly below champion modit-next_item/3: -1.0 points"),
        (CHAMPION, {"slices": {"tail": -0.02}}, "sessions whose next item is tail (180) lose to champion"),
        (replace(CHAMPION, lost_items=0.2), {}, "20.0 % of the items of champion modit-next_item/3 are not in"),
        (Champion(UNREADABLE, "it is gone", "modit-next_item", 3), {}, "cannot be judged on today's cases: it is gone"),
        (FIRST, {"split": {"cases": 0, "reason": "all sessions are too short"}}, "nothing was judged: all sessions"),
    ],
)
def test_a_retriever_that_is_worse_or_cannot_be_compared_fails_with_the_reason(champion, how, reason):
    domain = judged(evidence(champion, **how))
    assert domain["status"] == "FAIL" and not domain["keys"]["quality"]["holds"]
    assert len(domain["reasons"]) == 1 and reason in domain["reasons"][0]


def test_a_slice_within_the_noise_floor_of_the_champion_or_too_small_does_not_fail():
    assert judged(evidence(CHAMPION, slices={"tail": -0.008}))["status"] == "PASS"
    assert judged(evidence(CHAMPION, slices={"cold": -0.5}), minimum_slice_cases=21)["status"] == "PASS"


def test_ids_of_no_item_too_few_sessions_or_users_fail():
    split = measured(False)
    split["rows"][0]["hallucination"] = 0.01
    assert "1.00 % of the generated IDs are of no item" in judged(evidence(split=split))["reasons"][0]
    assert "500 sessions were judged, at least 501" in judged(evidence(), minimum_cases=501)["reasons"][0]
    few = measured(False)
    for entry in few["comparisons"]:
        entry["recall_at_10"] = interval(entry["recall_at_10"]["mean"], 0.004, 4)
    assert judged(evidence(split=few))["reasons"] == ["4 users, at least 5 are needed to resample them"]


def test_a_failed_check_of_serving_or_of_parity_fails():
    found = evidence()
    found.servability["checks"][3] |= {"holds": False, "sentence": "p99 is 900 ms"}
    assert judged(found)["reasons"] == ["serving: p99 is 900 ms"]
    found = replace(evidence(), parity={"status": "passed", "greatest_difference": 0.1})
    assert "does not answer as torch does" in judged(found)["reasons"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found.measured.update(retriever_digest="c" * 64), "evaluation.json: retriever_digest is cc"),
        (lambda found: found.servability.update(index_digest="c" * 64), "servability.json: index_digest is cc"),
        (lambda found: found.measured.update(champion=CHAMPION.facts), "evaluation.json: champion is"),
        (lambda found: found.measured["splits"]["test"]["rows"].pop(1), "no row Popularity, which the gate must read"),
        (lambda found: found.measured["splits"]["test"]["slices"].pop(), "no slice cold"),
        (lambda found: found.measured["splits"]["test"]["comparisons"][0].update(recall(0.3)), "the mean difference"),
        (lambda found: found.measured["splits"]["test"]["rows"][0].update(recall_at_10=1.5), "less than or equal to 1"),
        (lambda found: found.servability["checks"].pop(1), "servability.json, domain next_item: checked loads, lists"),
        (lambda found: found.measured["splits"].clear(), "no split test"),
    ],
)
def test_what_is_missing_edited_or_of_another_run_is_refused_by_name(change, message):
    found = evidence()
    change(found)
    with pytest.raises(ArtifactError, match=message):
        judged(found)


def test_the_gates_own_overrides_are_named():
    assert overridden_thresholds({"gate_next_item.noise_floor": 0.5, "evaluate_next_item": {"beams": 5}}) == {
        "gate_next_item.noise_floor": 0.5
    }


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """The champion's run; its catalogue lacks the first ten items of today's."""
    folder = tmp_path_factory.mktemp("old")
    return SessionBundle(str(folder / "run"), folder, left_out=10)


def test_the_champion_is_asked_in_rows_of_todays_catalogue(old, tmp_path):
    today = replace(make_catalog(0, order=5), sequences=Sequences.none())
    found = fetch_champion(old.named(7), "next_item", today, tmp_path)
    assert (found.status, found.version, found.lost_items) == (READY, 7, 0.0)
    assert found.model_digest == old.manifest.model_digest and Champion.load(tmp_path) == found
    baseline = load_champion_judged_once("next_item", found, tmp_path)
    assert baseline.new_items.sum() == 10
    new, known = np.flatnonzero(baseline.new_items), np.flatnonzero(~baseline.new_items)
    asked = [SessionQuery(np.r_[known[:2], new[:1]], 300, known[:2]), SessionQuery(known[:2], 300, known[:2])]
    with_new, without = baseline.retriever.retrieve(asked)
    assert with_new.rows.tolist() == without.rows.tolist()
    assert set(without.rows.tolist()) == set(known[2:].tolist())


def test_items_that_are_gone_are_no_results_and_limits_are_translated():
    class Echo:
        def retrieve(self, requests):
            self.asked = requests
            return [SearchResult(np.empty(0), np.flatnonzero(each.allowed), np.zeros(2)) for each in requests]

    echo, here = Echo(), np.array([3, -1, 0, 1])
    other = OtherCatalogue.of(echo, here, 5)
    allowed = np.array([True, False, True, True, True])
    (found,) = other.retrieve([SessionQuery(np.array([0, 4, 3]), 2, np.array([4, 1]), allowed)])
    (asked,) = echo.asked
    assert (asked.history.tolist(), asked.exclude.tolist()) == ([2, 0], [3])
    assert asked.allowed.tolist() == [True, False, True, False] and found.rows.tolist() == [3, 0]


def test_a_champion_whose_files_are_gone_or_edited_is_unreadable(old, tmp_path):
    today = make_catalog(0)
    found = fetch_champion(old.named(7, run_uri="/nowhere/run"), "next_item", today, tmp_path)
    assert found.status == UNREADABLE and load_champion_judged_once("next_item", found, tmp_path) is None
    found = fetch_champion(old.named(7, retriever_digest="0" * 64), "next_item", today, tmp_path)
    assert found.status == UNREADABLE and "sha256 of retriever.json" in found.reason


def test_a_fresh_process_loads_the_retriever_without_torch_repeats_answers_and_measures(old, tmp_path):
    params = ServabilityParams(queries=50, rounds=1, warmup=2, p99_ms=5_000)
    folders = {"retriever": old.folder("exported_retriever"), "catalog": old.folder("catalog")}
    digests = {"retriever_digest": old.manifest.model_digest, "index_digest": old.manifest.index_digest}
    found = try_in_fresh_process(folders, digests, tmp_path, params, "semantic_ids")
    assert found["torch"] is False and (found["equal_lists"], found["lists"]) == (1.0, 4)
    assert 0 < found["p50_ms"] <= found["p99_ms"] and "5 items" in found["query"]
    checks = judge_trial(found, params)
    assert [each.name for each in checks] == list(CHECKS["semantic_ids"]) and all(each.holds for each in checks)
    tight = judge_trial(found, ServabilityParams(p99_ms=1e-6, memory_mb=1))
    assert [each.name for each in tight if not each.holds] == ["latency", "memory"]
    other = try_in_fresh_process(folders, digests | {"index_digest": "0" * 64}, tmp_path, params, "semantic_ids")
    assert "index_digest is 000" in judge_trial(other, params)[0].sentence
