"""The reward model of AdaGRPO: what it learns, where it is wrong, and that it is the same every time."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from modit.core.errors import InsufficientDataError
from modit.data.catalog import Sequences
from modit.semantic_ids.params import RewardRankerParams
from modit.semantic_ids.reward_ranker import (
    Impressions,
    RewardRanker,
    auc_by_popularity,
    fit_reward_ranker,
    load_reward_ranker,
    popularity_deciles,
)

ITEMS, TOPICS = 200, 4
PARAMS = RewardRankerParams(steps=250, batch=128, width=16, hidden=32)


class TopicSessions:
    """Sessions stay in one of four topics, and within it take items by a steep popularity."""

    def __init__(self, sessions: int = 1_500, length: int = 8, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        topic = np.arange(ITEMS) % TOPICS
        self.embeddings = np.eye(TOPICS, 16)[topic] + generator.normal(0, 0.4, (ITEMS, 16))
        self.embeddings = (self.embeddings / np.linalg.norm(self.embeddings, axis=1, keepdims=True)).astype(np.float32)
        weight = 1.0 / (1 + np.arange(ITEMS) // TOPICS) ** 1.2
        rows = np.stack(
            [
                generator.choice(
                    ITEMS, length, replace=False, p=np.where(topic == own, weight, 0) / weight[topic == own].sum()
                )
                for own in generator.integers(TOPICS, size=sessions)
            ]
        )
        self.training = Sequences(np.arange(sessions + 1) * (length - 1), rows[:, :-1].reshape(-1).astype(np.int32))
        self.histories, self.targets = rows[:, :-1], rows[:, -1]
        self.counts = np.bincount(rows[:, :-1].reshape(-1), minlength=ITEMS)

    def fit(self, folder: Path, params: RewardRankerParams = PARAMS, seed: int = 0) -> RewardRanker:
        for place in (folder / "out", folder / "scratch"):
            place.mkdir(parents=True, exist_ok=True)
        return fit_reward_ranker(
            self.embeddings,
            self.training,
            self.counts,
            params,
            seed,
            folder / "out",
            folder / "scratch",
            logging.getLogger(__name__),
        )

    def auc(self, model: RewardRanker, name: str = "against_alike") -> np.ndarray:
        found = auc_by_popularity(model, self.histories, self.targets, self.counts, 0)
        return np.array([row[name] for row in found])


@pytest.fixture(scope="module")
def world() -> TopicSessions:
    return TopicSessions()


@pytest.fixture(scope="module")
def fitted(world, tmp_path_factory) -> RewardRanker:
    return world.fit(tmp_path_factory.mktemp("ranker"))


def test_the_ranker_prefers_next_items_over_others_of_the_same_popularity(world, fitted):
    untrained = RewardRanker.of(world.embeddings, world.counts, PARAMS, 0)
    assert world.auc(fitted).mean() > 0.8
    assert abs(world.auc(untrained).mean() - 0.5) < 0.15


def test_the_ranker_is_worse_on_items_that_are_rarely_shown(world, fitted):
    by_decile = world.auc(fitted, "against_all")
    assert by_decile[-1] > by_decile[0] + 0.1


def test_impressions_are_drawn_in_proportion_to_popularity_to_the_power_of_gamma(world):
    stage = Impressions(world.training, world.counts, PARAMS)
    drawn = torch.cat([stage.batch(torch.Generator().manual_seed(n), 2_000)["items"][:, 1:] for n in range(5)])
    shown = np.bincount(drawn.flatten().numpy(), minlength=ITEMS) / drawn.numel()
    assert np.abs(shown - world.counts / world.counts.sum()).max() < 0.01


def test_histories_hold_only_what_came_before_the_clicked_item(world):
    stage = Impressions(world.training, world.counts, PARAMS.model_copy(update={"window": 3}))
    batch = stage.batch(torch.Generator().manual_seed(0), 500)
    sessions = {tuple(world.training[row].tolist()) for row in range(len(world.training))}
    prefixes = {session[:cut]: set() for session in sessions for cut in range(1, len(session))}
    for session in sessions:
        for cut in range(1, len(session)):
            prefixes[session[:cut]].add(session[cut])
    steps = {(prefix[-3:], item) for prefix, items in prefixes.items() for item in items}
    for history, item in zip(batch["histories"].tolist(), batch["items"][:, 0].tolist(), strict=True):
        assert (tuple(row for row in history if row >= 0), item) in steps


def test_items_of_the_session_itself_are_not_passed_over(world):
    stage = Impressions(world.training, world.counts, PARAMS)
    batch = stage.batch(torch.Generator().manual_seed(0), 500)
    assert not batch["passed_over"][batch["items"][:, 1:] == batch["items"][:, :1]].any()
    assert (~batch["passed_over"]).any()
    assert batch["passed_over"].any()


def test_corruption_lowers_the_ranker_in_proportion_and_nests(world, fitted):
    auc = [world.auc(fitted.corrupted(share, 0)).mean() for share in (0.0, 0.3, 0.6)]
    assert auc[0] > auc[1] > auc[2]
    changed = [set(np.flatnonzero(fitted.corrupted(share, 0).source != fitted.source)) for share in (0.3, 0.6)]
    assert len(changed[0]) == round(0.3 * ITEMS)
    assert changed[0] < changed[1]


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(world, tmp_path):
    short = PARAMS.model_copy(update={"steps": 5})
    files = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        world.fit(tmp_path / name, short, seed)
        files.append((tmp_path / name / "out" / "model.pt").read_bytes())
    assert files[0] == files[1] != files[2]


def test_a_stored_ranker_answers_as_the_fitted_one(world, tmp_path):
    model = world.fit(tmp_path, PARAMS.model_copy(update={"steps": 5}))
    stored = load_reward_ranker(tmp_path / "out" / "model.pt")
    histories, items = torch.from_numpy(world.histories[:5]), torch.arange(10).expand(5, -1)
    assert torch.equal(model(histories, items), stored(histories, items))


def test_padding_of_a_history_changes_nothing(fitted):
    items = torch.arange(6)[None]
    plain = fitted(torch.tensor([[3, 7]]), items)
    assert torch.allclose(fitted(torch.tensor([[-1, 3, 7, -1]]), items), plain)


def test_equal_counts_are_in_one_decile():
    assert popularity_deciles(np.array([0, 0, 0, 0, 5, 5, 9, 30, 31, 32])).tolist() == [2, 2, 2, 2, 5, 5, 6, 7, 8, 9]


def test_sessions_of_one_item_are_refused():
    with pytest.raises(InsufficientDataError, match="no training session has two items"):
        Impressions(Sequences(np.arange(4), np.arange(3, dtype=np.int32)), np.ones(3), PARAMS)
