"""The task `search`: judged lists, cases, ties, BM25 and the fusion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modit.data.judged_queries import JudgedQueries, QueryPart
from modit.data.splits import TEST, TRAIN, VALIDATION
from modit.evaluate.bm25 import bm25_grid
from modit.evaluate.params import SearchParams
from modit.evaluate.search.rows import FUSION_GRID, Bm25Row, FusedRow, ScoredTexts
from modit.evaluate.search.task import SearchTask, ndcg
from modit.inference.texts import TextQuery
from modit.inference.word_index import WordIndex
from tests.unit.serve.text_bundles import retriever_of

TITLES = ["red paint", "red brush", "green paint can", "blue hammer", "paint"]
TIES = np.array([0.5, 0.4, 0.3, 0.2, 0.1])


class Fixed:
    """Scores that do not depend on the text."""

    def __init__(self, *scores: float) -> None:
        self._scores = np.array(scores, np.float32)

    def scores(self, texts):
        return np.tile(self._scores, (len(texts), 1))


def test_ndcg_is_one_for_the_best_order_and_that_of_its_equation_for_another():
    gains = np.array([3.0, 0.0, 1.0])
    assert ndcg(gains, np.array([9.0, 1.0, 5.0])) == 1.0
    found = (1.0 + 3.0 / np.log2(3)) / (3.0 + 1.0 / np.log2(3))
    assert ndcg(gains, np.array([5.0, 1.0, 9.0])) == pytest.approx(found)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=14), st.randoms())
@settings(max_examples=50, deadline=None)
def test_ndcg_lies_in_0_to_1_and_does_not_depend_on_the_order_of_the_labels(pairs, random):
    gains, scores = np.array([(2.0**gain, score) for gain, score in pairs]).T
    order = list(range(len(pairs)))
    random.shuffle(order)
    assert 0 < ndcg(gains, scores) <= 1 + 1e-9
    assert ndcg(gains, scores) == pytest.approx(ndcg(gains[order], scores[order]))


def test_equal_scores_share_their_gains_so_that_a_row_that_knows_nothing_gains_nothing_by_order():
    assert ndcg(np.array([3.0, 0.0]), np.zeros(2)) == pytest.approx((1.5 + 1.5 / np.log2(3)) / 3)


def test_bm25_prefers_rare_words_and_short_titles_and_knows_texts_of_no_known_word():
    scores = WordIndex.build(TITLES, 1.2, 0.75).scores(["red paint", "paint", "молоток zzz"])
    assert scores[0].argmax() == 0 and scores[1].argmax() == 4
    assert (scores[2] == 0).all() and scores.shape == (3, 5)


def test_bm25_is_tried_with_and_without_the_stemmer_and_finds_other_forms_of_a_word_with_it():
    request = TextQuery("painting brushes", 2, np.array([0, 1, 2, 3, 4]))
    found = {}
    for setting in bm25_grid("english"):
        (answer,) = Bm25Row(TITLES, TIES, [setting]).build(setting).retrieve([request])
        found.setdefault(setting["stemmer"], []).append(sorted(np.flatnonzero(answer.judged).tolist()))
    assert found == {"english": [[0, 1, 2, 4]] * 4, "none": [[]] * 4}
    assert [setting["stemmer"] for setting in bm25_grid("none")] == ["none"] * 4


def test_of_equal_scores_the_hash_of_the_id_decides_and_judged_items_have_their_scores():
    (found,) = ScoredTexts(Fixed(1, 1, 2, 1, 1), TIES).retrieve([TextQuery("paint", 3, np.array([0, 2]))])
    assert found.rows.tolist() == [2, 4, 3]
    assert found.judged.tolist() == [1.0, 2.0]


def test_the_fused_row_answers_at_each_weight_as_it_is_built():
    row = FusedRow(retriever_of(TITLES, np.arange(5).astype(str), 0))
    request = TextQuery("red paint", 5, np.array([0, 4]))
    for setting, (answer,) in zip(FUSION_GRID, row.answers([request]), strict=True):
        (built,) = row.build(setting).retrieve([request])
        assert answer.rows.tolist() == built.rows.tolist() and answer.judged.tolist() == built.judged.tolist()


def queries() -> JudgedQueries:
    texts = ["red paint", "red brush", "red paint", "paint zebra", "brush"]
    labels = [[(0, 3.0), (1, 1.0)], [(1, 3.0)], [(0, 3.0), (3, 2.0)], [(4, 3.0), (0, 1.0)], [(1, 1.0), (2, 1.0)]]
    items, relevance = zip(*(label for each in labels for label in each), strict=True)
    return JudgedQueries(
        np.arange(5).astype(str),
        np.array(texts),
        np.array([TRAIN, TRAIN, VALIDATION, TEST, TEST], np.int8),
        np.cumsum([0, *map(len, labels)]),
        np.array(items, np.int32),
        np.array(relevance, np.float32),
    )


def test_cases_are_queries_with_a_relevant_item_and_another_one_and_rare_words_make_a_slice():
    task = SearchTask(queries(), 2.5, SearchParams(rare_max=0))
    cases = task.cases(QueryPart.TEST)
    assert [request.text for request in cases.requests] == ["paint zebra"]
    assert cases.truth[0].gains.tolist() == [3.0, 0.0] and cases.truth[0].relevant.tolist() == [4]
    assert {part.name: part.mask.tolist() for part in task.slices(QueryPart.TEST, cases, None)} == {
        "rare": [True],
        "frequent": [False],
    }
    assert task.facts()["queries"]["train"] == {"queries": 2, "cases": 1}


def test_recall_counts_the_relevant_items_among_the_first_k_of_the_catalogue():
    task = SearchTask(queries(), 2.5)
    cases = task.cases(QueryPart.TEST)
    scores = task.judge(cases, ScoredTexts(Fixed(5, 4, 3, 2, 1), TIES).retrieve(cases.requests))
    assert {name: value.tolist() for name, value in scores.items() if "recall" in name} == {
        "recall_at_10": [1.0],
        "recall_at_100": [1.0],
    }
    assert scores["ndcg_at_10"][0] == pytest.approx(1 / np.log2(3))


def test_a_part_without_a_case_is_skipped_with_its_reason():
    assert "no test query has a relevant item (relevance 9 or more)" in SearchTask(queries(), 9.0).reason_to_skip(
        QueryPart.TEST
    )
