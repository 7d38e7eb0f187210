"""A retriever that starts from an earlier one: known items keep IDs and weights, new ones are found at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modit.core.errors import ConfigError
from modit.data.vectors import unit
from modit.index.item_codes import CODES_FILE, ItemCodes, order_of_ties
from modit.index.quantizer import QUANTIZER_FILE
from modit.semantic_ids.params import RetrieverParams, TokenizerParams
from modit.semantic_ids.retriever import MODEL_FILE, torch_retriever
from modit.semantic_ids.starting_point import ITEM_IDS_FILE, StartingPoint
from modit.semantic_ids.tokenizer import tokenize
from modit.semantic_ids.training import new_decoder
from modit.training.checkpoint import save_model

ITEMS, NEW, GONE = 60, 8, 5
RNG = np.random.default_rng(0)
VECTORS = unit(RNG.standard_normal((ITEMS + NEW, 8))).astype(np.float32)
IDS = np.array([f"item-{row}" for row in range(ITEMS + NEW)])
COUNTS = RNG.integers(0, 9, ITEMS + NEW)
SMALL = {"width": 16, "depth": 1, "heads": 2, "dropout": 0.0, "session_items": 5}
# Today: without some items, with new ones, in another order.
TODAY = RNG.permutation(np.arange(GONE, ITEMS + NEW))


@pytest.fixture(scope="module", params=[True, False], ids=["own vectors", "codes alone"])
def earlier(request, tmp_path_factory):
    """The folder of a starting point, and the parameters that it was trained with."""
    folder = tmp_path_factory.mktemp("starting_point")
    params = TokenizerParams(sizes=(4, 6, 4), items_per_prefix=3)
    quantizer, codes = tokenize(VECTORS[:ITEMS], COUNTS[:ITEMS], order_of_ties(IDS[:ITEMS]), params, 0)
    small = RetrieverParams(**SMALL, own_vectors=request.param)
    model = new_decoder(codes, small, 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.3)
    quantizer.save(folder / QUANTIZER_FILE)
    codes.save(folder / CODES_FILE)
    np.save(folder / ITEM_IDS_FILE, IDS[:ITEMS])
    save_model(folder / MODEL_FILE, model)
    return folder, small


def today_of(start: StartingPoint, rows: np.ndarray) -> ItemCodes:
    return start.codes_of(IDS[rows], VECTORS[rows], COUNTS[rows], order_of_ties(IDS[rows]))


def test_known_items_keep_their_ids_and_new_ones_have_those_of_the_tokeniser(earlier):
    start = StartingPoint.load(earlier[0])
    codes, known = today_of(start, TODAY), TODAY < ITEMS
    assert np.array_equal(codes.codes[known], start.codes.codes[TODAY[known]])
    assert np.array_equal(codes.codes[~known], start.quantizer.assign(VECTORS[TODAY[~known]]))
    assert np.array_equal(codes.counts, COUNTS[TODAY]) and codes.sizes == start.codes.sizes


def test_with_the_same_items_in_another_order_it_answers_as_before_and_with_new_ones_it_finds_them(earlier):
    folder, params = earlier
    start, order = StartingPoint.load(folder), RNG.permutation(ITEMS)
    before = start.continued(new_decoder(start.codes, params, 5), start.codes, IDS[:ITEMS])
    codes = today_of(start, order)
    after = start.continued(new_decoder(codes, params, 6), codes, IDS[order])
    sessions = [np.array([3, 9, 20]), np.array([50]), np.zeros(0, np.int64)]
    places = np.argsort(order)
    was = torch_retriever(before, start.codes, beams=10).recommend(sessions, 12)
    now = torch_retriever(after, codes, beams=10).recommend([places[rows] for rows in sessions], 12)
    for one, other in zip(was, now, strict=True):
        assert one.rows.tolist() == order[other.rows].tolist()
        assert np.allclose(one.scores, other.scores, atol=1e-5)
    codes = today_of(start, TODAY)
    with_new = start.continued(new_decoder(codes, params, 7), codes, IDS[TODAY])
    (found,) = torch_retriever(with_new, codes, beams=60).recommend([np.array([0, 1])], len(TODAY))
    assert set(found.rows.tolist()) == set(range(len(TODAY))) and np.isfinite(found.scores).all()


def test_a_decoder_of_another_size_is_refused_by_field(earlier):
    folder, params = earlier
    start = StartingPoint.load(folder)
    other = new_decoder(start.codes, params.model_copy(update={"width": 32}), 0)
    with pytest.raises(ConfigError, match="width of the decoder is 32; that of the version .* is 16"):
        start.continued(other, start.codes, IDS[:ITEMS])


def test_a_run_that_starts_from_nothing_has_no_starting_point(tmp_path):
    assert StartingPoint.load(tmp_path) is None
