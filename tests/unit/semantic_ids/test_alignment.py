"""Alignment of a retriever: what its batches hold, what each method does to it, and which model is kept."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from modit.core.errors import InsufficientDataError
from modit.data.catalog import Sequences
from modit.data.sessions import Sessions, training_counts
from modit.index.item_codes import ItemCodes
from modit.semantic_ids.adagrpo import RewardAlignment, stratified_lift
from modit.semantic_ids.alignment import ROUNDS_FILE, ValidationCases, align
from modit.semantic_ids.decoder import Decoder
from modit.semantic_ids.params import AdaGrpoParams, PreferenceParams, RetrieverParams, RewardRankerParams
from modit.semantic_ids.rad_dpo import PreferenceAlignment
from modit.semantic_ids.retriever import MODEL_FILE, load_decoder
from modit.semantic_ids.reward_ranker import RewardRanker, fit_reward_ranker
from modit.semantic_ids.training import SessionPrediction, new_decoder
from modit.training.loop import step_generator, train
from modit.training.session import Journal

ITEMS, TOPICS = 48, 6
LOGGER = logging.getLogger("test")
PREFERENCES = PreferenceParams(steps=30, batch=16, learning_rate=1e-3, rounds=1, log_every=1, warm_up_pairs=64)
REWARDS = AdaGrpoParams(steps=6, batch=16, learning_rate=1e-3, rounds=1, log_every=1, rollouts=8, other_rows=2)


class Shop:
    """Sessions of items of one topic in any order, so that many next items are right; the first code is a topic."""

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        topic = np.arange(ITEMS) % TOPICS
        rows = np.stack([topic, np.arange(ITEMS) // TOPICS], 1).astype(np.int32)
        sessions = [
            generator.permutation(np.flatnonzero(topic == own))[:7] for own in generator.integers(TOPICS, size=200)
        ]
        sequences = Sequences(np.arange(len(sessions) + 1) * 7, np.concatenate(sessions).astype(np.int32))
        self.sessions = Sessions(sequences)
        self.training = self.sessions.training
        self.counts = training_counts(self.training, ITEMS)
        self.codes = ItemCodes(rows, (TOPICS, ITEMS // TOPICS + 1), self.counts, np.arange(ITEMS) / ITEMS)
        self.embeddings = np.eye(TOPICS, dtype=np.float32)[topic]
        self.model = self.trained(250, softmax="vocabulary", own_vectors=False)

    def trained(self, steps: int, **values) -> Decoder:
        params = RetrieverParams(
            width=32,
            depth=1,
            heads=2,
            row_tokens=64,
            session_items=8,
            steps=steps,
            batch=8,
            learning_rate=3e-3,
            **values,
        )
        stage = SessionPrediction("train_retriever", self.codes, self.training, params)
        return train(new_decoder(self.codes, params, 0), stage, params, 0, Journal("s", steps, LOGGER))

    def preferences(self, model: Decoder | None = None, **values) -> PreferenceAlignment:
        start = model or self.model
        params = PREFERENCES.model_copy(update=values)
        return PreferenceAlignment("p", self.codes, self.training, self.counts, params, start, start, 0)

    def rewards(self, ranker: RewardRanker, **values) -> RewardAlignment:
        params = REWARDS.model_copy(update=values)
        return RewardAlignment("r", self.codes, self.training, params, ranker, self.model)

    def cases(self) -> ValidationCases:
        return ValidationCases.drawn(self.sessions, self.codes, 40, 10, 0)


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop()


@pytest.fixture(scope="module")
def ranker(shop, tmp_path_factory) -> RewardRanker:
    folder = tmp_path_factory.mktemp("ranker")
    params = RewardRankerParams(steps=60, batch=64, width=8, hidden=16)
    return fit_reward_ranker(shop.embeddings, shop.training, shop.counts, params, 0, folder, folder, LOGGER)


def trained_on(stage, start: Decoder, params) -> Decoder:
    copy = Decoder(start.config)
    copy.load_state_dict(start.state_dict())
    return train(copy, stage, params, 0, Journal("s", params.steps, LOGGER))


def means(shop: Shop, model: Decoder) -> dict[str, float]:
    """Mean log-probabilities of the kinds of candidates over fixed rows."""
    stage = shop.preferences()
    batch = stage.batch(step_generator(1, "judged", 0), 128)
    with torch.no_grad():
        return {name: float(value.mean()) for name, value in stage.loss(model.eval(), batch)[1].items()}


def test_positives_follow_the_prompt_and_negatives_are_not_in_the_session(shop):
    stage = shop.preferences(positives=2, negatives=4, alike=0.5)
    batch = stage.batch(step_generator(0, "p", 0), 200)
    tokens = {tuple(row): item for item, row in enumerate(shop.codes.tokens.tolist())}
    rows = {tuple(shop.training[index].tolist()) for index in range(len(shop.training))}
    for prompt, length, candidates, positive, negative in zip(
        batch["prompts"].tolist(),
        batch["lengths"].tolist(),
        batch["candidates"].tolist(),
        batch["positive"].tolist(),
        batch["negative"].tolist(),
        strict=True,
    ):
        seen = [tokens[tuple(prompt[place : place + 3])] for place in range(1, length, 3)]
        named = [tokens.get(tuple(candidate), -1) for candidate in candidates]
        wanted = [item for item, own in zip(named, positive, strict=True) if own]
        other = [item for item, own in zip(named, negative, strict=True) if own]
        sessions = [row for row in rows if row[: len(seen) + len(wanted)] == tuple(seen + wanted)]
        assert wanted and sessions
        assert any(not set(other) & set(row) for row in sessions)
    assert 0 < batch["negative"].float().mean() < 4 / 6
    assert batch["positive"][:, 0].all()


def test_negatives_that_are_alike_have_the_first_code_of_a_positive(shop):
    batch = shop.preferences(alike=1.0).batch(step_generator(0, "p", 0), 200)
    first = batch["candidates"][..., 0]
    assert (first == first[:, :1])[batch["negative"]].all()
    assert batch["negative"].any()
    apart = shop.preferences(alike=0.0).batch(step_generator(0, "p", 0), 200)
    assert not (apart["candidates"][..., 0] == apart["candidates"][:, :1, 0])[apart["negative"]].all()


def test_false_negatives_are_items_of_the_session_after_the_positives(shop):
    stage = shop.preferences(positives=1, negatives=3, false_negatives=1.0)
    batch = stage.batch(step_generator(0, "p", 0), 200)
    injected = batch["injected"]
    assert 0.2 < injected.float().mean() < 0.8
    assert batch["negative"][:, 1:][injected].all()
    first = batch["candidates"][..., 0]
    assert (first[:, 1:] == first[:, :1])[injected].all()
    assert not shop.preferences().batch(step_generator(0, "p", 0), 200)["injected"].any()


def on_fixed_rows(shop: Shop, **values) -> tuple[float, float]:
    """Mean log-probability of the positives after the next item, before and after training on the same few rows."""
    stage = shop.preferences(**values, steps=60)
    rows = stage.batch(step_generator(3, "fixed", 0), 16)
    stage.batch = lambda generator, size: rows
    aligned = trained_on(stage, shop.model, stage.params)
    with torch.no_grad():
        before, after = (stage.loss(model.eval(), rows)[1]["later_positives"].mean() for model in (shop.model, aligned))
    return before.item(), after.item()


def test_dpo_on_the_next_item_lowers_the_other_positives_and_rad_dpo_raises_them(shop):
    before, dpo = on_fixed_rows(shop, method="dpo", multi_label=False, sft_weight=0.0)
    _, rad = on_fixed_rows(shop)
    assert dpo < before - 0.2
    assert rad > before + 0.1


@pytest.mark.parametrize("method", ["dpo", "s_dpo", "simpo", "rad_dpo"])
def test_every_preference_method_widens_the_gap_of_the_next_item_and_the_negatives(shop, method):
    stage = shop.preferences(method=method, sft_weight=0.0)
    before, after = means(shop, shop.model), means(shop, trained_on(stage, shop.model, stage.params))
    assert after["next_item"] - after["negatives"] > before["next_item"] - before["negatives"] + 0.1


def test_more_supervised_training_ignores_the_negatives(shop):
    stage = shop.preferences(method="sft")
    model = shop.model.eval()
    batch = stage.batch(step_generator(0, "p", 0), 16)
    without = {**batch, "negative": torch.zeros_like(batch["negative"])}
    assert torch.equal(stage.loss(model, batch)[0], stage.loss(model, without)[0])


def test_weights_refer_to_similarities_of_the_model_that_the_round_starts_from(shop):
    stage = shop.preferences()
    assert -1 <= stage.low < stage.high <= 1
    other = shop.preferences(model=shop.trained(5))
    assert (other.low, other.high) != (stage.low, stage.high)
    assert shop.preferences().low == stage.low


def test_rollouts_are_ids_of_which_some_are_items_and_no_two_alike(shop, ranker):
    stage = shop.rewards(ranker, rollouts=20)
    found = stage.rollouts(shop.model, stage.batch(step_generator(0, "r", 0), 8))
    assert found.tokens.shape[:2] == (8, 20)
    for row in found.tokens.tolist():
        assert len(set(map(tuple, row))) == 20
    for tokens, item in zip(found.tokens.flatten(0, 1).tolist(), found.items.flatten().tolist(), strict=True):
        assert (tokens == shop.codes.tokens[item].tolist()) if item >= 0 else (tokens not in shop.codes.tokens.tolist())
    assert (found.items >= 0).any()
    assert (found.log_probabilities.diff(dim=1) <= 1e-6).all()


def test_rollouts_of_other_rows_are_never_of_the_row_itself(shop):
    items = torch.arange(12).view(4, 3)
    items[2] = -1
    drawn = torch.rand(4, 50, 2, generator=torch.Generator().manual_seed(0))
    found = RewardAlignment._of_other_rows(items, drawn, torch.full((4,), 99))
    for row in range(4):
        assert not set(found[row].tolist()) & set(items[row].tolist())
    assert set(found[0].tolist()) == {3, 4, 5, 99, 9, 10, 11}
    assert RewardAlignment._of_other_rows(items[:1], drawn[:1], torch.tensor([99])).shape == (1, 0)


def test_without_the_gate_a_row_is_trained_by_its_likelihood_alone(shop, ranker):
    closed = shop.rewards(ranker, gate="random", random_rate=0.0)
    never = shop.rewards(ranker, gate="never")
    batch = closed.batch(step_generator(0, "r", 0), 8)
    model = shop.model.eval()
    assert torch.allclose(closed.loss(model, batch)[0], never.loss(model, batch)[0], atol=1e-5)


def test_the_adaptive_gate_admits_where_both_diagnostics_hold(shop, ranker):
    found = {}
    for gate in ("adaptive", "difficult", "discriminative", "always"):
        stage = shop.rewards(ranker, gate=gate, tau=0.3, rho=0.7)
        batch = stage.batch(step_generator(0, "r", 0), 64)
        found[gate] = stage.loss(shop.model.eval(), batch)[1]["admitted"].bool()
    assert torch.equal(found["adaptive"], found["difficult"] & found["discriminative"])
    assert found["always"].all()
    assert 0 < found["adaptive"].sum() < 64


def test_grpo_raises_the_rewarded_rollouts(shop, ranker):
    stage = shop.rewards(ranker, gate="always", likelihood=0.0, steps=20)
    batch = stage.batch(step_generator(5, "judged", 0), 64)
    rollouts = stage.rollouts(shop.model, batch)
    rewards = stage.decide(shop.model, batch, rollouts)[1]
    best = rollouts.tokens[torch.arange(64), rewards.argmax(1)][:, None]
    worst = rollouts.tokens[torch.arange(64), rewards.argmin(1)][:, None]

    @torch.no_grad()
    def gap(model):
        totals = model.eval().log_probabilities(batch["prompts"], batch["lengths"], torch.cat([best, worst], 1))
        return (totals.log_probabilities.sum(-1) @ torch.tensor([1.0, -1.0])).mean().item()

    assert gap(trained_on(stage, shop.model, stage.params)) > gap(shop.model) + 0.2


def test_the_table_of_lifts_covers_all_rows(shop, ranker):
    cells = stratified_lift(shop.rewards(ranker), shop.model, 40, 0)
    assert sum(cell["share"] for cell in cells) == pytest.approx(1, abs=1e-3)
    assert all((cell["lift"] is None) == (cell["share"] == 0) for cell in cells)


def run(shop: Shop, folder: Path, params, stage_of, before: Decoder | None = None) -> dict:
    for place in (folder / "out", folder / "scratch"):
        place.mkdir(parents=True, exist_ok=True)
    return align(
        "align", before or shop.model, stage_of, params, shop.cases(), 0, folder / "out", folder / "scratch", LOGGER
    )


def preference_stage(shop: Shop, params):
    def stage_of(name, start):
        return PreferenceAlignment(name, shop.codes, shop.training, shop.counts, params, start, shop.model, 0)

    return stage_of


def test_a_round_that_does_not_raise_validation_recall_leaves_the_weights_as_they_were(shop, tmp_path):
    harmful = PREFERENCES.model_copy(update={"method": "dpo", "sft_weight": 0.0, "learning_rate": 0.3, "steps": 10})
    found = run(shop, tmp_path, harmful, preference_stage(shop, harmful))
    assert found["rounds"][0]["recall"] < found["recall_before"]
    assert found["kept"] == 0
    stored = load_decoder(tmp_path / "out" / MODEL_FILE, shop.codes)
    assert all(torch.equal(a, b) for a, b in zip(stored.parameters(), shop.model.parameters(), strict=True))
    assert json.loads((tmp_path / "out" / ROUNDS_FILE).read_text()) == found


def test_the_best_round_is_kept_with_the_dropout_of_the_model_before(shop, tmp_path):
    weak = shop.trained(3)
    params = PREFERENCES.model_copy(update={"method": "sft", "steps": 40, "rounds": 2, "learning_rate": 3e-3})
    found = run(shop, tmp_path, params, preference_stage(shop, params), before=weak)
    recalls = [found["recall_before"], *(each["recall"] for each in found["rounds"])]
    assert found["kept"] == int(np.argmax(recalls)) > 0
    stored = load_decoder(tmp_path / "out" / MODEL_FILE, shop.codes)
    assert stored.config == weak.config
    assert shop.cases().recall(stored) == pytest.approx(max(recalls), abs=1e-6)


@pytest.mark.parametrize("kind", ["preferences", "rewards"])
def test_one_seed_gives_the_same_bytes_also_after_an_interruption(shop, ranker, tmp_path, kind):
    if kind == "preferences":
        params = PREFERENCES.model_copy(update={"steps": 6, "rounds": 2, "checkpoint_every": 2})
        stage_of = preference_stage(shop, params)
    else:
        params = REWARDS.model_copy(update={"rounds": 2, "checkpoint_every": 2})

        def stage_of(name, start):
            return RewardAlignment(name, shop.codes, shop.training, params, ranker, shop.model)

    weak = shop.trained(3)
    run(shop, tmp_path / "a", params, stage_of, before=weak)

    class Killed(Exception):
        pass

    def dying(name, start):
        stage = stage_of(name, start)
        if name.endswith("_2"):
            batch, calls = stage.batch, []

            def limited(generator, size):
                calls.append(size)
                if size == params.batch and len(calls) > 3:
                    raise Killed
                return batch(generator, size)

            stage.batch = limited
        return stage

    with pytest.raises(Killed):
        run(shop, tmp_path / "b", params, dying, before=weak)
    run(shop, tmp_path / "b", params, stage_of, before=weak)
    for name in (MODEL_FILE, ROUNDS_FILE, "curve.json"):
        assert (tmp_path / "a" / "out" / name).read_bytes() == (tmp_path / "b" / "out" / name).read_bytes()


def test_sessions_without_a_validation_item_are_refused():
    short = Sessions(Sequences(np.arange(4) * 2, np.arange(6, dtype=np.int32)))
    codes = ItemCodes(np.arange(6, dtype=np.int32)[:, None], (6,), np.ones(6, np.int64), np.arange(6) / 6)
    with pytest.raises(InsufficientDataError, match="no session has a validation item"):
        ValidationCases.drawn(short, codes, 5, 5, 0)
