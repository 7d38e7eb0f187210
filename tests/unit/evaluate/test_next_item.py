"""The task `next_item`: who is asked what, how answers are judged, and what the simple rows compute."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from modit.core.errors import ConfigError, InsufficientDataError
from modit.data.catalog import Sequences
from modit.data.sessions import SessionPart, Sessions
from modit.evaluate.evaluation import EvaluationSettings, evaluate_task, headline
from modit.evaluate.next_item.names import EASE, ITEM_KNN, POPULARITY, SEMANTIC_IDS
from modit.evaluate.next_item.rows import (
    Columns,
    ScoredItems,
    ease_weights,
    simple_rows,
)
from modit.evaluate.next_item.task import NextItemTask
from modit.evaluate.params import NextItemParams
from modit.evaluate.report.task_page import PAGE_FILE, save_page
from modit.evaluate.storage import save_evaluation
from modit.evaluate.task import Row
from modit.index.item_similarity import cosine_neighbours, interactions
from modit.inference.retrieval import Generation, SearchResult

ITEMS = 40
TEST, VALIDATION = SessionPart.TEST, SessionPart.VALIDATION


def ragged(rows):
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return Sequences(offsets, np.concatenate(rows).astype(np.int32))


@pytest.fixture(scope="module")
def sessions():
    """Two halves of the items that never meet in a session; item 0 is in most sessions."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(120):
        half = rng.permutation(np.arange(1, ITEMS // 2) if number % 2 else np.arange(ITEMS // 2, ITEMS - 1))[:6]
        rows.append(np.concatenate([[0], half]) if number % 3 else half)
    return Sessions(ragged([*rows, np.array([1, 2, ITEMS - 1])]))


@pytest.fixture(scope="module")
def columns():
    return Columns.of(np.array([f"item-{row}" for row in range(ITEMS)]))


@dataclass
class Knows:
    """Answers each request with the target at a given place, as a model that generates IDs."""

    targets: dict
    place: int

    def retrieve(self, requests):
        found = []
        for request in requests:
            others = np.setdiff1d(np.arange(ITEMS), [*request.exclude, self.targets[request.history.tobytes()]])
            rows = np.insert(others[: request.k - 1], self.place, self.targets[request.history.tobytes()])
            found.append(
                SearchResult(np.empty(0), rows, -np.arange(len(rows), dtype=np.float32), Generation(20, 5, 30))
            )
        return found


def knowing(task, place):
    targets = {}
    for part in SessionPart:
        cases = task.cases(part)
        targets |= {each.history.tobytes(): target for each, target in zip(cases.requests, cases.truth, strict=True)}
    return Knows(targets, place)


@pytest.fixture(scope="module")
def task(sessions):
    return NextItemTask(sessions, ITEMS, SEMANTIC_IDS, POPULARITY)


def test_a_request_has_the_history_and_leaves_it_out_of_the_results(task, sessions):
    cases = task.cases(TEST)
    assert len(cases) == 121
    assert cases.requests[0].history.tolist() == sessions.histories(TEST)[0].tolist()
    assert cases.requests[0].exclude.tolist() == cases.requests[0].history.tolist()
    assert cases.clusters.tolist() == list(range(121))


def test_items_of_the_history_may_be_results_where_sessions_repeat_items():
    repeating = NextItemTask(Sessions(ragged([np.array([1, 2, 1, 2, 1])] * 5)), 3, "x", "y")
    assert repeating.may_repeat
    assert not len(repeating.cases(TEST).requests[0].exclude)


def test_recall_and_ndcg_follow_the_place_of_the_target(task):
    cases = task.cases(TEST)
    for place, recall_5, ndcg in ((0, 1.0, 1.0), (1, 1.0, 1 / np.log2(3)), (6, 0.0, 1 / np.log2(8))):
        scores = task.judge(cases, knowing(task, place).retrieve(cases.requests))
        assert scores["recall_at_10"].mean() == 1.0
        assert scores["recall_at_5"].mean() == recall_5
        np.testing.assert_allclose(scores["ndcg_at_10"], ndcg)
        assert scores["hallucination"].tolist() == [0.25] * len(cases)
        assert scores["items_per_query"].tolist() == [30.0] * len(cases)


def test_a_target_that_is_not_found_counts_as_a_miss(task):
    cases = task.cases(TEST)
    nothing = [SearchResult(np.empty(0), np.empty(0, np.int64), np.empty(0))] * len(cases)
    scores = task.judge(cases, nothing)
    assert scores["recall_at_10"].sum() == scores["ndcg_at_10"].sum() == 0
    assert np.isnan(scores["hallucination"]).all()


def test_ease_solves_its_regression_with_a_zero_diagonal(sessions, columns):
    matrix = interactions(sessions.training, columns.places)
    weights, penalty = ease_weights(matrix, 3.0), 3.0
    assert np.abs(np.diag(weights)).max() == 0
    # Steck 2019: off the diagonal the gradient of the ridge regression is zero
    dense = matrix.toarray().astype(np.float64)
    gradient = dense.T @ (dense @ weights - dense) + penalty * weights
    off = ~np.eye(ITEMS, dtype=bool)
    np.testing.assert_allclose(gradient[off], 0, atol=1e-3)


def test_item_neighbours_are_the_cosine_of_sessions(sessions, columns):
    matrix = interactions(sessions.training, columns.places)
    dense = matrix.toarray()
    norms = np.linalg.norm(dense, axis=0)
    cosine = dense.T @ dense / np.maximum(np.outer(norms, norms), 1e-9)
    np.fill_diagonal(cosine, 0)
    found = cosine_neighbours(matrix, ITEMS, 0.0).toarray()
    np.testing.assert_allclose(found, cosine, atol=1e-5)
    fewer = cosine_neighbours(matrix, 3, 0.0).toarray()
    assert ((fewer > 0).sum(1) <= 3).all()
    np.testing.assert_allclose(fewer.max(1), cosine.max(1), atol=1e-5)


def test_rows_that_see_who_goes_with_whom_find_the_half_of_a_session(task, sessions, columns):
    cases = task.cases(TEST)
    rows = {row.name: row for row in simple_rows(sessions.training, columns, ITEMS)}
    for name in (ITEM_KNN, EASE):
        results = rows[name].build(rows[name].grid[0]).retrieve(cases.requests)
        for request, result in zip(cases.requests[:60], results, strict=False):
            assert len(np.unique(result.rows)) == 10
            assert not np.isin(result.rows, request.exclude).any()
            half = request.history[-1] >= ITEMS // 2
            assert ((result.rows >= ITEMS // 2) == half).mean() > 0.8


def test_equal_scores_are_ordered_by_a_hash_and_not_by_the_number_of_the_item(columns, task):
    flat = ScoredItems(lambda requests: np.zeros((len(requests), ITEMS)), columns)
    rows = flat.retrieve(task.cases(TEST).requests[:1])[0].rows
    assert rows.tolist() != sorted(rows.tolist())


def test_ease_is_left_out_where_it_would_need_too_large_a_matrix(sessions, columns):
    assert [row.name for row in simple_rows(sessions.training, columns, ITEMS - 1)] == [POPULARITY, ITEM_KNN]


def test_no_training_item_is_refused(columns):
    with pytest.raises(InsufficientDataError, match="no session has a training item"):
        simple_rows(Sessions(ragged([np.array([1, 2])])).training, columns, ITEMS)


@pytest.fixture(scope="module")
def evaluation(task, sessions, columns):
    model = Row(SEMANTIC_IDS, "model", knowing(task, 2))
    free = NextItemTask(sessions, ITEMS, SEMANTIC_IDS, EASE, NextItemParams(unconstrained_cases=10), knowing(task, 4))
    rows = simple_rows(sessions.training, columns, ITEMS)
    return evaluate_task(free, rows, [model], EvaluationSettings(resamples=100))


def test_the_shared_evaluation_has_rows_comparisons_and_slices(evaluation):
    assert evaluation.content["task"] == "next_item"
    result = evaluation.content["splits"]["test"]
    assert [row["name"] for row in result["rows"]] == [POPULARITY, ITEM_KNN, EASE, SEMANTIC_IDS]
    assert result["rows"][-1]["hallucination"] == 0.25
    assert result["rows"][0]["hallucination"] is None
    assert {entry["name"] for entry in result["comparisons"]} == {
        f"{SEMANTIC_IDS} - {name}" for name in (POPULARITY, ITEM_KNN, EASE)
    }
    assert [part["name"] for part in result["slices"]] == ["head", "tail", "cold"]
    assert sum(part["cases"] for part in result["slices"]) == result["cases"] == 121
    # the last session ends with an item that is nowhere else
    assert result["slices"][-1]["cases"] == 1
    assert result["rows_by_slice"]["cold"][EASE]["recall_at_10"] == 0.0
    assert result["unconstrained"]["cases"] == 10
    assert headline(evaluation.content, "ndcg_at_10")["test"][f"{SEMANTIC_IDS} - {POPULARITY}"] > 0


def test_the_same_evaluation_gives_the_same_bytes_and_a_page_of_its_own(evaluation, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        save_evaluation(tmp_path / name, evaluation, {})
        save_page(tmp_path / name, json.loads((tmp_path / name / "evaluation.json").read_text()), "Beauty <&>")
    for file in ("evaluation.json", "per_case.npz", PAGE_FILE):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    page = (tmp_path / "one" / PAGE_FILE).read_text()
    assert "Next item: Beauty &lt;&amp;&gt;" in page
    assert "of the IDs have no item" in page and "EASE is left out" not in page
    content = json.loads((tmp_path / "one" / "evaluation.json").read_text())
    save_page(tmp_path / "one", content | {"ease_items_max": content["items"] - 1}, "Beauty")
    assert f"at most {content['items'] - 1} items" in (tmp_path / "one" / PAGE_FILE).read_text()
    assert "http" not in page.replace("http-equiv", "")


def test_without_the_row_that_is_compared_the_evaluation_is_refused(task, sessions, columns):
    with pytest.raises(ConfigError, match=SEMANTIC_IDS):
        evaluate_task(task, simple_rows(sessions.training, columns, ITEMS), [], EvaluationSettings(resamples=10))
