"""`/v1/fan_out`: an intent in, queries and a varied set out, by the same service as seeds and texts."""

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
from modit.inference.fan_out import load_fan_out
from modit.inference.texts import TextQuery
from modit.release.bundle.loading import load_release
from modit.release.bundle.release import FanOutRelease, ReleaseSource
from modit.release.model_registry.mlflow_model import write_mlflow_model
from tests.unit.serve.conftest import LIMITS, listening, running
from tests.unit.serve.intent_bundles import IntentBundle

INTENT = "brush please"


@pytest.fixture(scope="module")
def intents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("intents")
    return IntentBundle(str(folder / "run"), folder)


@pytest.fixture(scope="module")
def client(intents, bundle):
    """A service that answers seeds of a domain, and intents."""
    with running(lambda: [intents.named(4), bundle.named("drama", 3)], reload_seconds=60) as client:
        yield client


def ask(client, text=INTENT, status=200, **more):
    body = json.dumps({"text": text} | more)
    answer = client.post("/v1/fan_out", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    return answer.json()


def ids_of(answer):
    return [item["item_id"] for item in answer["items"]]


def expected(intents, text, k):
    retriever = load_fan_out(intents.folder("exported_fan_out"), intents.catalog.item_ids)
    (found,) = retriever.retrieve([TextQuery(text, k)])
    return found, intents.catalog.item_ids[found.rows].tolist()


def test_an_intent_gets_the_set_of_the_exported_files_and_what_was_searched_for(client, intents):
    answer, (found, ids) = ask(client, k=7), expected(intents, INTENT, 7)
    assert ids_of(answer) == ids and answer["words_read"] == 2 and answer["unknown_words"] == ["please"]
    titles = dict(zip(intents.catalog.item_ids.tolist(), intents.catalog.titles.tolist(), strict=True))
    assert [item["title"] for item in answer["items"]] == [titles[name] for name in ids]
    first = intents.catalog.item_ids[found.query_set.first].tolist()
    assert [query["item_id"] for query in answer["queries"]] == first
    assert all("vector" not in query for query in answer["queries"])
    assert {item.get("query") for item in answer["items"]} <= {None, 0, 1, 2, 3}
    facts = {name: answer[name] for name in ("model", "version", "alias", "index_digest")}
    digest = intents.manifest.index_digest
    assert facts == {"model": "modit-fan_out", "version": 4, "alias": "champion", "index_digest": digest}


def test_vectors_are_given_where_they_are_asked_for(client, intents):
    answer, (found, _) = ask(client, k=7, return_vectors=True), expected(intents, INTENT, 7)
    vectors = np.array([query["vector"] for query in answer["queries"]], np.float32)
    assert np.allclose(vectors, found.query_set.vectors, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"text": ""}, "number of characters in text"),
        ({"text": " ?! "}, "text"),
        ({"text": "a" * 1_001}, "number of characters in text"),
        ({"text": None}, "text"),
        ({"k": 0}, "k"),
        ({"k": LIMITS.k + 1}, "k"),
        ({"seeds": ["item-1"]}, "seeds"),
        ({"filter": {"include": {"colour": "red"}}}, "filter.include.colour"),
    ],
)
def test_what_is_not_allowed_is_refused_by_field(client, change, field):
    assert ask(client, status=422, **({"text": INTENT} | change))["errors"][0]["field"] == field


def test_filters_and_exclusions_hold_and_where_nothing_is_left_the_set_is_empty(client, intents):
    answer = ask(client, k=20, filter={"include": {"title": "blue"}})
    assert len(answer["items"]) == 20 and all("blue" in item["title"] for item in answer["items"])
    first = ids_of(ask(client, k=10))
    assert not set(first) & set(ids_of(ask(client, k=10, exclude_item_ids=first)))
    nothing = ask(client, k=5, filter={"include": {"title": "no title has this"}})
    assert nothing["items"] == [] and [query.get("item_id") for query in nothing["queries"]] == [None] * 4


def test_an_intent_of_another_language_gets_what_is_typical_and_its_words_are_named(client):
    answer = ask(client, "снеки в дорогу", k=5)
    assert len(answer["items"]) == 5 and answer["unknown_words"] == ["снеки", "в", "дорогу"]


def test_a_batch_has_the_answers_of_its_requests_alone_or_is_refused_by_place(client):
    asked = [{"text": text, "k": 3 + n} for n, text in enumerate([INTENT, "дрель", "lamp 3/4"])]
    answers = client.post("/v1/fan_out/batch", json={"requests": asked}).json()["answers"]
    assert [ids_of(answer) for answer in answers] == [ids_of(ask(client, **one)) for one in asked]
    refused = client.post("/v1/fan_out/batch", json={"requests": [asked[0], {"text": "!"}]})
    assert refused.status_code == 422 and refused.json()["errors"][0]["field"] == "requests.1.text"


def test_a_service_without_a_fan_out_says_so(bundle):
    with running(lambda: [bundle.named("drama", 3)], reload_seconds=60) as other:
        assert "There is no retriever of sets by intent" in ask(other, status=404)["errors"][0]["message"]


def test_the_bundle_loads_as_registered_with_its_card_and_an_edit_is_refused(intents, tmp_path):
    release = load_release(ReleaseSource.of(intents.named()))
    assert isinstance(release, FanOutRelease) and release.bundle.retriever == "set_diffusion"
    card = (intents.folder("fan_out_bundle") / "model_card.md").read_text()
    assert all(words in card for words in ("# modit-fan_out", "0.4000 [0.3000, 0.5000]", "samples 4 queries", "25 %"))
    edited = IntentBundle(str(tmp_path / "run"), tmp_path)
    (edited.folder("exported_fan_out") / "text_space.npz").write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match="text_space.npz"):
        load_release(ReleaseSource.of(edited.named()))


def test_client_and_command_ask_with_an_intent(intents, capsys):
    with listening(lambda: [intents.named(4)]) as url:
        answer = Client(url).fan_out(INTENT, k=3, return_vectors=True)
        assert [item.item_id for item in answer.items] == expected(intents, INTENT, 3)[1]
        assert len(answer.queries) == 3 and len(answer.searched) == 4 and len(answer.searched[0].vector) == 16
        both = Client(url).fan_out_batch([text_request("lamp", 2), text_request("door", 4)])
        assert [len(each.items) for each in both] == [2, 4]
        assert main(["fan-out", INTENT, "-k", "3", "--url", url]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[:2] == ["modit-fan_out version 4 (champion), 2 words read", "not known: please"]
        assert len(lines) == 5 and all("query " in line or "intent" in line for line in lines[2:])


def test_modit_load_and_mlflow_answer_as_the_service_does(client, intents, tmp_path):
    answers = [ask(client, text, k=3) for text in (INTENT, "red lamp")]
    found = modit.load(intents.run).query([INTENT, "red lamp"], k=3)
    assert found["item_id"].tolist() == [name for answer in answers for name in ids_of(answer)]
    write_mlflow_model(tmp_path / "model", intents.submission())
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    predicted = model.predict(pd.DataFrame({"text": [INTENT, "red lamp"], "k": 3}))
    for name in ("items", "queries"):
        assert predicted[name].tolist() == [answer[name] for answer in answers]
