"""Exported fan-out: the sets and lists of torch, files that belong together, and sets that are never short."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modit.core.errors import ArtifactError, ContractError
from modit.export.fan_out import fan_out_parity
from modit.export.parity import ParityError
from modit.inference.fan_out import load_fan_out
from modit.inference.fan_out_files import DENOISER_FILE, FAN_OUT_FILE
from modit.inference.texts import TextQuery
from tests.unit.serve.intent_bundles import INTENT, export
from tests.unit.serve.text_bundles import COLOURS, THINGS, WEIGHT

TITLES = [f"{colour} {thing}" for colour in COLOURS for thing in THINGS]
IDS = np.array([f"item-{number}" for number in range(len(TITLES))])
TEXTS = ["red paint", "a", "門把手", "Türgriff 1/2", "word " * 500, *TITLES[:40]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fan_out")
    return folder, export(folder, TITLES, IDS, 0)


@pytest.fixture(scope="module")
def retriever(exported):
    return load_fan_out(exported[0], IDS)


@pytest.fixture
def copy(exported, tmp_path):
    return shutil.copytree(exported[0], tmp_path / "copy")


def ask(retriever, text="red paint", k=10, **how):
    (found,) = retriever.retrieve([TextQuery(text, k, **how)])
    return found


def test_the_files_give_the_sets_and_lists_of_torch_and_another_model_does_not(exported, retriever, tmp_path):
    parity = fan_out_parity(exported[1], retriever, TEXTS, 10)
    assert parity["status"] == "passed" and parity["greatest_difference"] < 1e-5 and parity["identical"] == 1.0
    with pytest.raises(ParityError, match="fan_out: batches of 1: vectors differ by"):
        fan_out_parity(export(tmp_path, TITLES, IDS, 1), retriever, TEXTS, 10)


def test_a_set_is_that_of_its_request_alone_and_the_same_each_time(retriever):
    together = retriever.retrieve([TextQuery(text, 7) for text in TEXTS])
    for text, found in zip(TEXTS, together, strict=True):
        alone = ask(retriever, text, 7)
        assert alone.rows.tolist() == found.rows.tolist()
        assert np.allclose(alone.query_set.vectors, found.query_set.vectors, atol=1e-5)


def test_the_intents_own_list_has_its_share_and_every_query_has_its_turn(retriever):
    found = ask(retriever, "red paint", 20)
    cosines = np.concatenate([found.query_set.vectors, found.query[None]]) @ retriever.space.items.T
    scores = WEIGHT * cosines + (1 - WEIGHT) * retriever.words.shares(["red paint"])
    own = np.argsort(-scores[-1], kind="stable")[:20]
    assert len(set(found.rows.tolist())) == 20
    assert np.isin(own[: round(INTENT * 20)], found.rows).all() and np.isin(found.query_set.first, found.rows).all()
    assert np.allclose(found.scores, scores.max(0)[found.rows], atol=1e-6)
    nearest = [len(cosines) - 1 if each is None else each for each in retriever.nearest_queries(found)]
    assert nearest == cosines[:, found.rows].argmax(0).tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 70))
def test_filters_and_exclusions_hold_and_a_set_is_short_only_if_no_more_may_be_results(retriever, seed, k):
    draw = np.random.default_rng(seed)
    allowed = draw.random(len(IDS)) < draw.random()
    exclude = draw.choice(len(IDS), draw.integers(0, 20), replace=False)
    left = np.setdiff1d(np.flatnonzero(allowed), exclude)
    rows = ask(retriever, "blue lamp", k, allowed=allowed, exclude=exclude).rows
    assert len(rows) == len(set(rows.tolist())) == min(k, len(left)) and np.isin(rows, left).all()


def test_the_scores_of_named_items_are_those_that_they_have_as_results(retriever):
    found = ask(retriever, k=len(IDS), judged=np.array([5, 17]))
    scores = dict(zip(found.rows.tolist(), found.scores.tolist(), strict=True))
    assert found.judged.tolist() == pytest.approx([scores[5], scores[17]])


@pytest.mark.parametrize(
    ("text", "k", "message"), [("?!", 5, "no letter or digit"), ("", 5, "no letter"), ("red", 0, "k is 0")]
)
def test_what_cannot_be_answered_is_refused(retriever, text, k, message):
    with pytest.raises(ContractError, match=message):
        ask(retriever, text, k)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rows", 0),
        ("solver", "euler"),
        ("levels", [1.0, 2.0, 0.0]),
        ("levels", [1.0]),
        ("intent", 1.5),
        ("weight", -1),
        ("bm25", {}),
    ],
)
def test_a_document_that_says_what_cannot_be_is_refused_by_field(copy, field, value):
    document = json.loads((copy / FAN_OUT_FILE).read_text())
    (copy / FAN_OUT_FILE).write_text(json.dumps(document | {field: value}))
    with pytest.raises(ArtifactError, match=f"field {field} is"):
        load_fan_out(copy, IDS)


def test_files_that_do_not_belong_together_are_refused(exported, copy, tmp_path):
    with pytest.raises(ArtifactError, match="other items than those of the catalogue"):
        load_fan_out(exported[0], IDS[::-1])
    other = tmp_path / "other"
    other.mkdir()
    export(other, TITLES, IDS, 1)
    shutil.copy(other / DENOISER_FILE, copy / DENOISER_FILE)
    with pytest.raises(ArtifactError, match=f"{DENOISER_FILE}: its sha256 is"):
        load_fan_out(copy, IDS)


def test_one_export_gives_the_same_bytes(exported, tmp_path):
    export(tmp_path, TITLES, IDS, 0)
    for path in exported[0].iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name
