"""The task `fan_out`: figures of sets, rivals that choose from one list, and rows that merge lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modit.data.judged_queries import JudgedQueries, QueryPart
from modit.data.splits import TEST, VALIDATION
from modit.data.text_space import TextSpace
from modit.evaluate.fan_out.rows import (
    OneQuery,
    determinantal_choice,
    listed_by_words,
    maximal_marginal_relevance,
    reordered_rows,
)
from modit.evaluate.fan_out.task import FanOutTask
from modit.inference.fan_out import FanOutRetriever
from modit.inference.retrieval import QuerySet, SearchResult
from modit.inference.texts import TextQuery
from modit.inference.word_index import WordIndex

TITLES = ["red paint", "green paint", "blue paint", "red brush", "green brush", "blue hammer"]
NONE, ONE_RUN = np.empty((0, 4), np.float32), np.ones((1, 4), np.float32)


@pytest.fixture
def space():
    return TextSpace.fit(TITLES, 4)


@pytest.fixture
def task(space):
    split = np.array([VALIDATION, TEST, TEST], np.int8)
    items, offsets = np.array([0, 1, 2, 3, 4], np.int32), np.array([0, 1, 4, 5])
    relevance = np.array([1, 1, 1, 0, 0], np.float32)
    judged = JudgedQueries(
        np.array(["a", "b", "c"]), np.array(["red", "Paint", "brush"]), split, offsets, items, relevance
    )
    return FanOutTask(judged, 1.0, 2, space.items)


def answered(rows, vectors=NONE, first=(0, 1), runs=ONE_RUN):
    query = np.array([1, 0, 0, 0], np.float32)
    return SearchResult(query, np.array(rows), np.zeros(len(rows)), query_set=QuerySet(vectors, np.array(first), runs))


def test_an_intent_is_a_case_if_it_has_an_item_and_coverage_is_the_share_of_items_in_the_pool(task):
    cases = task.cases(QueryPart.TEST)
    assert [request.text for request in cases.requests] == ["Paint"] and cases.truth[0].tolist() == [1, 2]
    assert task.decide(cases, [answered([5, 2, 1])]).tolist() == [0.5]  # 1 is behind the pool of 2


def test_rows_without_queries_have_no_alignment_and_equal_runs_no_variety(task):
    cases = task.cases(QueryPart.TEST)
    scores = task.judge(cases, [answered([1, 2])])
    assert np.isnan(scores["alignment"]).all() and scores["variety"] == 0 and scores["hit"] == 1
    queries = np.eye(4, dtype=np.float32)[:2]
    scores = task.judge(cases, [answered([3], queries, runs=queries)])
    assert scores["alignment"] == 0.5 and scores["variety"] == pytest.approx(1) and scores["hit"] == 0


def test_a_set_of_the_intent_alone_is_the_search_without_fan_out(space):
    found = FanOutRetriever(OneQuery(space), space, 2, 1).retrieve([TextQuery("green paint", 3), TextQuery("red", 3)])
    for result, text in zip(found, ("green paint", "red"), strict=True):
        own = space.items @ space.encode([text])[0]
        assert result.rows.tolist() == np.argsort(-own, kind="stable")[:3].tolist()
        assert result.query_set.first.base is None  # nor is more of a list kept in memory


def test_words_of_the_intent_count_in_every_list_by_their_weight(space):
    class Elsewhere:
        def sets(self, texts, run):
            return np.repeat(space.encode(["blue hammer", "brush"])[None], len(texts), 0)

    request, words = TextQuery("green paint", 2), WordIndex.build(TITLES, 1.2, 0.75)
    for weight in (0.0, 0.5, 1.0):
        (found,) = FanOutRetriever(Elsewhere(), space, 2, words=words, weight=weight).retrieve([request])
        scores = weight * (found.query_set.vectors @ space.items.T) + (1 - weight) * words.shares(["green paint"])
        assert found.query_set.first.tolist() == scores.argmax(1).tolist()
        np.testing.assert_allclose(found.scores, scores.max(0)[found.rows], rtol=1e-5)
    assert found.query_set.first.tolist() != [1, 1]
    (alone,) = listed_by_words(space, 2, TITLES, [{"k1": 1.2, "b": 0.75}]).answers([request])
    assert alone[0].rows[0] == 1 and alone[0].scores[0] == pytest.approx(1)


def test_a_pool_larger_than_the_catalogue_is_the_catalogue(space):
    rows = [
        FanOutRetriever(OneQuery(space), space, 2, 1),
        *(row.build(row.grid[0]) for row in reordered_rows(FanOutRetriever(OneQuery(space), space, 2, 1), 3.0)),
    ]
    for row in rows:
        assert sorted(row.retrieve([TextQuery("red", 100)])[0].rows.tolist()) == list(range(len(TITLES)))


def test_a_mixed_pool_has_the_intents_share_from_its_beginning(space):
    class Elsewhere:
        def sets(self, texts, run):
            return np.repeat(space.encode(["blue hammer"])[None], len(texts), 0)

    request = TextQuery("red paint", 4)
    found = FanOutRetriever(Elsewhere(), space, 2, 1, intent=0.5).retrieve([request])[0].rows.tolist()
    own = FanOutRetriever(OneQuery(space), space, 2, 1).retrieve([request])[0].rows.tolist()
    assert found[:2] == [own[0], 5] and len(set(found)) == 4


@given(st.integers(0, 500), st.integers(1, 12))
def test_both_choices_name_each_item_once_and_begin_with_the_most_relevant(seed, count):
    draw = np.random.default_rng(seed)
    items = draw.standard_normal((12, 5)).astype(np.float32)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    relevance = items @ items[0]
    for choose, weight in ((maximal_marginal_relevance, 0.5), (determinantal_choice, 4.0)):
        chosen = choose(relevance, items, count, weight)
        assert len(set(chosen.tolist())) == count and relevance[chosen[0]] == relevance.max()


def test_the_choice_of_a_dpp_is_greedy_by_the_determinant():
    draw = np.random.default_rng(0)
    items = draw.standard_normal((7, 3)).astype(np.float32)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    relevance = items @ items[0]
    quality = np.exp(relevance - relevance.max())
    kernel = quality[:, None] * quality * (items @ items.T + 0.1 * np.eye(7))
    expected: list[int] = []
    for _ in range(4):
        left = [row for row in range(7) if row not in expected]
        expected.append(max(left, key=lambda row: np.linalg.det(kernel[np.ix_([*expected, row], [*expected, row])])))
    assert determinantal_choice(relevance, items, 4, 2.0).tolist() == expected


def test_variety_counts_more_as_relevance_counts_less():
    items = np.array([[1, 0], [0.999, 0.0447], [0, 1]], np.float32)
    relevance = np.array([0.9, 0.89, 0.4], np.float32)
    assert maximal_marginal_relevance(relevance, items, 2, 0.9).tolist() == [0, 1]
    assert maximal_marginal_relevance(relevance, items, 2, 0.5).tolist() == [0, 2]
