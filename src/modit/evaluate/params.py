"""Sections of `params.yaml`: how the prediction of the next item, search by text, and fan-out are judged."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from modit.core.params import AtLeastZero, Positive, Section, Share
from modit.data.stems import StemmerName


class NextItemParams(Section):
    """Section `evaluate_next_item`.

    Attributes:
        beams: IDs that the semantic-ID retriever decodes for a session.
        validation_cases: most validation cases that settings of rows are chosen on, evenly drawn; 0 for all.
        test_cases: most test cases that every row is judged on, evenly drawn; 0 for all.
        unconstrained_cases: most test cases that are decoded without the trie too, for the hallucination rate; 0 for
            none.
        ease_items_max: most items for which EASE is fitted: it inverts a dense matrix of items x items.
        head_share: share of the training interactions that the items of the slice `head` cover.
        repeats_min: least share of validation targets that are in their own history from which items of the history
            may be results; below it they are left out of every row's results, as published tables do.
        resamples: of the bootstrap over users.
    """

    beams: Positive = 20
    validation_cases: AtLeastZero = 5_000
    test_cases: AtLeastZero = 0
    unconstrained_cases: AtLeastZero = 2_000
    ease_items_max: Positive = 20_000
    head_share: Annotated[float, Field(gt=0, le=1)] = 0.8
    repeats_min: Share = 0.01
    resamples: Positive = 1_000


class SearchParams(Section):
    """Section `evaluate_search`.

    Attributes:
        validation_cases: most validation queries that settings of rows are chosen on, evenly drawn; 0 for all.
        test_cases: most test queries that every row is judged on, evenly drawn; 0 for all.
        rare_max: a query is in the slice `rare` if one of its words is in at most so many training queries.
        resamples: of the bootstrap over queries.
        stemmer: of the titles' language, which BM25 is tried with and without (Snowball, as package PyStemmer has it).
    """

    validation_cases: AtLeastZero = 0
    test_cases: AtLeastZero = 0
    rare_max: AtLeastZero = 2
    resamples: Positive = 1_000
    stemmer: StemmerName = "english"


class FanOutEvaluationParams(Section):
    """Section `evaluate_fan_out`.

    Attributes:
        validation_cases: most validation intents that settings of rows are chosen on, evenly drawn; 0 for all.
        test_cases: most test intents that every row is judged on, evenly drawn; 0 for all.
        temperature: that policies are sampled at (the paper's is 0.9).
        best_of: outputs of which the best by reward is taken (the paper's is 5).
        runs: of each row, for the variety of repeated runs (the paper's is 5).
        list_depth: length of the one list that rivals choose the pool from, over that of the pool.
        resamples: of the bootstrap over intents.
        stemmer: as in `evaluate_search`.
    """

    validation_cases: AtLeastZero = 0
    test_cases: AtLeastZero = 0
    temperature: Annotated[float, Field(gt=0)] = 0.9
    best_of: Positive = 5
    runs: Annotated[int, Field(ge=2)] = 5
    list_depth: Annotated[float, Field(ge=1)] = 3.0
    resamples: Positive = 1_000
    stemmer: StemmerName = "english"
