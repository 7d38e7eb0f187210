"""A batch has the answers of its requests asked one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.samplers import SAMPLES, SEEDS
from tests.unit.serve.bundles import ITEMS

ONE = {"domain": "drama", "seeds": {"item_ids": ["item-1"]}}

requests = st.fixed_dictionaries(
    {
        "domain": st.sampled_from(["crime", "drama"]),
        "seeds": st.lists(st.integers(0, ITEMS - 1), min_size=1, max_size=SEEDS, unique=True).map(
            lambda rows: {"item_ids": [f"item-{row}" for row in rows]}
        ),
        "k": st.integers(1, 20),
        "guidance": st.none() | st.floats(0, 10),
        "samples": st.integers(1, 3).map(lambda rounds: rounds * SAMPLES),
    },
    optional={"filter": st.just({"include": {"attr_drama": True}})},
)


@settings(max_examples=20, deadline=None)
@given(asked=st.lists(requests, min_size=1, max_size=8))
def test_queries_are_those_of_one_by_one_to_rounding_and_lists_are_the_best_for_them(client, bundle, asked):
    asked = [each | {"return_query": True} for each in asked]
    answer = client.post("/v1/retrieve/batch", json={"requests": asked})
    assert answer.status_code == 200, answer.text
    together = answer.json()["answers"]
    for body, found in zip(asked, together, strict=True):
        alone = client.post("/v1/retrieve", json=body).json()
        np.testing.assert_allclose(found.pop("query"), alone.pop("query"), rtol=0, atol=1e-5)
        scores = [[item.pop("score") for item in each["items"]] for each in (found, alone)]
        np.testing.assert_allclose(*scores, rtol=0, atol=3e-5)
        if np.min(-np.diff(scores[1]), initial=1.0) > 1e-4:  # else two may change places
            assert found == alone


@pytest.mark.parametrize("count", [0, 65])
def test_a_batch_has_1_to_64_requests(client, count):
    answer = client.post("/v1/retrieve/batch", json={"requests": [ONE] * count})
    assert answer.status_code == 422
    message = f"The number of requests cannot be {count}; allowed: 1..64."
    refusal = {"field": "number of requests", "value": str(count), "allowed": "1..64", "message": message}
    assert answer.json()["errors"] == [refusal]


@pytest.mark.parametrize(
    ("wrong", "status", "field"),
    [
        ({"k": 0}, 422, "requests.1.k"),
        ({"domain": "comedy"}, 404, "requests.1.domain"),
        ({"seeds": {"item_ids": ["x"]}}, 422, "requests.1.seeds.item_ids"),
        ({"k": "1"}, 422, "requests.1.k"),
    ],
)
def test_a_wrong_request_refuses_the_batch_and_is_named_by_its_place(client, wrong, status, field):
    answer = client.post("/v1/retrieve/batch", json={"requests": [ONE, ONE | wrong]})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (status, field)
