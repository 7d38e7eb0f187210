"""The gate on a retriever by text: margins to BM25 and the champion, a gain in one figure, the champion as a row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from modit.core.errors import ArtifactError
from modit.data.catalog import Sequences
from modit.inference.texts import TextQuery
from modit.release.gate.champion import NONE, READY, Champion, fetch_champion, load_champion_judged_once
from modit.release.gate.judged_once import JudgedOnceEvidence, judge_once
from modit.release.gate.search import RULES
from modit.release.gate.servability import CHECKS, judge_trial, try_in_fresh_process
from modit.release.params import SearchGateParams, ServabilityParams
from modit.release.verdict import verdict_text
from tests.unit.release.gateworld import interval
from tests.unit.serve.text_bundles import TextBundle

SERVED = "BM25 + Towers + SymmAligner"
DIGESTS = {"retriever_digest": "a" * 64, "index_digest": "a" * 64}
FIRST = Champion(NONE, "no version of modit-search has the alias champion")
CHAMPION = Champion(READY, None, "modit-search", 3, "/runs/old", "d" * 64, "e" * 64, lost_items=0.0)
BASE = {"ndcg_at_10": 0.9, "recall_at_10": 0.4, "recall_at_100": 0.7}
GAINS = {"BM25": (0.002, 0.08), "Champion": (0.0, 0.001)}


def both(ndcg: float, recall: float, first_ten: float = 0.0) -> dict[str, Any]:
    return {
        "ndcg_at_10": interval(ndcg, 0.004, 200),
        "recall_at_10": interval(first_ten, 0.02, 200),
        "recall_at_100": interval(recall, 0.008, 200),
    }


def measured(champion: bool, rare: float = 0.0, **gains: tuple[float, ...]) -> dict[str, Any]:
    """An evaluation whose served row has NDCG@10 .9 and Recall@100 .7, with gains over other rows by their names."""
    gains = {name: gain for name, gain in (GAINS | gains).items() if champion or name != "Champion"}
    rows = [{"name": SERVED} | BASE] + [
        {"name": name, "ndcg_at_10": 0.9 - gain[0], "recall_at_10": 0.4 - sum(gain[2:]), "recall_at_100": 0.7 - gain[1]}
        for name, gain in gains.items()
    ]
    return {
        "cases": 500,
        "rows": [row | {"ndcg_at_10_interval": interval(row["ndcg_at_10"], 0.004, 200)} for row in rows],
        "comparisons": [
            {"name": f"{SERVED} - {name}", "row": SERVED, "against": name} | both(*gain) for name, gain in gains.items()
        ],
        "slices_against": "Champion" if champion else "BM25",
        "slices": [
            {"name": "rare", "cases": 300, "difference": both(rare, 0.0)},
            {"name": "frequent", "cases": 200, "difference": both(0.0, 0.0)},
        ],
    }


def evidence(champion: Champion = FIRST, split: dict[str, Any] | None = None, **how: Any) -> JudgedOnceEvidence:
    checks = [{"name": name, "holds": True, "sentence": f"{name} is as it should be"} for name in CHECKS["towers"]]
    return JudgedOnceEvidence(
        measured=DIGESTS
        | {"champion": champion.facts, "splits": {"test": split or measured(champion.status == READY, **how)}},
        digests=DIGESTS,
        champion=champion,
        servability=DIGESTS | {"checks": checks, "budgets": {"p99_ms": 250.0}},
        parity={"status": "passed", "greatest_difference": 2e-6},
    )


def judged(found: JudgedOnceEvidence, **params: Any) -> dict[str, Any]:
    return judge_once(found, RULES, SearchGateParams(**params))["domains"]["search"]


def test_a_first_retriever_that_finds_more_and_orders_no_worse_than_bm25_passes_and_its_rows_are_shown():
    verdict = judge_once(evidence(), RULES, SearchGateParams())
    domain = verdict["domains"]["search"]
    assert verdict["status"] == domain["status"] == "PASS"
    assert domain["figures"]["NDCG@10"] == 0.9 and domain["figures"]["Recall@100 gain over BM25"] == 0.08
    text = verdict_text(verdict)
    assert f"{SERVED}  NDCG@10 0.9000  (0.8960 to 0.9040)  Recall@10 0.4000  Recall@100 0.7000" in text


@pytest.mark.parametrize(
    ("champion", "how", "reason"),
    [
        (FIRST, {"BM25": (-0.004, 0.08)}, "the change in NDCG@10 from BM25 is -0.4 points"),
        (FIRST, {"BM25": (0.01, -0.005)}, "the change in Recall@100 from BM25 is -0.5 points"),
        (FIRST, {"BM25": (0.002, 0.08, -0.03)}, "Recall@10 is significantly below BM25: -3.0 points"),
        (CHAMPION, {"Champion": (0.0, 0.0, -0.03)}, "Recall@10 is significantly below champion modit-search/3"),
        (FIRST, {"BM25": (0.002, 0.004)}, "the gains over BM25 are NDCG@10 +0.2 points"),
        (CHAMPION, {"Champion": (-0.003, 0.0)}, "the change in NDCG@10 from champion modit-search/3 is -0.3 points"),
        (CHAMPION, {"Champion": (0.0, -0.009)}, "the change in Recall@100 from champion modit-search/3"),
        (CHAMPION, {"rare": -0.02}, "queries that are rare (300) lose to champion modit-search/3"),
        (replace(CHAMPION, lost_items=0.2), {}, "20.0 % of the items of champion modit-search/3 are not in"),
    ],
)
def test_a_retriever_below_a_margin_or_without_a_gain_fails_with_the_reason(champion, how, reason):
    domain = judged(evidence(champion, **how))
    assert domain["status"] == "FAIL" and len(domain["reasons"]) == 1 and reason in domain["reasons"][0]


def test_margins_are_parameters_and_an_equal_retriever_passes_against_the_champion():
    assert judged(evidence(CHAMPION))["status"] == "PASS"
    assert judged(evidence(BM25=(-0.004, 0.08)), ndcg_margin=0.01)["status"] == "PASS"
    assert "500 queries were judged, at least 501" in judged(evidence(), minimum_cases=501)["reasons"][0]


def test_figures_that_are_missing_or_do_not_fit_are_refused_by_name():
    for change, message in (
        (lambda split: split["rows"][1].pop("recall_at_100"), "row BM25 has no recall_at_100"),
        (lambda split: split["comparisons"][0].pop("recall_at_100"), "BM25 has no recall_at_100, which the gate"),
        (lambda split: split["comparisons"][0].update(both(0.002, 0.3)), "the mean difference is 0.3"),
        (lambda split: split["slices"].pop(), "no slice frequent"),
    ):
        split = measured(False)
        change(split)
        with pytest.raises(ArtifactError, match=message):
            judged(evidence(split=split))


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """The champion's run; its catalogue lacks the first ten items of today's."""
    folder = tmp_path_factory.mktemp("old")
    return TextBundle(str(folder / "run"), folder, left_out=10)


def test_the_champion_is_asked_in_rows_of_todays_catalogue_and_judged_items_that_it_lacks_come_last(old, tmp_path):
    today = replace(old.make_catalog(0), sequences=Sequences.none())
    found = fetch_champion(old.named(7), "search", today, tmp_path)
    assert (found.status, found.version, found.lost_items) == (READY, 7, 0.0)
    baseline = load_champion_judged_once("search", found, tmp_path)
    assert baseline.new_items.tolist() == [True] * 10 + [False] * 290
    (answer,) = baseline.retriever.retrieve([TextQuery("red paint", 300, np.array([12, 3, 40]), np.array([3, 11]))])
    assert set(answer.rows.tolist()) == set(range(10, 300)) - {11}
    assert answer.judged[1] == -np.inf and (answer.judged[[0, 2]] > 0).all()
    (answer,) = baseline.retriever.retrieve([TextQuery("red paint", 10, np.array([3, 5]))])
    assert answer.judged.tolist() == [-np.inf, -np.inf]


def test_a_fresh_process_loads_the_retriever_without_torch_repeats_answers_and_measures(old, tmp_path):
    params = ServabilityParams(queries=50, rounds=1, warmup=2, p99_ms=5_000)
    folders = {"retriever": old.folder("exported_towers"), "catalog": old.folder("catalog")}
    digests = {"retriever_digest": old.manifest.model_digest, "index_digest": old.manifest.index_digest}
    found = try_in_fresh_process(folders, digests, tmp_path, params, "towers")
    assert found["torch"] is False and (found["equal_lists"], found["lists"]) == (1.0, 4)
    assert 0 < found["p50_ms"] <= found["p99_ms"] and "64 words" in found["query"]
    checks = judge_trial(found, params)
    assert [each.name for each in checks] == list(CHECKS["towers"]) and all(each.holds for each in checks)
