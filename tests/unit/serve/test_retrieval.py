"""A request is answered with what the library says: the same sampler, the same search, noise of the seeds alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modit.data.vectors import unit
from modit.inference.retrieval import Query, request_noise
from modit.inference.sampler_file import SamplerInputs
from modit.metric.evidence import KnownVerdicts
from tests.unit.samplers import DIMENSION, SAMPLES, SEEDS
from tests.unit.serve.bundles import ITEMS

rows_of_seeds = st.lists(st.integers(0, ITEMS - 1), min_size=1, max_size=SEEDS, unique=True)


def ask(client, **question):
    answer = client.post("/v1/retrieve", json={"domain": "drama"} | question)
    assert answer.status_code == 200, answer.text
    return answer.json()


@settings(max_examples=25, deadline=None)
@given(
    rows=rows_of_seeds,
    k=st.integers(1, 50),
    guidance=st.none() | st.floats(0, 10),
    rounds=st.integers(1, 4),
    excluded=st.lists(st.integers(0, ITEMS - 1), max_size=20),
)
def test_an_answer_is_what_sampler_and_index_give(client, bundle, release, rows, k, guidance, rounds, excluded):
    ids, vectors = bundle.catalog.item_ids, bundle.catalog.embeddings[rows]
    vectors = vectors[sorted(range(len(rows)), key=lambda row: vectors[row].tobytes())]
    verdicts, exclude = KnownVerdicts.stored(bundle.catalog, "drama"), np.unique(rows + excluded)
    given = SamplerInputs(
        np.tile(vectors, (rounds, 1, 1)),
        np.ones((rounds, len(rows)), bool),
        request_noise("drama", vectors, rounds),
        guidance,
        np.repeat(verdicts.directions(unit(vectors.mean(0, keepdims=True)), exclude[None]), rounds, 0),
    )
    queries = release.sampler.queries(given)
    query = queries[0] if rounds == 1 else queries.mean(0) / np.linalg.norm(queries.mean(0))
    query = release.retriever.patterns.moved(query[None], [vectors])[0]
    expected = release.items.index.search(query[None], k, exclude=[exclude])
    found = ask(
        client,
        seeds={"item_ids": ids[rows].tolist()},
        k=k,
        guidance=guidance,
        samples=rounds * SAMPLES,
        exclude_item_ids=ids[excluded].tolist(),
        return_query=True,
    )
    assert np.array_equal(np.float32(found["query"]), query)
    assert [item["item_id"] for item in found["items"]] == ids[expected.rows[0]].tolist()
    assert np.array_equal(np.float32([item["score"] for item in found["items"]]), expected.scores[0])
    assert all(item["title"] == f"Title of {item['item_id']}" for item in found["items"])
    assert [item["verdict"] for item in found["items"]] == bundle.catalog.positive("drama")[expected.rows[0]].tolist()


@settings(max_examples=15, deadline=None)
@given(rows=rows_of_seeds, shuffle=st.randoms())
def test_seeds_in_any_order_and_as_vectors_have_the_same_answer(client, bundle, rows, shuffle):
    ids, vectors = bundle.catalog.item_ids, bundle.catalog.embeddings
    first = ask(client, seeds={"item_ids": ids[rows].tolist()}, return_query=True)
    shuffle.shuffle(rows)
    assert ask(client, seeds={"item_ids": ids[rows].tolist()}, return_query=True) == first
    by_vectors = {"vectors": vectors[rows].tolist()}
    hidden = ask(client, seeds=by_vectors, exclude_item_ids=ids[rows].tolist(), return_query=True)
    assert first.pop("seed_source") == {"features": 0, "bundle": len(rows)}
    assert hidden == first


def test_a_longer_list_goes_on_where_the_shorter_ends_and_never_has_a_seed(client, bundle):
    ids = bundle.catalog.item_ids[:6].tolist()
    lists = [[item["item_id"] for item in ask(client, seeds={"item_ids": ids}, k=k)["items"]] for k in (5, 50)]
    assert lists[1][:5] == lists[0] and len(lists[1]) == 50
    assert not set(ids) & set(lists[1])


def test_the_query_is_the_one_of_the_sampler(bundle, release, sampler):
    vectors = bundle.catalog.embeddings[:7]
    vectors = vectors[sorted(range(7), key=lambda row: vectors[row].tobytes())]
    (found,) = release.retriever.retrieve([Query(vectors, 5, guidance=2.0)])
    noise, verdicts = request_noise("drama", vectors, 1), KnownVerdicts.stored(bundle.catalog, "drama")
    evidence = torch.from_numpy(verdicts.directions(unit(vectors.mean(0, keepdims=True))))
    with torch.no_grad():
        inputs = (torch.from_numpy(vectors)[None], torch.ones(1, 7, dtype=torch.bool), torch.from_numpy(noise))
        expected = sampler(*inputs, torch.tensor(2.0), evidence)[0].numpy()
        without = sampler(*inputs, torch.tensor(2.0))[0].numpy()
    moved = release.retriever.patterns.moved(expected[None], [vectors])[0]
    np.testing.assert_allclose(found.query, moved, atol=1e-4)
    assert np.abs(expected - without).max() > 0.01 and np.abs(moved - expected).max() > 0.01


def test_guidance_is_the_exported_one_when_not_given(client, bundle):
    seeds = {"item_ids": bundle.catalog.item_ids[:3].tolist()}
    assert ask(client, seeds=seeds) == ask(client, seeds=seeds, guidance=3.0) != ask(client, seeds=seeds, guidance=1.0)


def test_noise_differs_by_domain_and_seeds_and_grows_by_rounds():
    seeds = np.eye(3, DIMENSION, dtype=np.float32)
    noise = request_noise("drama", seeds, 3)
    assert noise.shape == (3, DIMENSION) and noise.dtype == np.float32
    assert np.array_equal(request_noise("drama", seeds, 1), noise[:1])
    assert not np.allclose(request_noise("crime", seeds, 3), noise)
    assert not np.allclose(request_noise("drama", seeds[:2], 3), noise)


def test_more_items_than_there_are_gives_all_others(release):
    seeds = release.items.embeddings[:2]
    exclude = np.arange(ITEMS - 4)
    (found,) = release.retriever.retrieve([Query(seeds, 10, exclude=exclude)])
    assert sorted(found.rows) == list(range(ITEMS - 4, ITEMS))
    assert (np.diff(found.scores) <= 0).all()


@pytest.mark.parametrize("wanted", ["item-7\0", "item-7" + "x" * 1000, "", "\ud800", "ITEM-7"])
def test_only_the_very_id_is_known(release, wanted):
    assert release.items.rows_of(["item-7", wanted])[1] == -1
    assert release.items.ids_of(release.items.rows_of(["item-7"])) == ["item-7"]
