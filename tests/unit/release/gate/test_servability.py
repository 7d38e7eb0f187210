"""A sampler is tried in a process of its own, by the code that serves it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from modit.core.storage import sha256_of_file
from modit.data.catalog import Catalog
from modit.export.parity import TorchSampler
from modit.index.engines.collection import open_collection
from modit.index.engines.staging import stage
from modit.index.item_index import ItemIndex
from modit.index.params import IndexParams
from modit.inference.answers import Answer, equal_share, load_answers, save_answers
from modit.inference.retrieval import Query, SamplerRetriever
from modit.metric.evidence import KnownVerdicts
from modit.metric.second_stage import SECOND_STAGE_FILE
from modit.release.gate import servability_trial as trial
from modit.release.gate.servability import CHECKS, judge_trial, save_servability, try_in_fresh_process
from modit.release.kinds import SAMPLER
from modit.release.params import ServabilityParams
from tests.unit.samplers import describe
from tests.unit.serve.bundles import DEPTH, Bundle

# Generous: what is tested is that it measures, not how fast this machine is.
PARAMS = ServabilityParams(p99_ms=60_000, memory_mb=100_000, warmup=2, queries=50, rounds=2)
FOUND = {"equal_lists": 1.0, "lists": 32, "p50_ms": 4.0, "p99_ms": 9.5, "peak_mb": 300.0, "index_mb": 10.0}
FOUND |= {
    "query": "a query of 12 seeds",
    "torch": False,
    "rerank_p50_ms": 5.0,
    "rerank_p99_ms": 11.0,
    "rerank_items": 40,
}


@pytest.fixture(scope="module")
def bundle(sampler_file, sampler, tmp_path_factory):
    """A run whose sampler has the answers of torch beside it."""
    folder = tmp_path_factory.mktemp("trial")
    bundle = Bundle(str(folder / "run"), folder, sampler_file, ("drama",))
    index, catalog = ItemIndex.load(Path(bundle.run) / "index"), bundle.catalog
    verdicts = KnownVerdicts.stored(catalog, "drama")
    by_torch, answers = SamplerRetriever(TorchSampler(sampler, describe()), index, verdicts=verdicts), []
    for start in range(6):
        rows = np.arange(start, start + 12)
        (found,) = by_torch.retrieve([Query(catalog.embeddings[rows], 10, exclude=rows)])
        answers.append(
            Answer(catalog.item_ids[rows].tolist(), catalog.item_ids[found.rows].tolist(), found.scores.tolist())
        )
    folders = {"index": Path(bundle.run) / "index", "catalog": Path(bundle.run) / "catalog", "sampler": folder / "own"}
    folders["second_stage"] = Path(bundle.run) / "second_stage" / "drama"
    shutil.copytree(Path(bundle.run) / "sampler" / "drama", folders["sampler"])
    save_answers(folders["sampler"], answers)
    tags = bundle.tags("drama")
    digests = {name: tags[name] for name in ("sampler_digest", "index_digest")}
    return folders, digests | {"second_stage_digest": sha256_of_file(folders["second_stage"] / SECOND_STAGE_FILE)}


def test_a_fresh_process_loads_the_sampler_without_torch_finds_the_lists_of_torch_and_measures(bundle, tmp_path):
    found = try_in_fresh_process(*bundle, tmp_path, PARAMS)
    assert found["torch"] is False and (found["equal_lists"], found["lists"]) == (1.0, 6)
    assert 0 < found["p50_ms"] <= found["p99_ms"] and 50 < found["peak_mb"] < 5_000 and "12 seeds" in found["query"]
    assert 0 < found["rerank_p50_ms"] <= found["rerank_p99_ms"] and found["rerank_items"] == DEPTH * PARAMS.k
    checks = judge_trial(found, PARAMS)
    assert [check.name for check in checks] == list(CHECKS[SAMPLER]) and all(check.holds for check in checks)


def test_another_answer_than_torchs_is_noticed(bundle, tmp_path):
    folders, digests = bundle
    stored, other = load_answers(folders["sampler"]), tmp_path / "other"
    shutil.copytree(folders["sampler"], other)
    save_answers(other, [replace(stored[0], items=stored[0].items[::-1]), *stored[1:]])
    found = try_in_fresh_process(folders | {"sampler": other}, digests, tmp_path, PARAMS)
    assert found["equal_lists"] == pytest.approx(5 / 6)
    assert [check.name for check in judge_trial(found, PARAMS) if not check.holds] == ["lists"]


@pytest.mark.parametrize("name", ["sampler_digest", "second_stage_digest", "index_digest"])
def test_what_is_not_what_was_made_is_refused_with_the_reason(bundle, tmp_path, name):
    folders, digests = bundle
    found = try_in_fresh_process(folders, digests | {name: "0" * 64}, tmp_path, PARAMS)
    (check,) = judge_trial(found, PARAMS)
    assert (check.name, check.holds) == ("loads", False) and "0" * 64 in check.sentence


def test_a_missing_file_is_refused_by_name(bundle, tmp_path):
    folders, digests = bundle
    found = try_in_fresh_process(folders | {"sampler": tmp_path}, digests, tmp_path, PARAMS)
    assert f"{tmp_path}/sampler.onnx: missing" in found["refused"]


def test_a_generation_of_an_engine_is_pinned_and_one_that_is_gone_is_refused_by_name(bundle, tmp_path):
    folders, digests = bundle
    index, catalog = tmp_path / "index", Catalog.load(folders["catalog"])
    shutil.copytree(folders["index"], index)
    params = IndexParams(engine=f"lance://{tmp_path}/engine?collection=items")
    staged = stage(ItemIndex.load(index), catalog.embeddings, params, 0)
    staged.save(index)
    assert "refused" not in try_in_fresh_process(folders | {"index": index}, digests, tmp_path, PARAMS)
    open_collection(staged.place).drop()
    refused = try_in_fresh_process(folders | {"index": index}, digests, tmp_path, PARAMS)["refused"]
    assert f"items_{digests['index_digest'][:16]}: there is no such collection" in refused


def test_a_process_that_dies_is_no_pass(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    found = try_in_fresh_process(*bundle, tmp_path, PARAMS)
    assert "ended with status 1" in found["refused"] and not judge_trial(found, PARAMS)[0].holds


@pytest.mark.parametrize(
    ("figure", "least", "name"),
    [
        ("p99_ms", 250.0, "latency"),
        ("rerank_p99_ms", 250.0, "latency with rerank"),
        ("peak_mb", 1024 + 25.0, "memory"),
        ("equal_lists", 0.98, "lists"),
    ],
)
def test_each_check_turns_at_its_limit(figure, least, name):
    def failed(value):
        return [check.name for check in judge_trial(FOUND | {figure: value}, ServabilityParams()) if not check.holds]

    worse = -0.001 if figure == "equal_lists" else 0.001
    assert failed(least) == [] and failed(least + worse) == [name]


def test_importing_torch_fails_the_check():
    assert [c.name for c in judge_trial(FOUND | {"torch": True}, ServabilityParams()) if not c.holds] == ["no torch"]


def test_what_a_clock_measured_is_no_part_of_the_file_unless_a_check_failed(tmp_path):
    digests = {"sampler_digest": "a", "index_digest": "b"}
    texts = []
    for slower in (1.0, 2.0):
        found = FOUND | {
            "p50_ms": 4.0 * slower,
            "p99_ms": 9.5 * slower,
            "rerank_p99_ms": 11 * slower,
            "peak_mb": 300.0 * slower,
        }
        save_servability(tmp_path, judge_trial(found, ServabilityParams()), digests, ServabilityParams())
        texts.append((tmp_path / "servability.json").read_text())
    assert texts[0] == texts[1]
    assert json.loads(texts[0])["budgets"]["p99_ms"] == 250.0
    slow = judge_trial(FOUND | {"p99_ms": 312.4}, ServabilityParams())
    assert slow[3].sentence == "p99 of a query of 12 seeds is 312.4 ms, its budget 250 ms"
    slow = judge_trial(FOUND | {"rerank_p99_ms": 312.4}, ServabilityParams())
    assert slow[4].sentence == "p99 of a query of 12 seeds, its list of 40 reranked, is 312.4 ms, its budget 250 ms"


def test_items_of_equal_score_may_change_places_and_others_may_not():
    answer = Answer(["s"], ["a", "b", "c"], [0.9, 0.5, 0.5])
    assert answer.equals(["a", "c", "b"], [0.9, 0.5, 0.5])
    assert not answer.equals(["b", "a", "c"], [0.9, 0.5, 0.5])
    assert not answer.equals(["a", "b"], [0.9, 0.5])
    assert equal_share([answer, answer], lambda each: (each.items, each.scores)) == 1.0


def test_the_fastest_round_counts_and_warm_up_does_not(monkeypatch):
    asked = []
    times = {number: (5.0 if number < 60 else 1.0) for number in range(1_000)}
    now = [0.0]

    def ask(number):
        asked.append(number)
        now[0] += times[number] / 1000

    monkeypatch.setattr(trial.time, "perf_counter", lambda: now[0])
    p50, p99 = trial.fastest_round(ask, warmup=10, queries=60, rounds=2)
    assert len(asked) == 130 and (p50, p99) == (pytest.approx(1.0), pytest.approx(1.0))
