"""Too much is turned away and said so: it neither waits for ever nor piles up."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modit.serve.access import RateLimit
from modit.serve.schema import RequestError
from modit.serve.service import Service
from modit.serve.workers import Workers
from tests.unit.serve.conftest import running, wait_until

ASKED = {"domain": "drama", "seeds": {"item_ids": ["item-1"]}}


def test_what_takes_too_long_gets_504_and_what_waited_for_it_is_never_begun():
    gate, begun = threading.Event(), []

    async def scenario(workers):
        slow = workers.run(lambda: gate.wait(20))
        waiting = workers.run(lambda: begun.append("waited"))
        found = await asyncio.gather(slow, waiting, return_exceptions=True)
        assert [error.status_code for error in found] == [504, 504]
        assert found[0].allowed.startswith("0.05 seconds")
        gate.set()

    with Workers(threads=1, waiting=5, seconds=0.05) as workers:
        asyncio.run(scenario(workers))
        wait_until(lambda: workers._unfinished == 0)
        assert asyncio.run(workers.run(lambda: "free")) == "free"
    assert begun == []


def test_work_that_was_abandoned_counts_until_it_ends():
    gate = threading.Event()

    async def scenario(workers):
        for _ in range(2):
            with pytest.raises(RequestError, match="took longer than 0.02 seconds"):
                await workers.run(lambda: gate.wait(20))
        with pytest.raises(RequestError, match="busy") as error:
            await workers.run(lambda: None)
        assert error.value.status_code == 503 and error.value.headers == {"Retry-After": "1"}
        gate.set()

    with Workers(threads=2, waiting=0, seconds=0.02) as workers:
        asyncio.run(scenario(workers))
        wait_until(lambda: workers._unfinished == 0)


def test_a_full_service_answers_503_at_once_and_all_others_200(bundle, monkeypatch):
    gate, answer = threading.Event(), Service.answer
    monkeypatch.setattr(Service, "answer", lambda *given: gate.wait(20) and answer(*given))
    with running(lambda: [bundle.named("drama")], threads=1, queue=2) as client, ThreadPoolExecutor(8) as callers:
        asked = [callers.submit(client.post, "/v1/retrieve", json=ASKED) for _ in range(8)]
        wait_until(lambda: sum(each.done() for each in asked) == 5)
        gate.set()
        found = [each.result() for each in asked]
        assert sorted(each.status_code for each in found) == [200] * 3 + [503] * 5
        refused = next(each for each in found if each.status_code == 503)
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["errors"][0]["value"] == "'busy'"


def test_a_request_that_takes_too_long_gets_504(bundle, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(Service, "answer", lambda *given: gate.wait(20))
    with running(lambda: [bundle.named("drama")], timeout_seconds=0.05) as client:
        assert client.post("/v1/retrieve", json=ASKED).status_code == 504
        gate.set()


@settings(max_examples=50, deadline=None)
@given(rate=st.floats(0.5, 100), asked=st.lists(st.tuples(st.floats(0, 3), st.integers(1, 5)), max_size=40))
def test_no_client_gets_more_than_its_rate_and_the_burst_of_a_second(rate, asked):
    now, taken = 0.0, 0
    limit = RateLimit(rate, lambda: now)
    largest = 0
    for pause, count in asked:
        now += pause
        wait = limit.take("a", count)
        if not wait:
            taken, largest = taken + count, max(largest, count)
        assert taken <= max(rate, 1) + rate * now + largest + 1e-6
        if wait:
            before, now = now, now + wait + 1e-6
            assert not limit.take("a", count)  # after so long there are enough
            taken, largest = taken + count, max(largest, count)
            assert now > before


def test_clients_have_buckets_of_their_own_and_a_batch_costs_its_requests(bundle):
    keys = ("one", "two")
    with running(lambda: [bundle.named("drama")], keys=keys, rate=0.01) as client:

        def ask(key, path="/v1/retrieve", body=ASKED):
            return client.post(path, json=body, headers={"Authorization": f"Bearer {key}"})

        assert [ask("one").status_code for _ in range(2)] == [200, 429]
        again = ask("one")
        assert 90 < int(again.headers["retry-after"]) <= 100
        assert again.json()["errors"][0] == {
            "field": "requests of this client",
            "value": "'too many'",
            "allowed": "0.01 a second",
            "message": "Too many requests of this client: 0.01 a second are allowed. "
            f"Try again in {again.headers['retry-after']} seconds.",
        }
        assert ask("two", "/v1/retrieve/batch", {"requests": [ASKED, ASKED]}).status_code == 429
        assert client.get("/healthz").status_code == 200


def test_an_address_that_brings_wrong_keys_is_refused_unread_until_its_bucket_fills_again(bundle):
    with running(lambda: [bundle.named("drama")], keys=("one",), wrong_keys_rate=1.0) as client:

        def ask(key):
            return client.post("/v1/retrieve", json=ASKED, headers={"Authorization": f"Bearer {key}"})

        assert ask("one").status_code == 200
        assert [ask("guess").status_code for _ in range(3)] == [401, 429, 429]
        assert ask("one").status_code == 429  # which key is right cannot be found out meanwhile
        assert client.get("/healthz").status_code == 200
        wait_until(lambda: ask("one").status_code == 200)


def test_only_so_many_clients_are_remembered(monkeypatch):
    monkeypatch.setattr("modit.serve.access._CLIENTS", 3)
    limit = RateLimit(0.01, lambda: 0.0)
    for client in "abcdabcd":
        assert limit.take(client) == 0.0
    assert limit.take("d") > 0
