"""A bundle says what it is: the same ingredients give the same bytes, and people find what they need to know."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from modit.core.errors import ArtifactError
from modit.release.bundle.bundle import Bundle
from modit.release.bundle.canaries import Canary, expect_answers, load_canaries
from modit.release.bundle.embedding_space import Space
from modit.release.bundle.loading import load_release
from modit.release.bundle.release import ReleaseSource
from modit.release.kinds import OF_SEEDS
from tests.unit.serve.bundles import Bundle as Run
from tests.unit.serve.bundles import make_catalog

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def run(tmp_path_factory, sampler_file):
    folder = tmp_path_factory.mktemp("run")
    return Run(str(folder / "run"), folder, sampler_file, ["drama"])


@pytest.fixture(scope="module")
def release(run):
    return load_release(ReleaseSource.of(run.named("drama")))


def test_it_names_every_part_and_the_same_ingredients_give_the_same_bytes(run):
    folder = Path(run.run) / "bundle" / "drama"
    first = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}
    bundle = run.manifest("drama")
    assert set(bundle.parts) == set(OF_SEEDS.parts) and set(first) == set(bundle.files) | {"bundle.json"}
    run.bind("drama")
    assert {name: (folder / name).read_bytes() for name in first} == first


def test_a_bundle_of_another_schema_or_without_a_field_is_refused_by_name(run, tmp_path):
    content = json.loads((Path(run.run) / "bundle" / "drama" / "bundle.json").read_text())
    for change, message in (
        ({"schema_version": 1}, "schema_version is 1; this version of modit reads 3"),
        ({"colour": "red"}, "is not a Bundle"),
    ):
        (tmp_path / "bundle.json").write_text(json.dumps(content | change))
        with pytest.raises(ArtifactError, match=message):
            Bundle.load(tmp_path)


def test_the_card_has_data_figures_verdict_limits_and_licence(run):
    card = (Path(run.run) / "bundle" / "drama" / "model_card.md").read_text()
    for words in ("books", "300 items", "Verdict: **PASS**", "+0.100 [+0.080, +0.120]", "## Limits", "## Licence"):
        assert words in card, words


def test_canaries_of_both_splits_are_asked_and_another_answer_is_named(release, run):
    canaries = load_canaries(Path(run.run) / "bundle" / "drama" / "canaries.json", Canary)
    assert len(canaries) == 8 and all(len(canary.items) == 10 for canary in canaries)
    assert not any(set(canary.seeds) & set(canary.items) for canary in canaries)
    expect_answers(canaries, release.retriever, release.items, "it")
    first = vars(canaries[0])
    for change, message in (
        ({"query": (-np.array(first["query"])).tolist()}, "another query than the stored one"),
        ({"items": canaries[1].items}, "canary 0 answers"),
        ({"seeds": ["nobody", *first["seeds"][1:]]}, "the catalogue has no item 'nobody'"),
    ):
        with pytest.raises(ArtifactError, match=message):
            expect_answers([Canary(**first | change)], release.retriever, release.items, "it")


def test_items_that_tie_at_the_end_of_a_list_may_come_or_not(release, run):
    canary = load_canaries(Path(run.run) / "bundle" / "drama" / "canaries.json", Canary)[0]
    tied = [*canary.scores[:-2], canary.scores[-1], canary.scores[-1]]
    other = Canary(canary.seeds, canary.query, [*canary.items[:-1], "another"], tied)
    if canary.scores[-2] - canary.scores[-1] > 1e-3:  # the stored scores must be those that come
        other = Canary(canary.seeds, canary.query, [*canary.items[:-1], "another"], canary.scores)
    expect_answers([other], release.retriever, release.items, "it")


def test_a_space_is_the_same_when_items_come_and_go_and_another_when_vectors_move():
    catalog = make_catalog(0)
    space = Space.of(catalog.item_ids, catalog.embeddings)
    fewer = Space.of(catalog.item_ids[:270], catalog.embeddings[:270])
    assert space.difference(fewer) is None and fewer.version != space.version
    assert space.version == Space.of(catalog.item_ids[::-1], catalog.embeddings[::-1]).version
    rotated = Space.of(catalog.item_ids, catalog.embeddings[:, ::-1])
    assert "16 items of both catalogues have other embeddings: median cosine" in str(space.difference(rotated))
    assert "only 0 of the compared items" in str(space.difference(Space(8, space.normalisation, {})))
    assert "dimension is 4" in str(space.difference(Space(4, space.normalisation, space.items)))


def test_an_item_whose_content_changed_does_not_make_another_space():
    catalog = make_catalog(0)
    space = Space.of(catalog.item_ids, catalog.embeddings)
    changed = dict(space.items)
    for name in sorted(changed)[:7]:
        changed[name] = [-value for value in changed[name]]
    assert space.difference(Space(space.dimension, space.normalisation, changed)) is None
