"""`/v1/recommend`: a session in, likely next items out, by the same service as seeds."""

from __future__ import annotations

import json
from datetime import date
from functools import partial
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

import modit
from modit.cli import main
from modit.client import Client, session_request
from modit.core.errors import ArtifactError
from modit.inference.next_item import load_next_item
from modit.inference.sessions import SessionQuery
from modit.release.bundle.canaries import SessionCanary, ask_session, expect_lists
from modit.release.bundle.loading import load_release
from modit.release.bundle.release import NextItemRelease, ReleaseSource
from modit.release.model_registry.mlflow_model import write_mlflow_model
from tests.unit.serve.conftest import LIMITS, listening, running, wait_until
from tests.unit.serve.session_bundles import SESSION_ITEMS, SessionBundle

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    def build(seed=0, **how):
        folder = tmp_path_factory.mktemp("sessions")
        return SessionBundle(str(folder / "run"), folder, seed, **how)

    return build


@pytest.fixture(scope="module")
def sessions(make):
    return make()


@pytest.fixture(scope="module")
def client(sessions, bundle):
    """A service that answers seeds of a domain, and sessions."""
    with running(lambda: [sessions.named(4), bundle.named("drama", 3)], reload_seconds=60) as client:
        yield client


def ask(client, session=("item-1", "item-2"), status=200, **more):
    answer = client.post("/v1/recommend", content=json.dumps({"session": list(session)} | more), headers=JSON)
    assert answer.status_code == status, answer.text
    return answer.json()


def ids_of(answer):
    return [item["item_id"] for item in answer["items"]]


def expected(sessions, session, k, exclude=()):
    retriever, ids = load_next_item(sessions.folder("exported_retriever")), sessions.catalog.item_ids
    rows, out = (
        np.array([int(np.flatnonzero(ids == name)[0]) for name in names], np.int64)
        for names in (session, [*session, *exclude])
    )
    (found,) = retriever.retrieve([SessionQuery(rows, k, out)])
    return ids[found.rows].tolist()


def test_a_session_gets_what_the_exported_file_ranks_with_titles_and_the_version(client, sessions):
    answer = ask(client, k=7)
    assert ids_of(answer) == expected(sessions, ["item-1", "item-2"], 7)
    assert [item["title"] for item in answer["items"]] == [f"Title of {name}" for name in ids_of(answer)]
    scores = [item["score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True) and scores[0] < 0
    facts = {name: answer[name] for name in ("model", "version", "alias", "index_digest", "items_read")}
    digest = sessions.manifest.index_digest
    assert facts == {
        "model": "modit-next_item",
        "version": 4,
        "alias": "champion",
        "index_digest": digest,
        "items_read": 2,
    }
    assert answer["ignored_item_ids"] == [] and set(answer["items"][0]) == {"item_id", "score", "title"}


def test_unknown_items_are_left_out_and_named_and_a_session_of_unknown_ones_is_refused(client):
    answer = ask(client, ["nobody", "item-1", "item-2", "nobody", "\ud800"], k=7)
    assert ids_of(answer) == ids_of(ask(client, k=7)) and answer["ignored_item_ids"] == ["nobody", "?"]
    (refusal,) = ask(client, ["nobody"], status=422)["errors"]
    assert (refusal["field"], refusal["value"]) == ("session", "['nobody']")
    assert "None of the items ['nobody'] of the session is known" in refusal["message"]


def test_an_empty_session_gets_likely_starts(client, sessions):
    answer = ask(client, [], k=5)
    assert ids_of(answer) == expected(sessions, [], 5) and answer["items_read"] == 0


def test_the_last_items_of_a_long_session_count(client):
    long = [f"item-{number}" for number in range(SESSION_ITEMS + 4)]
    answer, last = ask(client, long, repeat=True), ask(client, long[4:], repeat=True)
    assert ids_of(answer) == ids_of(last) and answer["items_read"] == SESSION_ITEMS


def test_items_of_the_session_and_excluded_ones_are_no_results_and_lists_stay_full(client):
    first = ids_of(ask(client, k=10))
    assert not {"item-1", "item-2"} & set(first)
    second = ask(client, k=10, exclude_item_ids=first[:6])
    assert len(second["items"]) == 10 and not set(first[:6]) & set(ids_of(second))


def test_items_may_repeat_where_it_is_asked_for_or_was_judged_so(make, client):
    session, few = ["item-29"], {"k": LIMITS.k, "filter": {"include": {"title": "item-29"}}}  # and item-290 to 299
    assert len(ids_of(ask(client, session, **few))) == 10
    assert "item-29" in ids_of(ask(client, session, repeat=True, **few))
    anew = make(may_repeat=True)
    with running(lambda: [anew.named(1)], reload_seconds=60) as other:
        assert "item-29" in ids_of(ask(other, session, **few))
        assert "item-29" not in ids_of(ask(other, session, repeat=False, **few))


def test_a_filter_holds_for_the_whole_list(client, sessions):
    drama = dict(zip(sessions.catalog.item_ids.tolist(), sessions.catalog.verdicts["drama"], strict=True))
    answer = ask(client, k=30, filter={"include": {"attr_drama": True, "title": "1"}})
    assert len(answer["items"]) == 30 and all(drama[name] == 1 and "1" in name for name in ids_of(answer))
    (refusal,) = ask(client, status=422, filter={"include": {"colour": "red"}})["errors"]
    assert refusal["field"] == "filter.include.colour"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"k": 0}, "k"),
        ({"k": LIMITS.k + 1}, "k"),
        ({"session": ["item-1"] * (LIMITS.session + 1)}, "number of items in session"),
        ({"session": "item-1"}, "session"),
        ({"session": [1.5]}, "session.0"),
        ({"seeds": {"item_ids": ["item-1"]}}, "seeds"),
        ({"exclude_item_ids": ["x"] * (LIMITS.exclude + 1)}, "number of exclude_item_ids"),
    ],
)
def test_what_is_not_allowed_is_refused_by_field(client, change, field):
    answer = client.post("/v1/recommend", json={"session": ["item-1"]} | change)
    assert answer.status_code == 422 and answer.json()["errors"][0]["field"] == field


def test_a_batch_has_the_answers_of_its_requests_alone_or_is_refused_by_place(client):
    asked = [
        {"session": [f"item-{n}", "item-9"][: n % 3], "k": 3 + n, "filter": {"include": {"attr_drama": n > 1}}}
        for n in range(4)
    ]
    answers = client.post("/v1/recommend/batch", json={"requests": asked}).json()["answers"]
    for one, answer in zip(asked, answers, strict=True):
        assert ids_of(answer) == ids_of(ask(client, **one))
    refused = client.post("/v1/recommend/batch", json={"requests": [asked[0], {"session": ["nobody"]}]})
    assert refused.status_code == 422 and refused.json()["errors"][0]["field"] == "requests.1.session"


def test_sessions_and_seeds_have_their_own_releases(client):
    ready = client.get("/readyz").json()
    assert ready["ready"] and ready["releases"].keys() == {"drama", "next_item"}
    seeds = {"domain": "next_item", "seeds": {"item_ids": ["item-1"]}}
    (refusal,) = client.post("/v1/retrieve", json=seeds).json()["errors"]
    assert refusal["message"] == "There is no domain 'next_item'; the domains are drama."
    assert client.post("/v1/retrieve", json=seeds | {"domain": "drama"}).is_success
    page = client.get("/explore").text
    assert "drama" in page and "next_item" not in page


def test_a_service_without_a_retriever_of_the_next_item_says_so(bundle):
    with running(lambda: [bundle.named("drama", 3)], reload_seconds=60) as client:
        answer = client.post("/v1/recommend", json={"session": []})
        assert answer.status_code == 404 and "There is no retriever of the next item" in answer.text


def test_a_new_champion_answers_without_a_restart_and_a_broken_one_does_not(make, sessions):
    named = [sessions.named(1)]
    with running(lambda: list(named)) as client:
        before = ids_of(ask(client))
        named[:] = [sessions.named(2, bundle_digest="5" * 64)]
        wait_until(lambda: "next_item" in client.get("/readyz").json()["problems"])
        assert ids_of(ask(client)) == before
        named[:] = [make(seed=1).named(3)]
        wait_until(lambda: ask(client)["version"] == 3)
        assert ids_of(ask(client)) != before


def test_items_of_sessions_are_counted_and_the_access_log_has_the_task(client, gained, caplog):
    with caplog.at_level("INFO", logger="modit.access"):
        ask(client, ["item-1", "nobody", "item-2"], k=3)
    found = [gained("modit_session_items_total", result=result) for result in ("known", "unknown")]
    assert found == [2, 1]
    record = next(record for record in caplog.records if record.name == "modit.access")
    assert "/v1/recommend" in str(vars(record)) and "next_item" in str(vars(record))
    assert 'modit_release_info{domain="next_item"' in client.get("/metrics").text


def test_the_bundle_loads_as_registered_and_every_edit_is_refused_by_name(make):
    run = make(ends=date(2026, 2, 1))
    release = load_release(ReleaseSource.of(run.named()))
    assert isinstance(release, NextItemRelease) and release.bundle.retriever == "semantic_ids"
    assert release.bundle.window == {"start": "2026-01-01", "end": "2026-02-01"} and len(release.items) == 300
    card = (run.folder("next_item_bundle") / "model_card.md").read_text()
    assert all(words in card for words in ("books", "300 items", "**PASS**", "0.1000 [0.0500, 0.1500]", "## Limits"))
    for name in ("bundle_digest", "retriever_digest", "index_digest"):
        with pytest.raises(ArtifactError, match=f"{name} of .* is .*; modit-next_item version 1 was registered with"):
            load_release(ReleaseSource.of(run.named(**{name: "5" * 64})))
    with pytest.raises(ArtifactError, match="no tag retriever_digest"):
        ReleaseSource.of(
            run.named().__class__(
                "modit-next_item",
                1,
                "champion",
                {name: value for name, value in run.named().tags.items() if name != "retriever_digest"},
            )
        )
    codes = run.folder("exported_retriever") / "item_codes.npz"
    codes.write_bytes(codes.read_bytes() + b" ")
    with pytest.raises(ArtifactError, match="item_codes.npz"):
        load_release(ReleaseSource.of(run.named()))


def test_a_retriever_that_answers_its_canaries_otherwise_is_refused(make):
    run, other = make(), make(seed=1)
    canaries = Path(run.run) / "next_item_bundle" / "canaries.json"
    stored = json.loads(canaries.read_text())
    assert stored[0]["session"] == [] and len(stored) == 9
    assert json.loads((Path(other.run) / "next_item_bundle" / "canaries.json").read_text()) != stored
    release = load_release(ReleaseSource.of(other.named()))
    again = partial(ask_session, release.retriever, release.items)
    with pytest.raises(ArtifactError, match="it: canary 0 answers"):
        expect_lists([SessionCanary(**each) for each in stored], again, "it")
    with pytest.raises(ArtifactError, match="it: canary 0: the catalogue has no item 'nobody'"):
        expect_lists([SessionCanary(["nobody"], [], [])], again, "it")


def test_client_and_command_ask_with_a_session(sessions, capsys):
    with listening(lambda: [sessions.named(4)]) as url:
        client = Client(url)
        answer = client.recommend(["item-1", "nobody", "item-2"], k=3)
        assert (answer.version, answer.items_read, answer.ignored_item_ids) == (4, 2, ("nobody",))
        assert [item.item_id for item in answer.items] == expected(sessions, ["item-1", "item-2"], 3)
        both = client.recommend_batch([session_request([], 2), session_request(["item-1"], 4, repeat=True)])
        assert [len(each.items) for each in both] == [2, 4]
        shown = ["recommend", "--session", "item-1,nobody", "-k", "2", "--url", url]
        assert main(shown) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[:2] == ["modit-next_item version 4 (champion), 1 items of the session read", "not known: nobody"]
        assert len(lines) == 4
        assert main([*shown, "--exclude", "item-3", "--json"]) == 0
        assert len(json.loads(capsys.readouterr().out)["items"]) == 2


def test_modit_load_and_mlflow_answer_as_the_service_does(client, sessions, tmp_path):
    expected = [ask(client, session, k=3)["items"] for session in (["item-1", "item-2"], ["item-3"])]
    found = modit.load(sessions.run).query([["item-1", "item-2"], ["item-3"]], k=3)
    assert found["item_id"].tolist() == [item["item_id"] for items in expected for item in items]
    write_mlflow_model(tmp_path / "model", sessions.submission())
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    answers = model.predict(pd.DataFrame({"session": [["item-1", "item-2"], ["item-3"]], "k": 3}))
    assert answers["items"].tolist() == expected
    assert len(model.predict(model.input_example)["items"][0]) == 10
