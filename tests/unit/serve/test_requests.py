"""Whatever is asked: what is not allowed gets a 4xx that names field, value and what is allowed, never a 5xx."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modit.serve.run import JsonFormatter
from tests.unit.samplers import DIMENSION, SAMPLES, SEEDS
from tests.unit.serve.conftest import LIMITS, running

ONE = {"item_ids": ["item-1"]}
UNIT = [1.0] + [0.0] * (DIMENSION - 1)


@pytest.mark.parametrize(
    ("change", "status", "field", "value", "allowed"),
    [
        ({"domain": "comedy"}, 404, "domain", "'comedy'", "crime, drama"),
        ({"domain": 3}, 422, "domain", "3", "valid string"),
        ({"domain": None}, 422, "domain", "None", "valid string"),
        ({"k": 0}, 422, "k", "0", "1..50"),
        ({"k": 51}, 422, "k", "51", "1..50"),
        ({"k": 10**30}, 422, "k", f"{10**30}", "1..50"),
        ({"k": 2.5}, 422, "k", "2.5", "valid integer"),
        ({"k": "5"}, 422, "k", "'5'", "valid integer"),
        ({"guidance": -0.1}, 422, "guidance", "-0.1", "0..10"),
        ({"guidance": 11}, 422, "guidance", "11.0", "0..10"),
        ({"guidance": float("nan")}, 422, "guidance", "nan", "finite"),
        ({"samples": 0}, 422, "samples", "0", f"multiples of {SAMPLES} in {SAMPLES}..{4 * SAMPLES}"),
        ({"samples": SAMPLES + 1}, 422, "samples", f"{SAMPLES + 1}", f"multiples of {SAMPLES}"),
        ({"samples": 5 * SAMPLES}, 422, "samples", f"{5 * SAMPLES}", f"multiples of {SAMPLES}"),
        ({"exclude_item_ids": ["a"] * 21}, 422, "number of exclude_item_ids", "21", "0..20"),
        ({"exclude_item_ids": [1, 2.5]}, 422, "exclude_item_ids.1", "2.5", "valid string"),
        ({"exclude_item_ids": [True]}, 422, "exclude_item_ids.0", "True", "valid string"),
        ({"cheap": True}, 422, "cheap", "True", "not permitted"),
        ({"filter": "cheap"}, 422, "filter", "'cheap'", "valid dictionary"),
        ({"filter": {"only": {}}}, 422, "filter.only", "{}", "not permitted"),
        ({"filter": {"include": {"price": "low"}}}, 422, "filter.include.price", "'low'", "attr_drama, title"),
        ({"filter": {"exclude": {"attr_drama": "no"}}}, 422, "filter.exclude.attr_drama", "'no'", "true, false or"),
        ({"filter": {"exclude": {"attr_drama": 1}}}, 422, "filter.exclude.attr_drama.bool", "1", "valid boolean"),
        ({"filter": {"include": {"title": True}}}, 422, "filter.include.title", "True", "a part of the title"),
        ({"filter": {"include": {"title": ""}}}, 422, "filter.include.title", "''", "1..200"),
        ({"filter": {"include": {"title": "\ud800"}}}, 422, "filter.include.title", "\\ud800", "UTF-8"),
        ({"filter": {"include": {f"{n}": True for n in range(17)}}}, 422, "number of filter conditions", "17", "16"),
        ({"\ud800": 1}, 422, "body", "\\ud800", "unicode"),
        ({"seeds": {}}, 422, "seeds", "'neither'", "either item_ids or vectors"),
        ({"seeds": {"item_ids": ["item-1"], "vectors": [UNIT]}}, 422, "seeds", "'both'", "either"),
        ({"seeds": ["item-1"]}, 422, "seeds", "['item-1']", "valid dictionary"),
        ({"seeds": {"item_ids": []}}, 422, "number of seeds.item_ids", "0", f"1..{SEEDS}"),
        ({"seeds": {"vectors": []}}, 422, "number of seeds.vectors", "0", f"1..{SEEDS}"),
        ({"seeds": {"item_ids": [f"item-{n}" for n in range(SEEDS + 1)]}}, 422, "number of seeds.item_ids", "13", ""),
        ({"seeds": {"item_ids": ["item-1", "x", "\ud800"]}}, 422, "seeds.item_ids", "['x', '\\ud800']", "version 3"),
        ({"seeds": {"item_ids": ["item-1", "item-1"]}}, 422, "seeds.item_ids", "['item-1', 'item-1']", "each id once"),
        ({"seeds": {"vectors": [UNIT, UNIT[1:]]}}, 422, "seeds.vectors.1", "'7 numbers'", "8 numbers"),
        ({"seeds": {"vectors": [[]]}}, 422, "seeds.vectors.0", "'0 numbers'", "8 numbers"),
        ({"seeds": {"vectors": [[0] * DIMENSION]}}, 422, "length of seeds.vectors.0", "0.0", "1e-06..1e+06"),
        ({"seeds": {"vectors": [UNIT, [1e200] * DIMENSION]}}, 422, "length of seeds.vectors.1", "inf", "1e-06..1e+06"),
        ({"seeds": {"vectors": [[float("inf")] * DIMENSION]}}, 422, "seeds.vectors.0.0", "inf", "finite"),
        ({"seeds": {"vectors": [["a"] * DIMENSION]}}, 422, "seeds.vectors.0.0", "'a'", "valid number"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_by_name(client, change, status, field, value, allowed):
    body = json.dumps({"domain": "drama", "seeds": ONE} | change)
    answer = client.post("/v1/retrieve", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    error = answer.json()["errors"][0]
    assert error["field"] == field and value in error["value"] and allowed in error["allowed"], error


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"[]", 422),
        (b"null", 422),
        (b'{"domain": "drama"}', 422),
        (b"\xff\xfe", 422),
        (b"\xffabc", 400),
        (b"[" * 15_000, 400),
        (b'{"k": ' + b"9" * 10_000 + b"}", 400),
        (b"x" * (LIMITS.body_bytes + 1), 413),
    ],
)
def test_a_body_that_is_no_request_is_refused(client, body, status):
    answer = client.post("/v1/retrieve", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert answer.json()["errors"][0].keys() == {"field", "value", "allowed", "message"}


def test_a_body_that_does_not_say_its_length_is_cut_off_at_the_limit(client):
    parts = iter([b"x" * LIMITS.body_bytes, b"x"])
    answer = client.post("/v1/retrieve", content=parts, headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert answer.json()["errors"][0]["allowed"] == f"at most {LIMITS.body_bytes} bytes"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
fields = ["domain", "seeds", "k", "guidance", "samples", "exclude_item_ids", "filter", "return_query"]


@settings(max_examples=60, deadline=None)
@given(
    change=st.dictionaries(st.sampled_from(fields), json_values, max_size=3),
    seeds=st.none() | st.fixed_dictionaries({}, optional={"item_ids": json_values, "vectors": json_values}),
)
def test_no_json_makes_the_service_fail(client, change, seeds):
    body = {"domain": "drama", "seeds": ONE if seeds is None else seeds} | change
    answer = client.post("/v1/retrieve", content=json.dumps(body), headers={"content-type": "application/json"})
    assert answer.status_code in (200, 404, 422), answer.text


def test_an_unknown_path_and_a_wrong_method_are_refused_in_the_same_form(client):
    assert client.get("/v2").json()["errors"][0]["field"] == "path"
    assert client.get("/v2").json()["errors"][0]["message"] == "There is no page or path '/v2'."
    answer = client.get("/v1/retrieve")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (405, "method")


def test_an_excluded_id_that_is_unknown_does_not_matter(client):
    with_unknown = {"domain": "drama", "seeds": ONE, "exclude_item_ids": ["gone"]}
    without = {"domain": "drama", "seeds": ONE}
    assert client.post("/v1/retrieve", json=with_unknown).json() == client.post("/v1/retrieve", json=without).json()


def test_a_refusal_is_a_sentence_and_a_browser_gets_it_on_a_page(client):
    found = client.post("/v1/retrieve", json={"domain": "comedy", "seeds": ONE}).json()["errors"][0]["message"]
    assert found == "There is no domain 'comedy'; the domains are crime, drama."
    page = client.get("/nowhere", headers={"Accept": "text/html,*/*"})
    assert page.status_code == 404 and page.headers["content-type"].startswith("text/html")
    assert "There is no page or path &#39;/nowhere&#39;." in page.text and "default-src" in str(page.headers)


def test_integer_ids_are_the_ids_of_their_digits(make_bundle):
    bundle = make_bundle(("drama",), integer_ids=True)
    with running(lambda: [bundle.named("drama")]) as client:
        asked = {"domain": "drama", "seeds": {"item_ids": [1, 2]}, "exclude_item_ids": [3], "k": 5}
        found = client.post("/v1/retrieve", json=asked).json()
        text = asked | {"seeds": {"item_ids": ["1", "2"]}, "exclude_item_ids": ["3"]}
        assert found == client.post("/v1/retrieve", json=text).json()
        assert all(item["item_id"].isdecimal() for item in found["items"]) and len(found["items"]) == 5


def test_an_answer_says_what_answered(client, bundle):
    answer = client.post("/v1/retrieve", json={"domain": "drama", "seeds": ONE, "k": 3}).json()
    assert len(answer.pop("items")) == 3
    assert answer == {
        "domain": "drama",
        "model": "modit-drama",
        "version": 3,
        "alias": "champion",
        "index_digest": bundle.index_digest,
        "trained": True,
        "reranked": False,
        "seed_source": {"features": 0, "bundle": 1},
    }


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong", "Basic one", "Bearer one,two", "Bearer \xe9"])
def test_with_keys_only_those_who_have_one_are_answered(bundle, header):
    with running(lambda: [bundle.named("drama")], keys=("one", "two")) as client:
        given = {} if header is None else {"Authorization": header.encode("latin-1")}
        answer = client.post("/v1/retrieve", json={"domain": "drama", "seeds": ONE}, headers=given)
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        assert client.get("/openapi.json", headers=given).status_code == 401
        for key in ("one", "two"):
            right = {"Authorization": f"bearer {key}"}
            assert client.post("/v1/retrieve", json={"domain": "drama", "seeds": ONE}, headers=right).is_success
            assert client.get("/openapi.json", auth=("anybody", key)).is_success
        page = client.get("/docs", headers=given | {"Accept": "text/html,*/*"})
        assert page.status_code == 401 and page.headers["www-authenticate"].startswith("Basic realm=")
        assert all(client.get(path, headers=given).is_success for path in ("/healthz", "/readyz", "/metrics"))


def test_metrics_count_routes_by_status_and_say_what_answers(client, bundle):
    def figures():
        lines = client.get("/metrics").text.splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines) if name[0] != "#"}

    before = figures()
    client.post("/v1/retrieve", json={"domain": "drama", "seeds": ONE})
    client.post("/v1/retrieve", json={"domain": "drama", "seeds": ONE, "k": 0})
    client.get("/etc/passwd")
    after = figures()

    def gained(name):
        return after[name] - before.get(name, 0)

    assert gained('modit_requests_total{route="/v1/retrieve",status="200"}') == 1
    assert gained('modit_requests_total{route="/v1/retrieve",status="422"}') == 1
    assert gained('modit_requests_total{route="other",status="404"}') == 1
    assert gained('modit_request_seconds_count{route="/v1/retrieve"}') == 2
    assert after["modit_requests_in_flight"] == 1  # the one that asks
    assert after['modit_reloads_total{result="loaded"}'] >= 2 and 'modit_reloads_total{result="failed"}' in after
    release = f'domain="drama",index_digest="{bundle.index_digest}",model="modit-drama",version="3"'
    assert after[f"modit_release_info{{{release}}}"] == 1
    assert after['modit_release_loaded_timestamp_seconds{domain="drama"}'] > 1.7e9


def test_each_request_has_one_line_of_json_in_the_log(client, caplog):
    with caplog.at_level(logging.INFO, "modit.access"):
        client.post("/v1/retrieve", json={"domain": "drama", "seeds": ONE, "k": 3})
        client.get("/nowhere%0Aelse")
    lines = [JsonFormatter().format(record) for record in caplog.records if record.name == "modit.access"]
    assert len(lines) == 2 and not any("\n" in line for line in lines)
    first, second = map(json.loads, lines)
    assert first.items() >= {"route": "/v1/retrieve", "status": 200, "domain": "drama", "version": 3, "k": 3}.items()
    assert first["ms"] > 0 and (second["route"], second["status"]) == ("other", 404)


def test_the_openapi_document_has_request_answer_and_refusals(client):
    document = client.get("/openapi.json").json()
    operation = document["paths"]["/v1/retrieve"]["post"]
    assert set(operation["responses"]) >= {"200", "401", "404", "413", "422", "503"}
    assert {"RetrieveRequest", "RetrieveAnswer", "Refusals"} <= set(document["components"]["schemas"])
    assert client.get("/docs").is_success
