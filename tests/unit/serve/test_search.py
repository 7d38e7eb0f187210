"""`/v1/search`: a text in, items out, by the same service as seeds and sessions."""

from __future__ import annotations

import json

import mlflow
import numpy as np
import pandas as pd
import pytest

import modit
from modit.cli import main
from modit.client import Client, text_request
from modit.core.errors import ArtifactError
from modit.inference.search import load_search
from modit.inference.texts import TextQuery
from modit.release.bundle.loading import load_release
from modit.release.bundle.release import ReleaseSource, SearchRelease
from modit.release.model_registry.mlflow_model import write_mlflow_model
from modit.serve.settings import Limits
from tests.unit.serve.conftest import LIMITS, listening, running, wait_until
from tests.unit.serve.text_bundles import WEIGHT, TextBundle

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    def build(seed=0, **how):
        folder = tmp_path_factory.mktemp("texts")
        return TextBundle(str(folder / "run"), folder, seed, **how)

    return build


@pytest.fixture(scope="module")
def texts(make):
    return make()


@pytest.fixture(scope="module")
def client(texts, bundle):
    """A service that answers seeds of a domain, and texts."""
    with running(lambda: [texts.named(4), bundle.named("drama", 3)], reload_seconds=60) as client:
        yield client


def ask(client, text="red paint", status=200, **more):
    answer = client.post("/v1/search", content=json.dumps({"text": text} | more), headers=JSON)
    assert answer.status_code == status, answer.text
    return answer.json()


def ids_of(answer):
    return [item["item_id"] for item in answer["items"]]


def expected(texts, text, k):
    (found,) = load_search(texts.folder("exported_towers"), texts.catalog.item_ids).retrieve([TextQuery(text, k)])
    return texts.catalog.item_ids[found.rows].tolist()


def test_a_text_gets_what_the_exported_files_rank_with_titles_and_the_version(client, texts):
    answer = ask(client, "RED paint!", k=7)
    assert ids_of(answer) == expected(texts, "red paint", 7)
    titles = dict(zip(texts.catalog.item_ids.tolist(), texts.catalog.titles.tolist(), strict=True))
    assert [item["title"] for item in answer["items"]] == [titles[name] for name in ids_of(answer)]
    scores = [item["score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True) and 0 < scores[-1] <= scores[0] <= 1
    facts = {name: answer[name] for name in ("model", "version", "alias", "index_digest", "words_read")}
    digest = texts.manifest.index_digest
    versions = {"model": "modit-search", "version": 4, "alias": "champion", "index_digest": digest}
    assert facts == versions | {"words_read": 2}
    assert answer["unknown_words"] == [] and set(answer["items"][0]) == {"item_id", "score", "title"}


def test_unknown_words_are_named_and_a_text_of_another_language_gets_the_list_of_the_towers(client):
    assert ask(client, "zzz red paint zzz")["unknown_words"] == ["zzz"]
    for text in ("ручка двери", "門把手", "\ud800 zz"):
        answer = ask(client, text, k=5)
        assert len(answer["items"]) == 5 and len(answer["unknown_words"]) == answer["words_read"] > 0
        assert answer["items"][0]["score"] <= WEIGHT  # no share of words


def test_of_a_long_text_the_first_words_count(client):
    answer = ask(client, "red paint " + "large " * 100)
    assert answer["words_read"] == 64 and ids_of(answer) == ids_of(ask(client, "red paint " + "large " * 62))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"text": ""}, "number of characters in text"),
        ({"text": " ?! "}, "text"),
        ({"text": "a" * 1_001}, "number of characters in text"),
        ({"text": ["red"]}, "text"),
        ({"text": None}, "text"),
        ({"k": 0}, "k"),
        ({"k": LIMITS.k + 1}, "k"),
        ({"session": ["item-1"]}, "session"),
        ({"exclude_item_ids": ["x"] * (LIMITS.exclude + 1)}, "number of exclude_item_ids"),
        ({"filter": {"include": {"colour": "red"}}}, "filter.include.colour"),
    ],
)
def test_what_is_not_allowed_is_refused_by_field(client, change, field):
    answer = client.post("/v1/search", json={"text": "red paint"} | change)
    assert answer.status_code == 422 and answer.json()["errors"][0]["field"] == field


def test_more_items_than_the_catalogue_has_are_refused_and_all_of_them_are_not(texts):
    with running(lambda: [texts.named(1)], reload_seconds=60, limits=Limits()) as client:
        assert len(set(ids_of(ask(client, k=300)))) == 300
        (refusal,) = ask(client, k=301, status=422)["errors"]
        assert (refusal["field"], refusal["allowed"]) == ("k", "1..300")


def test_a_number_that_is_none_is_refused(client):
    answer = client.post("/v1/search", content='{"text": "red", "k": NaN}', headers=JSON)
    assert answer.status_code == 422 and answer.json()["errors"][0]["field"] == "k"


def test_filters_and_exclusions_hold_and_lists_stay_full(client, texts):
    drama = dict(zip(texts.catalog.item_ids.tolist(), texts.catalog.verdicts["drama"], strict=True))
    blue = [name for name, title in zip(drama, texts.catalog.titles, strict=True) if "blue" in title]
    answer = ask(client, k=20, filter={"include": {"attr_drama": True, "title": "blue"}})
    assert len(answer["items"]) == min(20, sum(drama[name] == 1 for name in blue))
    assert all(drama[item["item_id"]] == 1 and "blue" in item["title"] for item in answer["items"])
    first = ids_of(ask(client, k=10))
    second = ask(client, k=10, exclude_item_ids=first[:6])
    assert len(second["items"]) == 10 and not set(first[:6]) & set(ids_of(second))


def test_a_batch_has_the_answers_of_its_requests_alone_or_is_refused_by_place(client):
    asked = [{"text": text, "k": 3 + n} for n, text in enumerate(["red paint", "дрель", "lamp 3/4"])]
    answers = client.post("/v1/search/batch", json={"requests": asked}).json()["answers"]
    for one, answer in zip(asked, answers, strict=True):
        assert ids_of(answer) == ids_of(ask(client, **one))
    refused = client.post("/v1/search/batch", json={"requests": [asked[0], {"text": "!"}]})
    assert refused.status_code == 422 and refused.json()["errors"][0]["field"] == "requests.1.text"


def test_texts_and_seeds_have_their_own_releases_and_a_service_without_one_says_so(client, bundle):
    ready = client.get("/readyz").json()
    assert ready["ready"] and ready["releases"].keys() == {"drama", "search"}
    assert client.get("/explore").status_code == 200
    refused = client.post("/v1/retrieve", json={"domain": "search", "seeds": {"item_ids": ["item-1"]}})
    assert refused.json()["errors"][0]["message"] == "There is no domain 'search'; the domains are drama."
    assert "There is no retriever of the next item" in client.post("/v1/recommend", json={"session": []}).text
    with running(lambda: [bundle.named("drama", 3)], reload_seconds=60) as other:
        answer = other.post("/v1/search", json={"text": "red"})
        assert answer.status_code == 404 and "There is no retriever by text: no model modit-search" in answer.text


def test_a_new_champion_answers_without_a_restart_and_a_broken_one_does_not(make, texts):
    named = [texts.named(1)]
    with running(lambda: list(named)) as client:
        before = ids_of(ask(client, "дрель"))
        named[:] = [texts.named(2, bundle_digest="5" * 64)]
        wait_until(lambda: "search" in client.get("/readyz").json()["problems"])
        assert ids_of(ask(client, "дрель")) == before
        named[:] = [make(seed=1).named(3)]
        wait_until(lambda: ask(client)["version"] == 3)
        assert ids_of(ask(client, "дрель")) != before


def test_words_are_counted_and_the_access_log_has_the_task(client, gained, caplog):
    with caplog.at_level("INFO", logger="modit.access"):
        ask(client, "red zzz paint", k=3)
    assert [gained("modit_query_words_total", result=result) for result in ("known", "unknown")] == [2, 1]
    record = next(record for record in caplog.records if record.name == "modit.access")
    assert "/v1/search" in str(vars(record)) and "'search'" in str(vars(record))
    assert 'modit_release_info{domain="search"' in client.get("/metrics").text


def test_the_bundle_loads_as_registered_and_every_edit_is_refused_by_name(make):
    run = make()
    release = load_release(ReleaseSource.of(run.named()))
    assert isinstance(release, SearchRelease) and release.bundle.retriever == "towers" and len(release.items) == 300
    card = (run.folder("search_bundle") / "model_card.md").read_text()
    assert all(
        words in card for words in ("# modit-search", "**PASS**", "0.9000 [0.8000, 0.9500] | 0.7000", "## Limits")
    )
    for name in ("bundle_digest", "retriever_digest", "index_digest"):
        with pytest.raises(ArtifactError, match=f"{name} of .* is .*; modit-search version 1 was registered with"):
            load_release(ReleaseSource.of(run.named(**{name: "5" * 64})))
    stored = json.loads((run.folder("search_bundle") / "canaries.json").read_text())
    assert len(stored) == 9 and stored[0]["text"] == "дрель" and len(stored[0]["items"]) == 10
    vectors = run.folder("exported_towers") / "item_vectors.npy"
    np.save(vectors, np.full((300, 16), np.nan, np.float32))
    with pytest.raises(ArtifactError, match="item_vectors.npy"):
        load_release(ReleaseSource.of(run.named()))


def test_client_and_command_ask_with_a_text(texts, capsys):
    with listening(lambda: [texts.named(4)]) as url:
        client = Client(url)
        answer = client.search("red zzz paint", k=3)
        assert (answer.version, answer.words_read, answer.unknown_words) == (4, 3, ("zzz",))
        assert [item.item_id for item in answer.items] == expected(texts, "red zzz paint", 3)
        both = client.search_batch([text_request("lamp", 2), text_request("door", 4)])
        assert [len(each.items) for each in both] == [2, 4]
        shown = ["search", "red zzz paint", "-k", "2", "--url", url]
        assert main(shown) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[:2] == ["modit-search version 4 (champion), 3 words read", "not known: zzz"] and len(lines) == 4
        assert main([*shown, "--exclude", answer.items[0].item_id, "--json"]) == 0
        assert answer.items[0].item_id not in capsys.readouterr().out
        assert main(["search", "!", "--url", url]) == 1
        assert "allowed: a text with a letter or digit" in capsys.readouterr().err


def test_modit_load_and_mlflow_answer_as_the_service_does(client, texts, tmp_path):
    expected = [ask(client, text, k=3)["items"] for text in ("red paint", "title of item 7")]
    found = modit.load(texts.run).query(["red paint", "title of item 7"], k=3)
    assert found["item_id"].tolist() == [item["item_id"] for items in expected for item in items]
    write_mlflow_model(tmp_path / "model", texts.submission())
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    answers = model.predict(pd.DataFrame({"text": ["red paint", "title of item 7"], "k": 3}))
    assert answers["items"].tolist() == expected
    assert len(model.predict(model.input_example)["items"][0]) == 10
