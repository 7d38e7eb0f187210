"""SASRec: what it may see, what its losses are, and that it learns an order that sessions have."""

import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from modit.data.catalog import Sequences
from modit.model.sasrec import states_by_length
from modit.training.params import SasrecParams
from modit.training.sasrec import LOSSES, NextItemPrediction, load_sasrec, new_sasrec, padded_windows, session_scores
from modit.training.session import run_stage

ITEMS = 30
PARAMS = SasrecParams(steps=150, batch=32, width=16, heads=2, dropout=0.0, window=6, learning_rate=1e-2)


def cyclic_sessions(count: int = 200) -> Sequences:
    """Every item is followed by the next number."""
    rng = np.random.default_rng(0)
    rows = [(rng.integers(ITEMS) + np.arange(rng.integers(2, 9))) % ITEMS for _ in range(count)]
    return Sequences(
        np.concatenate([[0], np.cumsum([len(row) for row in rows])]), np.concatenate(rows).astype(np.int32)
    )


@pytest.fixture
def model():
    return new_sasrec(ITEMS, PARAMS, seed=0).eval()


def test_an_item_sees_no_later_item(model):
    one, other = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[1, 2, 9, 8]])
    assert torch.equal(model(one)[:, :2], model(other)[:, :2])
    assert not torch.equal(model(one)[:, 3], model(other)[:, 3])


def test_padding_changes_nothing(model):
    session = torch.tensor([[4, 7, 2]])
    padded = torch.tensor([[4, 7, 2, -1, -1]])
    torch.testing.assert_close(model(session), model(padded)[:, :3])


def test_states_in_parts_by_length_are_those_of_the_whole_batch(model):
    sessions = torch.from_numpy(padded_windows(cyclic_sessions(40), PARAMS.window))
    states, places = states_by_length(model, sessions)
    assert sorted(places.tolist()) == (sessions.flatten() >= 0).nonzero().flatten().tolist()
    torch.testing.assert_close(states, model(sessions).flatten(0, 1)[places], atol=1e-5, rtol=1e-4)


def test_the_last_items_of_a_long_session_are_kept():
    windows = padded_windows(Sequences(np.array([0, 5, 7]), np.arange(7, dtype=np.int32)), 3)
    assert windows.tolist() == [[2, 3, 4], [5, 6, -1]]


def test_the_full_loss_is_the_cross_entropy_over_all_items(model):
    stage = NextItemPrediction("full", cyclic_sessions(), PARAMS.window, "full")
    batch = stage.batch(torch.Generator().manual_seed(0), 8)
    loss, _ = stage.loss(model, batch)
    for row, session in zip(loss, batch["sessions"], strict=True):
        kept = session[session >= 0]
        logits = model(kept[None, :-1])[0] @ model.items.weight.T
        expected = F.cross_entropy(logits, kept[1:], reduction="sum") / stage.targets
        torch.testing.assert_close(row, expected, atol=1e-4, rtol=1e-4)


def test_a_negative_that_is_in_the_session_counts_for_nothing(model):
    stage = NextItemPrediction(
        "binary", Sequences(np.array([0, 2]), np.array([3, 4], np.int32)), PARAMS.window, "binary"
    )
    batch = stage.batch(torch.Generator().manual_seed(0), 1)
    drawn = {item: {**batch, "negatives": torch.tensor([[(item + 0.5) / ITEMS]])} for item in (3, 9)}
    right = F.softplus(-(model(torch.tensor([[3]]))[0, 0] * model.items.weight[4]).sum())
    assert torch.isclose(stage.loss(model, drawn[3])[0][0], right)
    assert stage.loss(model, drawn[9])[0][0] > right


@pytest.mark.parametrize("loss", LOSSES)
def test_it_learns_the_order_of_sessions_and_is_read_back_to_the_byte(loss, tmp_path):
    for name in ("first", "scratch", "again", "scratch2"):
        (tmp_path / name).mkdir()
    for folder, scratch in (("first", "scratch"), ("again", "scratch2")):
        stage = NextItemPrediction(f"sasrec_{loss}", cyclic_sessions(), PARAMS.window, loss)
        run_stage(
            new_sasrec(ITEMS, PARAMS, 0), stage, PARAMS, 0, tmp_path / folder, tmp_path / scratch, logging.getLogger()
        )
    assert (tmp_path / "first/model.pt").read_bytes() == (tmp_path / "again/model.pt").read_bytes()
    trained = load_sasrec(tmp_path / "first/model.pt")
    scores = session_scores(trained, [np.array([item, (item + 1) % ITEMS]) for item in range(ITEMS)])
    # by chance one in thirty is right; the binary loss needs longer to put the right item first
    assert (scores.argmax(1) == (np.arange(ITEMS) + 2) % ITEMS).mean() > {"full": 0.9, "binary": 0.4}[loss]
