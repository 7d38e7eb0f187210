"""The verdict is shown as the gate wrote it."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from modit.core.artifacts import Manifest, digest_of_files, list_files
from modit.release.verdict import judged_in_words, served_figures, verdict_text
from tests.unit.serve.bundles import judged_splits


def test_each_domain_has_its_status_basis_figures_and_reasons():
    rare = {"status": "FAIL", "basis": "champion modit-rare/3", "reasons": ["a", "b"], "splits": {}}
    # As in the file, whose keys are sorted.
    splits = json.loads(json.dumps(judged_splits(), sort_keys=True))
    fresh = {"status": "PASS", "basis": "no champion: absolute thresholds", "reasons": ["c"], "splits": splits}
    assert verdict_text({"status": "FAIL", "domains": {"rare": rare, "fresh": fresh}}).splitlines() == [
        "fresh  PASS     no champion: absolute thresholds",
        "       - item-holdout: Joint@K 0.520, +10.0 points over Average pooling (+8.0 to +12.0); query alone 0.500",
        "       - pattern-holdout: Joint@K 0.520, +10.0 points over Average pooling (+8.0 to +12.0); query alone 0.500",
        "rare   FAIL     champion modit-rare/3",
        "       - not promoted: a",
        "       - not promoted: b",
        "",
        "verdict: FAIL",
    ]


def test_a_domain_that_was_added_shows_what_its_verdicts_gave_before_training():
    splits = judged_splits()
    splits["item_holdout"]["joint"]["before_training"] = 0.4312
    fresh = {"status": "PASS", "basis": "no champion: absolute thresholds", "reasons": ["c"], "splits": splits}
    text = verdict_text({"status": "PASS", "domains": {"fresh": fresh}})
    assert "item-holdout: Joint@K 0.520 (before training 0.431), +10.0 points over Average pooling" in text
    assert "pattern-holdout: Joint@K 0.520, +10.0 points" in text


def test_a_page_gets_the_basis_and_the_conclusion_as_sentences():
    judged = {"status": "FAIL", "basis": "champion modit-rare/3", "reasons": ["a", "b"], "words": "not promoted: a; b"}
    assert judged_in_words(judged) == ["basis: champion modit-rare/3", "not promoted: a", "not promoted: b"]
    passed = judged | {"status": "PASS", "words": "may be promoted: a"}
    assert judged_in_words(passed) == ["basis: champion modit-rare/3", "may be promoted: a"]


@pytest.mark.parametrize("with_rerank", [True, False])
def test_what_serving_took_is_read_from_the_manifests(tmp_path, with_rerank):
    files = ("verdict", None), ("servability", "rare"), ("servability", "slow")
    for name, domain in files:
        folder = tmp_path / name / (domain or "")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "verdict.json").write_text('{"status": "FAIL", "domains": {"rare": {}, "slow": {}, "gone": {}}}')
        rerank = {"rerank_p50_ms": 5.1, "rerank_p99_ms": 10.6} if with_rerank else {}
        summary = {"p50_ms": 4.2, "p99_ms": 9.87, **rerank, "peak_mb": 195.3} if domain == "rare" else {}
        entries = list_files(folder)
        made = Manifest(name, domain, entries, digest_of_files(entries), summary, "step", "key", {})
        (folder / "manifest.json").write_text(json.dumps(asdict(made)))
    reranked = " (reranked: p50 5.1 ms, p99 10.6 ms)" if with_rerank else ""
    assert served_figures(str(tmp_path)) == [f"rare: p50 4.2 ms, p99 9.9 ms{reranked}, 195 MiB"]
    assert served_figures(str(tmp_path / "nothing")) == []


def test_a_run_without_new_data_shows_its_reason_and_its_verdict():
    verdict = {"status": "SKIPPED_NO_DATA", "domains": {}, "reason": "No new data: 0 accepted interactions."}
    assert verdict_text(verdict).splitlines() == [
        "No new data: 0 accepted interactions.",
        "",
        "verdict: SKIPPED_NO_DATA",
    ]


def test_the_table_names_the_versions_of_the_data_or_says_that_there_are_none():
    versions = {"status": "versioned", "datasets": {"raw": {"md5": "0123456789abcdef.dir"}, "cases": {"md5": "ff.dir"}}}
    verdict = {"status": "PASS", "domains": {}, "versions": versions}
    assert "data:    raw 0123456789ab, cases ff.dir" in verdict_text(verdict).splitlines()
    verdict["versions"] = {"status": "disabled", "datasets": {}, "reason": "snapshot.enabled is false: not versioned"}
    assert "data:    snapshot.enabled is false: not versioned" in verdict_text(verdict).splitlines()
