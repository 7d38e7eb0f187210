"""The page *Explore* shows examples, and what the API answers beside what simple rows find, and escapes all of it."""

from __future__ import annotations

import html
import logging
import re
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from modit.core.artifacts import ArtifactStore
from modit.inference.retrieval import Query, SamplerRetriever, even_selection
from modit.inference.vote_file import WeightedMove, load_vote
from modit.metric.predictor import DomainGeometry
from modit.release.bundle.loading import load_release
from modit.release.bundle.release import ReleaseSource
from modit.serve import explore, releases
from modit.serve.explore import compare, find
from modit.serve.explore_map import HEIGHT, WIDTH, pca_projection
from modit.serve.releases import Releases
from modit.serve.retrieve import RetrieveTask
from modit.serve.settings import Limits
from tests.unit.serve.bundles import MOVE
from tests.unit.serve.conftest import running, wait_until

SEEDS = ["item-1", "item-2", "item-3"]
ITEM = re.compile(r'<li data-item="([^"]*)"')


def compared(release, seeds, k, patterns=None, rerank=None):
    patterns = releases._read_patterns(release) if patterns is None else patterns
    return compare(release, RetrieveTask(Limits()), patterns, seeds, None, k, rerank)


def lists_of(page):
    sections = re.findall(r'<section class="list (\w+)".*?</section>', page, re.DOTALL)
    bodies = re.split(r'<section class="list \w+"', page)[1:]
    return {name: ITEM.findall(body.split("</ol>")[0]) for name, body in zip(sections, bodies, strict=True)}


def cards_of(page):
    return ITEM.findall(page.split('<ul class="cards"')[1].split("</ul>")[0])


def test_the_models_results_are_those_of_the_api_and_average_ones_those_of_the_mean(client, bundle):
    page = client.get("/explore", params={"domain": "drama", "seed": SEEDS, "k": "7", "guidance": "2"})
    shown = lists_of(page.text)
    asked = {"domain": "drama", "seeds": {"item_ids": SEEDS}, "k": 7, "guidance": 2.0}
    answer = client.post("/v1/retrieve", json=asked).json()
    assert list(shown) == ["average", "simple", "served"]
    assert shown["served"] == [item["item_id"] for item in answer["items"]]
    ids, vectors = bundle.catalog.item_ids, bundle.catalog.embeddings
    own = np.isin(ids, SEEDS)
    best = np.argsort(-np.where(own, -np.inf, vectors @ vectors[own].mean(0)))[:7]
    assert shown["average"] == ids[best].tolist()
    assert cards_of(page.text) == SEEDS


def test_the_simple_row_answers_with_its_own_move_and_is_reranked_where_the_model_is(bundle, vote_file):
    release = load_release(ReleaseSource.of(bundle.named("drama", 3)))
    ids, vectors = bundle.catalog.item_ids, bundle.catalog.embeddings
    rows = release.items.rows_of(SEEDS)
    geometry = DomainGeometry.load(bundle.store.read("predictor", "drama") / "geometry.npz")
    moves = [WeightedMove(**MOVE, weight=1.0)]
    sampler = load_vote(vote_file.parent, threads=1).sampler("drama", moves, geometry)
    verdicts = release.items.known_verdicts("drama")
    expected = SamplerRetriever(sampler, release.items.index, verdicts=verdicts)
    query = Query(vectors[rows], 6, exclude=rows)
    plain = compared(release, SEEDS, 6, rerank=False).lists["simple"]
    assert [each.item_id for each in plain.items] == ids[expected.retrieve([query])[0].rows].tolist()
    reranked = compared(release, SEEDS, 6, rerank=True).lists["simple"]
    stage = replace(release.second_stage.retriever, first=expected)
    assert [each.item_id for each in reranked.items] == ids[stage.retrieve([query])[0].rows].tolist()


def test_what_moved_in_and_out_is_the_difference_of_the_two_lists(release):
    view = compared(release, SEEDS, 9)
    average, served = ({each.item_id for each in view.lists[key].items} for key in ("average", "served"))
    assert {each.item_id for each in view.moved_in.items} == served - average != set()
    assert {each.item_id for each in view.moved_out.items} == average - served == view.moved("average")
    assert view.moved("served") == served - average


def test_the_page_opens_on_worked_examples_and_each_shows_its_lists_as_they_were_judged(client, bundle):
    opened = client.get("/explore", params={"domain": "drama"}).text
    links = [html.unescape(each) for each in re.findall(r'<li class="example"><a href="([^"]*)"', opened)]
    assert links == ["explore?domain=drama&example=25", "explore?domain=drama&example=75"]
    assert "percentile of what the model gains over the average" in opened and "of 5 patterns" in opened
    page = client.get("/" + links[0]).text
    ids = bundle.catalog.item_ids.tolist()
    seeds = even_selection(np.array(ids[:14]), 12).tolist()  # as many as a request may have
    assert cards_of(page) == seeds
    assert lists_of(page) == {"average": ids[14:17], "simple": ids[15:18], "served": ids[16:19]}
    assert "Local feedback + rerank" in page and "the model takes 2 items in" in page
    again = html.unescape(re.search(r'<a href="([^"]*)">Ask the service with these seeds', page)[1])
    live = client.get("/" + again)
    assert live.status_code == 200 and cards_of(live.text) == seeds


def test_a_bundle_of_an_earlier_version_opens_on_its_canary_queries_and_has_no_simple_row(make_bundle):
    bundle = make_bundle()
    with running(lambda: [bundle.named("drama")]) as client:
        opened = client.get("/explore").text
        assert "Its bundle is of an earlier version" in opened and opened.count('<li class="example">') == 3
        link = html.unescape(re.search(r'<li class="example"><a href="([^"]*)"', opened)[1])
        page = client.get("/" + link).text
        assert list(lists_of(page)) == ["average", "served"] and "has no simple row" in page


def test_the_link_of_a_page_gives_the_same_page_and_says_when_another_version_answers(client):
    asked = {"domain": "drama", "seed": SEEDS, "k": "4", "guidance": "2", "rerank": "on"}
    page = client.get("/explore", params=asked).text
    link = html.unescape(re.search(r'class="share"><a href="([^"]*)"', page)[1])
    assert link.endswith("version=3&seed=item-1&seed=item-2&seed=item-3")
    again = client.get("/" + link).text
    assert lists_of(again) == lists_of(page) and "another one answers now" not in again
    assert "made with version 2, another one answers now" in client.get("/" + link.replace("on=3", "on=2")).text


def test_one_click_adds_a_seed_and_one_takes_it_away(client):
    page = client.get("/explore", params={"domain": "drama", "q": "item-29", "seed": SEEDS[:1], "k": "4"}).text
    added = re.search(r'<li><a href="([^"]*)">', page.split('class="picks"')[1])[1]
    both = client.get("/" + html.unescape(added)).text
    assert cards_of(both) == ["item-1", "item-29"] and len(lists_of(both)["served"]) == 4
    removed = re.search(r'class="remove" href="([^"]*)"', both)[1]
    assert cards_of(client.get("/" + html.unescape(removed)).text) == ["item-29"]


def test_marks_say_attribute_and_the_pattern_that_most_seeds_are_in(release, bundle):
    ids = bundle.catalog.item_ids
    seeds = ids[[0, 7, 14, 1]].tolist()  # patterns 0, 0, 0 and 1
    view = compared(release, seeds, 20)
    for item in [each for listing in (view.seeds, *view.lists.values()) for each in listing.items]:
        row = int(np.flatnonzero(ids == item.item_id)[0])
        assert item.attribute == bundle.catalog.positive("drama")[row]
        assert item.pattern == (bundle.patterns[row] == 0)
    assert view.seeds.count(pattern=True) == 3
    assert view.share == pytest.approx(bundle.catalog.positive("drama").mean())


def test_patterns_are_read_once_for_a_release_and_a_release_without_them_says_so(make_bundle, monkeypatch):
    bundle = make_bundle()
    found = Releases(lambda: [bundle.named("drama")], "champion")
    found.refresh()
    release = found.state.releases["drama"]
    found.read_patterns()
    read = found.patterns_of(release)
    found.read_patterns()
    assert found.patterns_of(release) is read and np.array_equal(read, bundle.patterns)
    (bundle.store.at("patterns").local / "drama.npz").write_bytes(b"damaged")
    view = compared(load_release(ReleaseSource.of(bundle.named("drama"))), SEEDS, 5)
    assert "cannot be read" in view.problem
    assert view.lists["served"].count(attribute=True, pattern=True) is None
    assert view.lists["served"].count(attribute=True) is not None


def test_while_patterns_are_read_pages_say_so_and_no_worker_waits_for_them(make_bundle, monkeypatch):
    bundle, gate, real = make_bundle(), threading.Event(), releases._read_patterns
    monkeypatch.setattr(releases, "_read_patterns", lambda *given: gate.wait(20) and real(*given))
    with running(lambda: [bundle.named("drama")], threads=1) as client:
        asked = {"domain": "drama", "seed": SEEDS}
        assert "patterns of this version are being read" in client.get("/explore", params=asked).text
        begun = time.monotonic()
        assert all("being read" in client.get("/explore", params=asked).text for _ in range(5))
        assert time.monotonic() - begun < 5
        gate.set()
        wait_until(lambda: "in the pattern that" in client.get("/explore", params=asked).text)
        wait_until(lambda: "being read" not in client.get("/explore", params=asked).text)


def test_patterns_that_could_not_be_read_are_tried_again_and_said_once(bundle, monkeypatch, caplog):
    found, real, failing = Releases(lambda: [bundle.named("drama")], "champion"), ArtifactStore.read, []

    def read(store, name, *given, **options):
        if name == "patterns" and len(failing) < 2:
            failing.append(name)
            raise OSError("the place is away")
        return real(store, name, *given, **options)

    monkeypatch.setattr(ArtifactStore, "read", read)
    # A library that an earlier test in this process used may have set up logging its own way.
    caplog.set_level(logging.WARNING, "modit.serve.releases")
    monkeypatch.setattr(logging.getLogger("modit.serve.releases"), "disabled", False)
    found.refresh()
    release = found.state.releases["drama"]
    for _ in range(2):
        found.read_patterns()
        assert found.patterns_of(release).endswith("cannot be read: OSError: the place is away.")
    assert caplog.text.count("the place is away") == 1
    found.read_patterns()
    assert np.array_equal(found.patterns_of(release), bundle.patterns)


def test_an_item_that_was_not_scored_is_marked_so(make_bundle):
    bundle = make_bundle(unscored=0.5)
    ids, verdicts = bundle.catalog.item_ids, bundle.catalog.verdicts["drama"]
    with running(lambda: [bundle.named("drama")]) as client:
        answer = client.post("/v1/retrieve", json={"domain": "drama", "seeds": {"item_ids": SEEDS}, "k": 50}).json()
        stored = dict(zip(ids, verdicts, strict=True))
        meaning = {1: True, 0: False, -1: None}
        assert {each["verdict"] for each in answer["items"]} == {True, False, None}
        assert all(each["verdict"] is meaning[stored[each["item_id"]]] for each in answer["items"])
        page = client.get("/explore", params={"domain": "drama", "seed": SEEDS, "k": "50"}).text
        listed = page.split('<section class="list served"')[1]
        unscored = sum(each["verdict"] is None for each in answer["items"])
        assert f"{unscored} not scored" in listed and listed.count('class="hidden">not scored<') == unscored


def test_a_title_is_searched_in_any_case_and_an_id_is_found(release):
    assert len(find(release.items, "TITLE OF", Limits()).items) == explore.FOUND
    assert len(find(release.items, "", Limits()).items) == explore.OFFERED
    assert find(release.items, "item-29", Limits()).items[0][0] == "item-29"
    assert find(release.items, "nowhere", Limits()).items == []
    assert find(release.items, "\ud800", Limits()).items == []


@pytest.mark.parametrize(
    ("params", "status", "sentence"),
    [
        ({"domain": "comedy"}, 404, "There is no domain 'comedy'; the domains are crime, drama."),
        ({"domain": "drama", "seed": ["gone"]}, 422, "The seeds ['gone'] are unknown; allowed: ids of the index of"),
        ({"domain": "drama", "seed": SEEDS, "guidance": "high"}, 422, "The guidance cannot be 'high'; allowed: a num"),
        (
            {"domain": "drama", "seed": SEEDS, "guidance": "nan"},
            422,
            "The guidance cannot be 'nan'; allowed: a number.",
        ),
        ({"domain": "drama", "seed": SEEDS, "guidance": "11"}, 422, "The guidance cannot be 11.0; allowed: 0..10."),
        ({"domain": "drama", "seed": SEEDS, "k": "51"}, 422, "The k cannot be 51; allowed: 1..50."),
        (
            {"domain": "drama", "seed": [f"item-{n}" for n in range(13)]},
            422,
            "The number of seeds.item_ids cannot",
        ),
        ({"domain": "drama", "example": "60"}, 422, "The example cannot be '60'; allowed: 25, 75."),
        ({"domain": "drama", "q": "x" * 201}, 422, "The search cannot be"),
    ],
)
def test_what_is_not_allowed_is_said_on_the_page(client, params, status, sentence):
    page = client.get("/explore", params=params)
    assert page.status_code == status and page.headers["content-type"].startswith("text/html")
    assert f'role="alert">{sentence}' in html.unescape(page.text)


def test_titles_and_inputs_are_escaped_and_nothing_comes_from_elsewhere(client):
    evil = '"><script>alert(1)</script>'
    page = client.get("/explore", params={"domain": evil, "q": evil, "seed": [evil], "guidance": evil})
    assert "<script>alert" not in page.text and "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert not re.findall(r'(?:src|href|action)="(?:/|\w+:)', page.text)
    assert not re.findall(r"<[^>]+\son\w+=|<[^>]+\sstyle=", page.text)


def test_what_a_page_loads_is_there_and_needs_a_key_as_the_page_does(client, bundle):
    names = re.findall(r'(?:src|href)="(static/[^"]+)"', client.get("/explore").text)
    assert len(names) == 3 and all(client.get(name).is_success for name in names)
    assert client.get("/static/../app.py").status_code == client.get("/static/x.css").status_code == 404
    assert client.get("/", follow_redirects=False).headers["location"] == "explore"
    with running(lambda: [bundle.named("drama")], keys=("one",)) as closed:
        for name in ["explore", *names]:
            assert closed.get(name).status_code == 401
            assert closed.get(name, auth=("me", "one")).is_success


def test_a_map_keeps_to_its_frame_and_shows_two_dimensions_as_they_are():
    generator = np.random.default_rng(0)
    flat = generator.standard_normal((30, 2)) @ generator.standard_normal((2, 16))
    places, variance = pca_projection(flat.astype(np.float32))
    assert variance == pytest.approx(1)
    assert all(0 <= place.x <= WIDTH and 0 <= place.y <= HEIGHT for place in places)
    distances = [np.linalg.norm(each[1:] - each[:-1], axis=1) for each in (np.array(places), flat)]
    assert np.ptp(distances[0] / distances[1]) < 0.02 * (distances[0] / distances[1]).mean()
    assert pca_projection(np.ones((1, 4), np.float32))[0] == [(WIDTH / 2, HEIGHT / 2)]
