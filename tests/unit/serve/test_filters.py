"""A filter leaves the best of those items that satisfy it, all k of them as long as there are so many."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from modit.serve import filters
from modit.serve.filters import Filters
from modit.serve.schema import Filter
from modit.serve.settings import Limits
from tests.unit.serve.bundles import ITEMS

_values = {
    "attr_crime": st.booleans(),
    "attr_drama": st.booleans(),
    "title": st.sampled_from(["item-1", "7", "OF", "x"]),
}
conditions = st.fixed_dictionaries({}, optional=_values)


def holds(catalog, row, column, value):
    if column == "title":
        return value.lower() in catalog.titles[row].lower()
    return bool(catalog.positive(column.removeprefix("attr_"))[row]) == value


@settings(max_examples=40, deadline=None)
@given(
    include=conditions,
    exclude=conditions,
    k=st.integers(1, 50),
    seeds=st.sets(st.integers(0, ITEMS - 1), min_size=1, max_size=5),
)
def test_a_filtered_answer_is_the_list_of_all_items_without_those_that_break_it(
    client, bundle, include, exclude, k, seeds
):
    catalog, rows = bundle.catalog, sorted(seeds)
    asked = {"domain": "drama", "seeds": {"item_ids": catalog.item_ids[rows].tolist()}, "return_query": True}
    body = asked | {"k": k, "filter": {"include": include, "exclude": exclude}}
    answer = client.post("/v1/retrieve", json=body).json()
    kept = [
        all(holds(catalog, row, *each) for each in include.items())
        and not any(holds(catalog, row, *each) for each in exclude.items())
        and row not in seeds
        for row in range(ITEMS)
    ]
    scores = catalog.embeddings @ np.float32(answer["query"])
    best = [row for row in np.argsort(-scores) if kept[row]][:k]
    assert [item["item_id"] for item in answer["items"]] == catalog.item_ids[best].tolist()


def test_a_filter_that_nothing_satisfies_has_an_empty_answer(client):
    body = {"domain": "drama", "seeds": {"item_ids": ["item-1"]}, "filter": {"include": {"title": "nowhere"}}}
    answer = client.post("/v1/retrieve", json=body)
    assert (answer.status_code, answer.json()["items"]) == (200, [])


def test_a_null_satisfies_nothing_and_a_text_is_no_pattern():
    columns = {"title": pa.chunked_array([["a.c", None], ["ABC"]]), "attr_x": pa.chunked_array([[True, None], [False]])}

    def mask(**given):
        return Filters(columns).mask(Filter(**given), Limits()).tolist()

    assert mask(include={"title": "A."}) == [True, False, False]
    assert mask(exclude={"title": "a"}) == [False, True, False]
    assert mask(include={"attr_x": False}) == [False, False, True]
    assert mask(exclude={"attr_x": False}) == [True, True, False]
    assert mask(include={"attr_x": "unknown"}) == [False, True, False]
    assert mask(exclude={"attr_x": "unknown"}) == [True, False, True]
    assert mask(include={"attr_x": True}, exclude={"attr_x": "unknown"}) == [True, False, False]
    assert Filters(columns).mask(Filter(), Limits()) is None


def test_masks_are_kept_but_only_the_last_ones(monkeypatch):
    asked = []
    real = filters.containing
    monkeypatch.setattr(filters, "containing", lambda titles, text: asked.append(text) or real(titles, text))
    kept = Filters({"title": pa.chunked_array([["abc", "b"]])})
    for text in ["a", "b", "a", *"cdefghijk" * 8, *(f"{n}" for n in range(64)), "a"]:
        assert kept.mask(Filter(include={"title": text}), Limits()).tolist() == [text in "abc", text == "b"]
    assert asked == [*"abcdefghijk", *(f"{n}" for n in range(64)), "a"]
