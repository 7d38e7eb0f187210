"""Families of retrievers side by side: what is read from runs, what is missing, and one task for all."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from components.registry import REGISTRY
from modit.cli import main
from modit.core.artifacts import ArtifactStore
from modit.core.errors import ConfigError
from modit.core.storage import Storage
from modit.data.catalog import Sequences
from modit.data.sessions import Sessions
from modit.evaluate.evaluation import EvaluationSettings, evaluate_task
from modit.evaluate.families.common_task import SeedsFromSessions, judge_on_sessions
from modit.evaluate.families.facts import best_rival, open_runs
from modit.evaluate.families.families import FAMILIES
from modit.evaluate.families.page import compare_families, duration
from modit.evaluate.next_item.names import ITEM_KNN, SASREC_FULL, SERVED
from modit.evaluate.next_item.rows import Columns, simple_rows
from modit.evaluate.next_item.task import NextItemTask
from modit.evaluate.storage import save_evaluation
from modit.evaluate.task import Row
from modit.inference.retrieval import SearchResult
from modit.inference.sessions import SessionQuery
from tests.unit.serve.bundles import Bundle, make_catalog, of_domain, put_artifact, write_json

TRIAL = {"p50_ms": 1.5, "p99_ms": 2.5, "rerank_p50_ms": 1.75, "rerank_p99_ms": 2.75, "peak_mb": 200.0}


def put_sampler(bundle, sampler_file):
    def write(folder):
        of_domain(sampler_file, None, "crime", folder)
        about = {"index_digest": bundle.index_digest, "maximum_seeds": 12, "network_share": 0.6}
        write_json(folder / "sampler.json", about)

    bundle.put("sampler", "crime", write)


def put_trial(bundle, summary):
    def write(folder):
        checks = [{"name": "loads", "holds": bool(summary), "sentence": "it cannot be served: no such file"}]
        write_json(folder / "servability.json", {"checks": checks})
        return summary

    bundle.put("servability", "crime", write)


def sessions_of(catalog):
    """The catalogue with forty sessions of six items."""
    items = np.random.default_rng(0).integers(0, len(catalog), 240).astype(np.int32)
    return replace(catalog, sequences=Sequences(np.arange(0, 241, 6), items))


def retrain_run(folder, sampler_file, seed=0, summary=TRIAL):
    bundle = Bundle(str(folder / "retrain"), folder / "scratch", sampler_file, ["crime"], seed)
    bundle.put("catalog", None, sessions_of(bundle.catalog).save)
    put_sampler(bundle, sampler_file)
    put_trial(bundle, summary)
    return bundle.run


def session_run(folder, name, seed=0):
    """A run of semantic IDs up to its evaluation, in which another model answers; nothing is exported."""
    run, scratch = str(folder / name), folder / f"scratch-{name}"
    store, catalog = ArtifactStore(Storage(run), scratch / "cache"), sessions_of(make_catalog(seed))
    put_artifact(store, scratch, "catalog", None, catalog.save)
    sessions = Sessions(catalog.sequences)
    rows = simple_rows(sessions.training, Columns.of(catalog.item_ids), len(catalog))
    served = Row(SERVED, "model", rows[1].build({"neighbours": 10, "shrinkage": 5.0, "decay": 1.0}))
    found = evaluate_task(
        NextItemTask(sessions, len(catalog), SERVED, ITEM_KNN), rows, [served], EvaluationSettings(3, 50)
    )
    put_artifact(store, scratch, "next_item_evaluation", None, lambda folder: save_evaluation(folder, found, {}))
    return run, found.content


@pytest.fixture(scope="module")
def worlds(tmp_path_factory, sampler_file):
    """A run of each family over the same items, and the evaluation of the second."""
    folder = tmp_path_factory.mktemp("families")
    return retrain_run(folder, sampler_file), *session_run(folder, "semantic_ids")


@pytest.fixture(scope="module")
def page(worlds, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "page"
    html, content = compare_families(worlds[:2], folder, cases=0)
    return html.read_text(), json.loads(content.read_text())


def member(content, family):
    return next(each for each in content["families"] if each["family"] == family)


def test_every_artifact_that_is_read_is_one_that_the_steps_of_the_pipeline_write():
    for family in FAMILIES:
        named = {family.evaluation, family.trial, family.network[0], *family.served, *family.shared, *family.trained}
        assert named | set(family.trained_for_all) <= set(REGISTRY.of(family.pipeline).writer)
        assert family.network[0] in family.trained
        per_domain = REGISTRY.of(family.pipeline).writer[family.evaluation].per_domain
        assert family.per_domain == per_domain


def test_each_family_has_what_its_run_measured(page):
    content = page[1]
    sampler, ids = member(content, "MO-DiT"), member(content, "Semantic IDs")
    assert sampler["domain"] == "crime" and ids["domain"] is None
    assert {name: sampler[name]["value"] for name in TRIAL} == TRIAL
    assert sampler["request"] == {"value": "12 seeds"}
    assert sampler["files_mb"]["value"] > 0 and sampler["shared_files_mb"]["value"] > 0
    recall, ndcg = ids["quality"]
    assert (recall["figure"], ndcg["figure"], recall["row"]) == ("Recall@10", "NDCG@10", SERVED)
    assert recall["rival"]["row"] in {"Popularity", "Item-kNN", "EASE"}
    difference = recall["difference"]["mean"]
    assert difference == pytest.approx(recall["mean"] - recall["rival"]["mean"], abs=1e-5)


def test_what_is_missing_says_why(page):
    html, content = page
    sampler, ids = member(content, "MO-DiT"), member(content, "Semantic IDs")
    assert sampler["quality"] == [{"missing": "the run has no artifact evaluation"}]
    assert sampler["training_seconds"] == {"missing": "the manifest of predictor is of a version that noted no times"}
    assert sampler["parameters"] == {"missing": "the run has no artifact hppo_4"}
    assert ids["p50_ms"] == {"missing": "the run has no artifact next_item_servability"}
    assert html.count("not known: the run has no artifact evaluation") == 1


def test_a_trial_that_was_refused_says_what_it_was_refused_for(tmp_path, sampler_file):
    run = retrain_run(tmp_path, sampler_file, summary={})
    (found,) = open_runs([run])[0].members()
    assert found.as_json()["p99_ms"] == {"missing": "it cannot be served: no such file"}


def test_samplers_answer_the_sessions_beside_the_rows_at_the_settings_that_the_evaluation_chose(worlds, page):
    found = page[1]["next_item"]
    rows = {row["name"]: row for row in found["splits"]["test"]["rows"]}
    assert set(rows) == {"Popularity", "Item-kNN", "EASE", "MO-DiT crime"}
    assert "no artifact" in found["left_out"]["Semantic IDs"]
    judged = {row["name"]: row for row in worlds[2]["splits"]["test"]["rows"]}
    for name in ("Popularity", "Item-kNN", "EASE"):
        assert rows[name]["ndcg_at_10"] == pytest.approx(judged[name]["ndcg_at_10"], abs=1e-6)
        assert rows[name]["tuned"]["setting"] == judged[name]["tuned"]["setting"]
        assert rows[name]["tuned"]["tried"] == 1
    assert rows["MO-DiT crime"]["recall_at_10"] < 1


def test_fewer_cases_are_evenly_drawn(worlds):
    assert judge_on_sessions(open_runs(worlds[:1]), 4, 0)["splits"]["test"]["cases"] == 4


def test_the_seeds_of_a_session_are_its_last_items_and_no_result_is_excluded_twice():
    class First:
        def retrieve(self, requests):
            self.asked = requests
            return [SearchResult(np.empty(0), np.arange(each.k), np.zeros(each.k, np.float32)) for each in requests]

    first, vectors = First(), np.arange(20, dtype=np.float32).reshape(10, 2)
    history, allowed = np.array([7, 1, 4, 2]), np.ones(10, bool)
    SeedsFromSessions(first, vectors, 3).retrieve([SessionQuery(history, 5, history, allowed)])
    (query,) = first.asked
    assert np.array_equal(query.seeds, vectors[[1, 4, 2]])
    assert query.k == 5 and np.array_equal(query.exclude, history) and query.allowed is allowed


def test_the_page_is_one_file_without_scripts_and_says_that_mo_dit_is_not_made_for_the_task(page):
    html, content = page
    assert "<script" not in html and not re.search(r'(src|href)="(?!#)', html)
    assert "MO-DiT is not made for this task" in html
    assert "MO-DiT crime" in html and "Semantic IDs" in html
    assert [note for note in content["notes"] if "MO-DiT" in note or "Semantic IDs" in note] == []


def test_one_family_alone_is_shown_and_the_other_named(worlds, tmp_path):
    html, content = compare_families(worlds[:1], tmp_path, cases=3)
    note = "Families without a run here: Semantic IDs (pipeline semantic_ids), Text towers (pipeline towers), "
    note += "Fan-out (pipeline fan_out)."
    assert json.loads(content.read_text())["notes"] == [note]
    assert note in html.read_text()


def test_a_catalogue_without_sessions_says_that_nobody_is_asked(worlds, sampler_file, tmp_path):
    run = retrain_run(tmp_path, sampler_file)
    store = ArtifactStore(Storage(run), tmp_path / "cache")
    put_artifact(store, tmp_path / "again", "catalog", None, make_catalog(0).save)
    assert "no session" in judge_on_sessions(open_runs([run]), 0, 0)["missing"]
    html, content = compare_families([worlds[0], run], tmp_path / "out", 3)
    (note,) = [each for each in json.loads(content.read_text())["notes"] if "other sessions" in each]
    assert note in html.read_text()


def test_two_runs_of_one_family_are_told_apart(worlds, tmp_path):
    shutil.copytree(worlds[0], tmp_path / "second")
    rows = judge_on_sessions(open_runs([worlds[0], str(tmp_path / "second")]), 0, 0)["splits"]["test"]["rows"]
    assert {"MO-DiT crime (retrain)", "MO-DiT crime (second)"} <= {row["name"] for row in rows}


def test_runs_over_other_items_are_refused(worlds, tmp_path):
    other, _ = session_run(tmp_path, "other", seed=1)
    with pytest.raises(ConfigError, match="different items, so their figures cannot stand side by side"):
        open_runs([worlds[0], other])


def test_wrong_runs_are_refused_by_name(worlds, tmp_path, capsys):
    run = worlds[1]
    with pytest.raises(ConfigError, match="twice"):
        open_runs([run, run])
    assert main(["compare-families", "--run", str(tmp_path / "none"), "--out", str(tmp_path)]) == 1
    assert "no artifact catalog" in capsys.readouterr().err
    assert main(["compare-families", "--run", run, "--out", str(tmp_path), "--cases", "-1"]) == 1
    assert "--cases -1" in capsys.readouterr().err


def test_the_best_rival_is_no_row_of_a_family_and_no_oracle():
    kinds = {
        "HPPO + rerank": "model",
        "Oracle": "oracle",
        "Average": "classical",
        SASREC_FULL: "model",
    }
    rows = [{"name": name, "kind": kind, "joint": 1 / (2 + place)} for place, (name, kind) in enumerate(kinds.items())]
    assert best_rival(rows, "joint") == "Average"
    assert best_rival(rows[:2], "joint") is None


@pytest.mark.parametrize(("seconds", "words"), [(12.4, "12 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")])
def test_durations_are_in_words(seconds, words):
    assert duration(seconds) == words
