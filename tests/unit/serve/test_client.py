"""The client and `modit query` against a service on a port."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack

import pytest

from modit.cli import main
from modit.client import Answer, Client, Item, ServiceError, request, table
from tests.unit.serve.conftest import listening


@pytest.fixture(scope="module")
def start(bundle):
    """Starts services; `start(keys=(...))` gives the address of one that is ready."""
    with ExitStack() as running:
        yield lambda **given: running.enter_context(listening(lambda: [bundle.named("drama", 3)], **given))


@pytest.fixture(scope="module")
def url(start):
    return start(keys=("secret",))


@pytest.fixture
def client(url):
    return Client(url, "secret")


def test_an_answer_has_the_types_that_it_says(client, bundle):
    answer = client.retrieve("drama", ["item-1", "item-2"], k=3, return_query=True, filter={"include": {"title": "1"}})
    assert [type(value) for value in vars(answer.items[0]).values()] == [str, float, bool, str, type(None)]
    assert len(answer.items) == 3 and all("1" in item.title for item in answer.items)
    assert (answer.model, answer.version, answer.index_digest) == ("modit-drama", 3, bundle.index_digest)
    by_vector = client.retrieve("drama", [bundle.catalog.embeddings[0]], return_query=True)
    assert len(by_vector.query) == bundle.catalog.dimension
    assert client.readiness()["releases"]["drama"]["version"] == 3


def test_a_batch_has_an_answer_for_each_request(client):
    found = client.retrieve_batch([request("drama", [f"item-{n}"], k=n) for n in (1, 2, 3)])
    assert [len(answer.items) for answer in found] == [1, 2, 3]


def test_a_refusal_names_field_value_and_what_is_allowed(client, url):
    with pytest.raises(ServiceError, match=r"The k cannot be 0; allowed: 1\.\.50\.") as error:
        client.retrieve("drama", ["item-1"], k=0)
    assert (error.value.status, error.value.refusals[0]["field"]) == (422, "k")
    with pytest.raises(ServiceError, match="header Authorization does not let you in \\(missing\\)"):
        Client(url).retrieve("drama", ["item-1"])
    with pytest.raises(ServiceError, match="does not answer"):
        Client("http://127.0.0.1:9").retrieve("drama", ["item-1"])


def test_a_busy_service_is_asked_again_after_the_pause_that_it_names(start):
    address = start(rate=1.0)
    patient, impatient = Client(address), Client(address, retries=0)
    patient.retrieve("drama", ["item-1"])
    with pytest.raises(ServiceError) as error:
        impatient.retrieve("drama", ["item-1"])
    assert error.value.status == 429
    begun = time.monotonic()
    assert patient.retrieve("drama", ["item-1"]).items
    assert time.monotonic() - begun > 0.9


def test_query_prints_a_table_or_json(url, capsys, monkeypatch):
    monkeypatch.setenv("MODIT_API_KEY", "secret")
    given = ["query", "--url", url, "--domain", "drama", "--seeds", "item-1,item-2", "-k", "3"]
    assert main(given) == 0
    first, *rows = capsys.readouterr().out.splitlines()
    assert first.startswith("modit-drama version 3 (champion), index ")
    assert [row.split()[0] for row in rows] == ["1", "2", "3"] and "Title of item-" in rows[0]
    assert main([*given, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [item["item_id"] for item in answer["items"]] == [row.split()[3] for row in rows]
    assert [row.split()[2] for row in rows] == ["yes" if item["verdict"] else "no" for item in answer["items"]]


def test_the_table_has_the_verdict_or_else_the_probability_of_the_attribute():
    items = (Item("a", 0.5, True), Item("b", 0.4, None, "B", 0.734), Item("c", 0.3))
    first, *rows = table(Answer(items, "drama", "modit-drama", 3, "champion", "0" * 64, reranked=True)).splitlines()
    assert first.endswith("index 000000000000, reranked")
    assert [row.split()[2] for row in rows] == ["yes", "73%", "?"]


def test_query_switches_the_second_stage(url, capsys, monkeypatch):
    monkeypatch.setenv("MODIT_API_KEY", "secret")
    given = ["query", "--url", url, "--domain", "drama", "--seeds", "item-1,item-2", "-k", "3"]
    told = {}
    for option in ("--rerank", "--no-rerank"):
        assert main([*given, option]) == 0
        told[option] = capsys.readouterr().out
    assert told["--rerank"].splitlines()[0].endswith(", reranked")
    assert ", reranked" not in told["--no-rerank"] and told["--rerank"] != told["--no-rerank"]


def test_query_says_what_is_wrong_and_fails(url, capsys, monkeypatch):
    monkeypatch.setenv("MODIT_API_KEY", "secret")
    assert main(["query", "--url", url, "--domain", "comedy", "--seeds", "item-1"]) == 1
    assert "There is no domain 'comedy'; the domains are drama." in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["query", "--domain", "drama", "--seeds", "item-1", "--filter", "{"])
    assert "'{' is no JSON" in capsys.readouterr().err
