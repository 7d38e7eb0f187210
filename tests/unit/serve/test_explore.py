"""The page *Explore* shows what the API answers, beside what averaging finds, and escapes what it shows."""

from __future__ import annotations

import html
import logging
import re
import threading
import time

import numpy as np
import pytest

from modit.core.artifacts import ArtifactStore
from modit.release.bundle.loading import ReleaseSource, load_release
from modit.serve import explore, releases
from modit.serve.explore import HEIGHT, WIDTH, compare, find, pca_projection
from modit.serve.releases import Releases
from modit.serve.retrieve import RetrieveTask
from modit.serve.settings import Limits
from tests.unit.serve.conftest import running, wait_until

SEEDS = ["item-1", "item-2", "item-3"]


def compared(release, seeds, k, patterns=None):
    patterns = releases._read_patterns(release) if patterns is None else patterns
    return compare(release, RetrieveTask(Limits()), patterns, seeds, None, k)


def lists_of(page):
    sections = re.findall(r'<section class="list (\w+)".*?</section>', page, re.DOTALL)
    bodies = re.split(r'<section class="list \w+"', page)[1:]
    return {name: re.findall(r'<li data-item="([^"]*)"', body) for name, body in zip(sections, bodies, strict=True)}


def test_generated_results_are_those_of_the_api_and_average_ones_those_of_the_mean(client, bundle):
    page = client.get("/explore", params={"domain": "drama", "seed": SEEDS, "k": "7", "guidance": "2"})
    shown = lists_of(page.text)
    asked = {"domain": "drama", "seeds": {"item_ids": SEEDS}, "k": 7, "guidance": 2.0}
    answer = client.post("/v1/retrieve", json=asked).json()
    assert shown["generated"] == [item["item_id"] for item in answer["items"]]
    ids, vectors = bundle.catalog.item_ids, bundle.catalog.embeddings
    own = np.isin(ids, SEEDS)
    best = np.argsort(-np.where(own, -np.inf, vectors @ vectors[own].mean(0)))[:7]
    assert shown["average"] == ids[best].tolist()
    assert sorted(shown["seeds"]) == SEEDS


def test_marks_say_attribute_and_the_pattern_that_most_seeds_are_in(release, bundle):
    ids = bundle.catalog.item_ids
    seeds = ids[[0, 7, 14, 1]].tolist()  # patterns 0, 0, 0 and 1
    view = compared(release, seeds, 20)
    for item in view.seeds.items + view.average.items + view.generated.items:
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
    assert view.generated.count(attribute=True, pattern=True) is None
    assert view.generated.count(attribute=True) is not None


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
        listed = page.split('<section class="list generated"')[1]
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
