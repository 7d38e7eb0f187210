"""The second stage of the service: switched by a request; probabilities where nobody scored."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from modit.core.artifacts import digest_of_files, list_files
from modit.core.errors import ArtifactError
from modit.core.storage import sha256_of_file
from modit.data.catalog import NOT_SCORED, POSITIVE
from modit.inference.items import load_items
from modit.inference.retrieval import retriever_over
from modit.metric.calibration import CLIP, probability
from modit.release.bundle.bundle import CANARIES_FILE, Bundle
from modit.release.bundle.canaries import Canary, load_canaries, save_canaries
from modit.release.bundle.canaries import ask as ask_canary
from modit.release.bundle.loading import load_domain_sampler, load_release
from modit.release.bundle.release import ReleaseSource
from modit.release.kinds import OF_SEEDS
from tests.unit.serve.bundles import DEPTH, ITEMS, SHARPNESS, WEIGHT, make_stage
from tests.unit.serve.conftest import running

SEEDS = 4


@pytest.fixture(scope="module")
def bundle(make_bundle):
    """Its second stage is on, and a third of its items has no verdict."""
    return make_bundle(("drama",), rerank=True, unscored=0.35)


@pytest.fixture(scope="module")
def client(bundle):
    with running(lambda: [bundle.named("drama", 3)], reload_seconds=60) as client:
        yield client


@pytest.fixture(scope="module")
def log_odds(bundle):
    """What reorders: the stored verdict, or the model where there is none."""
    verdicts = bundle.catalog.verdicts["drama"]
    stored = np.where(verdicts == POSITIVE, CLIP, -CLIP)
    return np.where(verdicts == NOT_SCORED, make_stage(0, True, bundle.catalog).log_odds, stored).astype(np.float32)


def ask(client, bundle, **question):
    seeds = {"item_ids": bundle.catalog.item_ids[:SEEDS].tolist()}
    answer = client.post("/v1/retrieve", json={"domain": "drama", "seeds": seeds} | question)
    assert answer.status_code == 200, answer.text
    return answer.json()


def rows_in(bundle, answer):
    place = {item_id: row for row, item_id in enumerate(bundle.catalog.item_ids.tolist())}
    return np.array([place[item["item_id"]] for item in answer["items"]])


def in_pattern(bundle, rows):
    """The probability that rows lie in the seeds' pattern, by the equations of docs/adr/0047 and all distances."""
    patterns = make_stage(0, True, bundle.catalog).patterns
    items, mean = bundle.catalog.embeddings[rows], bundle.catalog.embeddings[:SEEDS].mean(0)
    from_mean = ((patterns.centres - mean) ** 2).sum(1)
    own = from_mean.argmin()
    known = 1 / (1 + (SEEDS * from_mean[own] / patterns.spreads[own] / 5) ** 4)
    distances = ((items[:, None] - patterns.centres) ** 2).sum(2)
    if_known = np.delete(distances, own, 1).min(1) - distances[:, own]
    if_new = distances.min(1) - ((items - mean) ** 2).sum(1)
    weights = ((known, if_known), (1 - known, if_new))
    return sum(weight / (1 + np.exp(-SHARPNESS * margin / patterns.spreads.mean())) for weight, margin in weights)


def expected_rows(client, bundle, log_odds, k, **question):
    """The first stage's list, reordered by hand."""
    plain = ask(client, bundle, k=min(DEPTH * k, 50), rerank=False, **question)
    rows = rows_in(bundle, plain)
    good = -np.log1p(np.exp(-log_odds[rows].astype(float))) + np.log(in_pattern(bundle, rows))
    score = np.float32([item["score"] for item in plain["items"]]) + np.float32(WEIGHT) * good.astype(np.float32)
    order = np.argsort(-score, kind="stable")[:k]
    return rows[order], score[order]


@pytest.mark.parametrize("k", [1, 5, 12])
def test_an_answer_is_the_longer_list_reordered(client, bundle, log_odds, k):
    found = ask(client, bundle, k=k)
    rows, scores = expected_rows(client, bundle, log_odds, k)
    assert found["reranked"] is True
    assert rows_in(bundle, found).tolist() == rows.tolist()
    np.testing.assert_allclose([item["score"] for item in found["items"]], scores, atol=1e-5)


def test_a_request_turns_it_off_and_on_and_says_which_it_was(client, bundle, make_bundle):
    on, off = ask(client, bundle, rerank=True), ask(client, bundle, rerank=False)
    assert ask(client, bundle) == on and on["items"] != off["items"]
    assert (on["reranked"], off["reranked"]) == (True, False)
    quiet = make_bundle(("drama",), rerank=False, unscored=0.35)
    with running(lambda: [quiet.named("drama", 3)], reload_seconds=60) as other:
        assert ask(other, quiet)["items"] == off["items"] and ask(other, quiet)["reranked"] is False
        assert ask(other, quiet, rerank=True)["items"] == on["items"]


def test_probabilities_are_those_of_the_model_where_no_verdict_is_stored_and_null_elsewhere(client, bundle):
    chances = probability(make_stage(0, True, bundle.catalog).log_odds)
    for rerank in (True, False):
        found = ask(client, bundle, k=50, rerank=rerank)
        seen = set()
        for row, item in zip(rows_in(bundle, found), found["items"], strict=True):
            unknown = bundle.catalog.verdicts["drama"][row] == NOT_SCORED
            assert (item["verdict"] is None) == unknown
            assert item["probability"] == (pytest.approx(chances[row]) if unknown else None)
            seen.add(bool(unknown))
        assert rerank or seen == {True, False}


def test_filter_and_exclusions_hold_in_the_longer_list_too(client, bundle, log_odds):
    ids = bundle.catalog.item_ids
    plain = rows_in(bundle, ask(client, bundle, k=20))
    excluded = ids[plain[:5]].tolist()
    question = {"exclude_item_ids": excluded, "filter": {"include": {"attr_drama": "unknown"}}}
    found = ask(client, bundle, k=8, **question)
    rows, _ = expected_rows(client, bundle, log_odds, 8, **question)
    assert rows_in(bundle, found).tolist() == rows.tolist() and len(found["items"]) == 8
    assert not {item["item_id"] for item in found["items"]} & {*excluded, *ids[:SEEDS]}
    assert all(item["verdict"] is None for item in found["items"])


def test_a_list_as_long_as_the_filter_or_the_catalogue_allows_is_whole(client, bundle):
    scored = int((bundle.catalog.verdicts["drama"][SEEDS:] == POSITIVE).sum())
    few = {"filter": {"include": {"attr_drama": True, "title": "Title of item-1"}}}
    matching = [
        row
        for row in range(SEEDS, ITEMS)
        if bundle.catalog.verdicts["drama"][row] == POSITIVE and "item-1" in str(bundle.catalog.titles[row])
    ]
    assert 0 < len(matching) < scored
    assert sorted(rows_in(bundle, ask(client, bundle, k=50, **few))) == matching[:50]


def test_k_near_the_size_of_the_catalogue_returns_all_others(bundle):
    release = load_release(ReleaseSource.of(bundle.named("drama")))
    reranker = release.second_stage.retriever
    assert (reranker.reach(5), reranker.reach(200), reranker.reach(ITEMS)) == (5 * DEPTH, ITEMS, ITEMS)
    from modit.inference.retrieval import Query

    (found,) = reranker.retrieve([Query(release.items.embeddings[:3], ITEMS, exclude=np.arange(3))])
    assert sorted(found.rows) == list(range(3, ITEMS))


def test_no_more_than_the_limit_is_fetched_unless_the_request_itself_asks_for_it(bundle):
    reranker = replace(load_release(ReleaseSource.of(bundle.named("drama"))).second_stage.retriever, most=30)
    assert [reranker.reach(k) for k in (5, 10, 40)] == [20, 30, 40]


def test_a_batch_reranks_each_request_as_it_asks(client, bundle):
    seeds = {"item_ids": bundle.catalog.item_ids[:SEEDS].tolist()}
    requests = [{"domain": "drama", "seeds": seeds, "k": 6, "rerank": rerank} for rerank in (True, False, None)]
    answers = client.post("/v1/retrieve/batch", json={"requests": requests}).json()["answers"]
    ids = [[item["item_id"] for item in answer["items"]] for answer in answers]
    assert ids[0] == ids[2] != ids[1]
    assert [answer["reranked"] for answer in answers] == [True, False, True]
    assert ids[1] == [item["item_id"] for item in ask(client, bundle, k=6, rerank=False)["items"]]


def test_explore_shows_probabilities_and_whether_the_list_was_reranked(client, bundle):
    seeds = "&".join(f"seed={item_id}" for item_id in bundle.catalog.item_ids[:SEEDS])
    page = client.get(f"/explore?domain=drama&{seeds}&k=20")
    assert page.status_code == 200
    assert "reranked by how likely items have the attribute and lie in the pattern" in page.text
    assert 'title="probability of the attribute"' in page.text
    off = client.get(f"/explore?domain=drama&{seeds}&k=20&rerank=off").text
    assert ", reranked by how likely" not in off and '<option value="off" selected>' in off
    refused = client.get(f"/explore?domain=drama&{seeds}&rerank=perhaps")
    assert refused.status_code == 422 and "The rerank cannot be" in refused.text


@pytest.fixture(scope="module")
def older(make_bundle):
    """A bundle as versions made it that had no second stage, and no known patterns that move a query."""
    bundle = make_bundle(("drama",), unscored=0.35)
    folder = Path(bundle.run) / "bundle" / "drama"
    manifest, canaries = Bundle.load(folder), folder / CANARIES_FILE
    digests = manifest.index_digest, manifest.parts["catalog"].digest
    items = load_items(Path(bundle.run) / "index", Path(bundle.run) / "catalog", digests)
    plain = retriever_over(load_domain_sampler(Path(bundle.run) / "sampler" / "drama", "drama"), items)
    save_canaries([ask_canary(plain, items, canary.seeds) for canary in load_canaries(canaries, Canary)], canaries)
    parts = {name: part for name, part in manifest.parts.items() if name not in OF_SEEDS.optional}
    own = {**manifest.files, CANARIES_FILE: sha256_of_file(canaries)}
    replace(manifest, parts=parts, files=own).save(folder)
    place, files = folder / "manifest.json", list_files(folder)
    content = json.loads(place.read_text()) | {"files": [vars(entry) for entry in files]}
    place.write_text(json.dumps(content | {"digest": digest_of_files(files)}))
    return bundle


def test_a_bundle_without_a_second_stage_answers_without_one_and_refuses_to_rerank(older):
    with running(lambda: [older.named("drama", 3)], reload_seconds=60) as client:
        found = ask(client, older, k=20)
        assert found["reranked"] is False
        assert {item["probability"] for item in found["items"]} == {None}
        assert ask(client, older, k=20, rerank=False) == found
        seeds = {"item_ids": older.catalog.item_ids[:SEEDS].tolist()}
        answer = client.post("/v1/retrieve", json={"domain": "drama", "seeds": seeds, "rerank": True})
        (refusal,) = answer.json()["errors"]
        assert answer.status_code == 422 and refusal["field"] == "rerank"
        assert "modit-drama version 3 has no second stage" in refusal["message"]


def test_log_odds_that_were_changed_do_not_answer(make_bundle):
    bundle = make_bundle(("drama",))
    np.save(Path(bundle.run) / "second_stage" / "drama" / "log_odds.npy", np.zeros(ITEMS, np.float32))
    with pytest.raises(ArtifactError, match="log_odds"):
        load_release(ReleaseSource.of(bundle.named("drama")))
