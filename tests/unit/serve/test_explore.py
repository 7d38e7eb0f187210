"""The page *Explore* shows what the API answers, beside what averaging finds, and escapes what it shows."""

from __future__ import annotations

import re

import numpy as np
import pytest

from modit.release.bundle.loading import ReleaseSource, load_release
from modit.serve import explore
from modit.serve.explore import HEIGHT, WIDTH, compare, find, pca_projection
from modit.serve.item_annotations import annotations_of
from modit.serve.settings import Limits
from tests.unit.serve.conftest import running

SEEDS = ["item-1", "item-2", "item-3"]


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
    view = compare(release, seeds, None, 20, Limits())
    for item in view.seeds.items + view.average.items + view.generated.items:
        row = int(np.flatnonzero(ids == item.item_id)[0])
        assert item.attribute == bundle.catalog.positive("drama")[row]
        assert item.pattern == (bundle.patterns[row] == 0)
    assert view.seeds.count(pattern=True) == 3
    assert view.share == pytest.approx(bundle.catalog.positive("drama").mean())


def test_patterns_are_read_once_for_a_release_and_a_release_without_them_says_so(make_bundle):
    bundle = make_bundle()
    release = load_release(ReleaseSource.of(bundle.named("drama")))
    (bundle.store.at("patterns").local / "drama.npz").write_bytes(b"damaged")
    assert annotations_of(release) is annotations_of(release)
    view = compare(release, SEEDS, None, 5, Limits())
    assert "cannot be read" in view.problem
    assert view.generated.count(attribute=True, pattern=True) is None
    assert view.generated.count(attribute=True) is not None


def test_a_title_is_searched_in_any_case_and_an_id_is_found(release):
    assert len(find(release.items, "TITLE OF", Limits()).items) == explore.FOUND
    assert find(release.items, "item-29", Limits()).items[0][0] == "item-29"
    assert find(release.items, "nowhere", Limits()).items == []
    assert find(release.items, "\ud800", Limits()).items == []


@pytest.mark.parametrize(
    ("params", "status", "field"),
    [
        ({"domain": "comedy"}, 404, "domain"),
        ({"domain": "drama", "seed": ["gone"]}, 422, "seeds.item_ids"),
        ({"domain": "drama", "seed": SEEDS, "guidance": "high"}, 422, "guidance"),
        ({"domain": "drama", "seed": SEEDS, "guidance": "nan"}, 422, "guidance"),
        ({"domain": "drama", "seed": SEEDS, "guidance": "11"}, 422, "guidance"),
        ({"domain": "drama", "seed": SEEDS, "k": "51"}, 422, "k"),
        ({"domain": "drama", "seed": [f"item-{n}" for n in range(13)]}, 422, "number of seeds.item_ids"),
        ({"domain": "drama", "q": "x" * 201}, 422, "search"),
    ],
)
def test_what_is_not_allowed_is_said_on_the_page(client, params, status, field):
    page = client.get("/explore", params=params)
    assert page.status_code == status and page.headers["content-type"].startswith("text/html")
    assert f'role="alert"><strong>{field}</strong>' in page.text


def test_titles_and_inputs_are_escaped_and_nothing_comes_from_elsewhere(client):
    evil = '"><script>alert(1)</script>'
    page = client.get("/explore", params={"domain": evil, "q": evil, "seed": [evil], "guidance": evil})
    assert "<script>alert" not in page.text and "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert not re.findall(r'(?:src|href|action)="(?!/)', page.text.replace('href="#main"', ""))
    assert not re.findall(r"<[^>]+\son\w+=|<[^>]+\sstyle=", page.text)


def test_what_a_page_loads_is_there_and_needs_a_key_as_the_page_does(client, bundle):
    names = re.findall(r'(?:src|href)="(/static/[^"]+)"', client.get("/explore").text)
    assert len(names) == 3 and all(client.get(name).is_success for name in names)
    assert client.get("/static/../app.py").status_code == client.get("/static/x.css").status_code == 404
    assert client.get("/", follow_redirects=False).headers["location"] == "/explore"
    with running(lambda: [bundle.named("drama")], keys=("one",)) as closed:
        for name in ["/explore", *names]:
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
