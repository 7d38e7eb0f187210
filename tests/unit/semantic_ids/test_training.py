"""The supervised stage and the retriever: what is predicted, that it learns, one seed one result, and files."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import nn

from modit.core.errors import ArtifactError, InsufficientDataError
from modit.data.catalog import Sequences
from modit.index.id_retrieval import padded_prompts, session_tokens
from modit.index.item_codes import BOS, CODES_FILE, END, PAD, ItemCodes
from modit.semantic_ids.decoder import NO_BLOCK
from modit.semantic_ids.item_table import ItemTable
from modit.semantic_ids.params import RetrieverParams
from modit.semantic_ids.retriever import MODEL_FILE, dense_vectors, load_retriever, torch_retriever
from modit.semantic_ids.training import SessionPrediction, new_decoder
from modit.training.loop import step_generator, train
from modit.training.session import Journal, run_stage

ITEMS = 24
SMALL = {"width": 32, "depth": 1, "heads": 2, "row_tokens": 64, "session_items": 8, "dropout": 0.0}


def params(**values) -> RetrieverParams:
    return RetrieverParams(**{**SMALL, "steps": 8, "batch": 4, "log_every": 4, "checkpoint_every": 4} | values)


@pytest.fixture(scope="module")
def codes() -> ItemCodes:
    rows = np.stack([np.arange(ITEMS) % 4, np.arange(ITEMS) // 4], 1).astype(np.int32)
    return ItemCodes(rows, (4, 6), np.arange(ITEMS)[::-1].copy(), np.arange(ITEMS) / ITEMS)


@pytest.fixture(scope="module")
def sessions() -> Sequences:
    """Walks through the items in a ring, from drawn starts: the next item follows from the last one."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 14, 60)
    items = [(rng.integers(ITEMS) + np.arange(length)) % ITEMS for length in lengths]
    return Sequences(np.concatenate([[0], lengths.cumsum()]), np.concatenate(items).astype(np.int32))


def journal(steps: int) -> Journal:
    return Journal("train_retriever", steps, logging.getLogger("test"))


def trained(codes, sessions, **values):
    chosen = params(**values)
    stage = SessionPrediction("train_retriever", codes, sessions, chosen)
    return train(new_decoder(codes, chosen, 0), stage, chosen, 0, journal(chosen.steps))


def test_a_row_holds_whole_sessions_that_start_at_position_zero(codes, sessions):
    batch = SessionPrediction("s", codes, sessions, params()).batch(step_generator(0, "s", 0), 6)
    known = {tuple(session_tokens(codes, sessions[index], len(codes))) for index in range(len(sessions))}
    found = 0
    for tokens, blocks, positions in zip(batch["tokens"], batch["blocks"], batch["positions"], strict=True):
        for block in range(1, int(blocks.max()) + 1):
            own = tuple(tokens[blocks == block].tolist())
            assert positions[blocks == block].tolist() == list(range(len(own)))
            assert own[0] == BOS and own[-1] >= codes.vocabulary
            whole = own in known
            part = any(own[1:] in [each[start:][: len(own) - 1] for start in range(len(each))] for each in known)
            assert whole or part
            assert sum(token >= codes.vocabulary for token in own) <= SMALL["session_items"]
            found += 1
        assert (tokens[blocks == NO_BLOCK] == PAD).all()
    assert found > 6
    assert (batch["blocks"] > 0).float().mean() > 0.8


def test_every_token_of_every_item_is_predicted_and_nothing_else(codes, sessions):
    chosen = params(softmax="vocabulary", dense=False)
    stage = SessionPrediction("s", codes, sessions, chosen)
    model = new_decoder(codes, chosen, 0).eval()
    batch = stage.batch(step_generator(0, "s", 0), 4)
    losses, _ = stage.loss(model, batch)
    for row in range(4):
        parts, items = [], 0
        blocks = batch["blocks"][row]
        for block in range(1, int(blocks.max()) + 1):
            tokens = batch["tokens"][row][blocks == block]
            states = model(tokens[None], torch.arange(len(tokens))[None], torch.ones(1, len(tokens), dtype=torch.long))
            found = model.logits(states).log_softmax(-1)[0, :-1]
            targets = torch.where(tokens >= codes.vocabulary, END, tokens)[1:]
            parts.append(-found.gather(-1, targets[:, None]).squeeze(-1))
            items += int((targets == END).sum())
        assert torch.allclose(losses[row], torch.cat(parts).sum() / items, atol=1e-4)


def test_within_the_trie_the_loss_is_that_of_each_item_after_those_before_it(codes, sessions):
    chosen = params(dense=False)
    stage = SessionPrediction("s", codes, sessions, chosen)
    model = new_decoder(codes, chosen, 0).eval()
    batch = stage.batch(step_generator(0, "s", 0), 3)
    losses, _ = stage.loss(model, batch)
    for row in range(3):
        found, blocks = [], batch["blocks"][row]
        for block in range(1, int(blocks.max()) + 1):
            tokens = batch["tokens"][row][blocks == block]
            items = (tokens[tokens >= codes.vocabulary] - codes.vocabulary).numpy()
            for place, item in enumerate(items):
                prompt, length = padded_prompts(codes, [items[:place]], 99, len(codes))
                candidate = torch.from_numpy(codes.tokens[[item]]).long()[None]
                scored = model.log_probabilities(torch.from_numpy(prompt), torch.from_numpy(length), candidate)
                found.append(-float(scored.log_probabilities.detach().sum()))
        assert float(losses[row].detach()) == pytest.approx(np.mean(found), abs=1e-4)


def test_the_dense_loss_is_that_of_each_item_among_all_items_after_those_before_it(codes, sessions):
    embeddings = np.random.default_rng(0).standard_normal((ITEMS, 7)).astype(np.float32)
    losses = {}
    for dense in (True, False):
        chosen = params(dense=dense)
        stage, model = SessionPrediction("s", codes, sessions, chosen), new_decoder(codes, chosen, 0, embeddings).eval()
        batch = stage.batch(step_generator(0, "s", 0), 3)
        losses[dense] = stage.loss(model, batch)[0].detach()
        if dense:
            wanted = []
            vectors = torch.from_numpy(dense_vectors(model))
            assert not torch.equal(vectors[:, :-1], model.items.weight)  # embeddings are part of them
            for row in range(3):
                found, blocks = [], batch["blocks"][row]
                for block in range(1, int(blocks.max()) + 1):
                    tokens = batch["tokens"][row][blocks == block]
                    items = (tokens[tokens >= codes.vocabulary] - codes.vocabulary).numpy()
                    for place, item in enumerate(items):
                        prompt, length = padded_prompts(codes, [items[:place]], 99, len(codes))
                        state = model.encode(torch.from_numpy(prompt), torch.from_numpy(length))[0][0]
                        scores = vectors[:, :-1] @ state + vectors[:, -1]
                        found.append(float(scores.logsumexp(0) - scores[item]))
                wanted.append(float(np.mean(found)))
    assert (losses[True] - losses[False]).tolist() == pytest.approx(wanted, abs=1e-4)


def test_a_dense_loss_over_drawn_items_is_on_average_near_that_over_all_items():
    torch.manual_seed(0)
    table = ItemTable(400, 8, dense=True)
    nn.init.normal_(table.weight, std=0.5)
    states, targets = torch.randn(50, 8), torch.randint(400, (50,))
    exact = table.dense_losses(states, targets, None)
    drawn = table.dense_losses(states, targets, torch.randint(400, (200_000,)))
    assert torch.allclose(drawn, exact, atol=0.02)


def test_a_settled_table_has_the_vectors_that_were_trained_and_unused_items_what_their_embedding_says():
    torch.manual_seed(0)
    table, embeddings = ItemTable(6, 4, 3, dense=True), torch.randn(6, 3)
    for parameter in (table.weight, table.content, table.bias):
        nn.init.normal_(parameter)
    table.follow(embeddings)
    counts = np.array([3, 0, 1, 1, 9, 5])
    trained_vectors, content = table.dense_vectors().detach(), table.content.detach()
    table.settle(embeddings, counts)
    settled = table.dense_vectors().detach()
    used = counts > 0
    assert torch.allclose(settled[used], trained_vectors[used], atol=1e-6) and table.embeddings is None
    assert torch.allclose(settled[1, :-1], content @ embeddings[1], atol=1e-6)
    assert float(settled[1, -1]) == pytest.approx(float(trained_vectors[[2, 3], -1].mean()))
    table.follow(embeddings, torch.from_numpy(used))  # goes on from there, with the same vectors
    assert torch.allclose(table.dense_vectors().detach(), settled, atol=1e-6)


def test_a_retriever_learns_what_comes_next_and_answers_with_it(codes, sessions):
    chosen = {"steps": 250, "batch": 8, "learning_rate": 5e-3}
    model, within = trained(codes, sessions, softmax="vocabulary", **chosen), trained(codes, sessions, **chosen)
    for each, constrained in ((model, True), (model, False), (within, True)):
        retriever = torch_retriever(each, codes, constrained=constrained, beams=5)
        found = retriever.recommend([np.array([3, 4, 5]), np.array([20]), np.array([21, 22, 23])], 3)
        assert [int(each.rows[0]) for each in found] == [6, 21, 0]
        assert all(len(each.rows) <= 3 and each.decoded == 5 for each in found)
    assert all(each.invalid == 0 for each in torch_retriever(model, codes, beams=5).recommend([np.array([1])], 3))


def test_an_answer_is_that_of_its_session_alone_and_leaves_out_what_is_excluded(codes, sessions):
    retriever = torch_retriever(trained(codes, sessions), codes, beams=24)
    histories = [np.array([3, 4]), np.arange(20), np.zeros(0, np.int64), np.array([7])]
    together = retriever.recommend(histories, 5)
    for history, found in zip(histories, together, strict=True):
        single = retriever.recommend([history], 5)[0]
        assert single.rows.tolist() == found.rows.tolist()
        without = retriever.recommend([history], 5, [found.rows[:2]])[0]
        assert set(found.rows[:2].tolist()).isdisjoint(without.rows.tolist())
        assert without.rows[:3].tolist() == found.rows[2:5].tolist()


def test_one_seed_gives_the_same_bytes_and_a_stage_that_was_interrupted_too(codes, sessions, tmp_path):
    logger = logging.getLogger("test")

    def run(name: str, stop: int | None = None) -> bytes:
        folder, scratch = tmp_path / name, tmp_path / f"{name}_scratch"
        folder.mkdir(exist_ok=True)
        scratch.mkdir(exist_ok=True)
        chosen = params(dropout=0.2)
        stage = SessionPrediction("train_retriever", codes, sessions, chosen)
        draw = stage.batch

        def batch(generator, size):
            batch.calls += 1
            if stop is not None and batch.calls > stop:
                raise KeyboardInterrupt
            return draw(generator, size)

        batch.calls = 0
        stage.batch = batch
        run_stage(new_decoder(codes, chosen, 0), stage, chosen, 0, folder, scratch, logger)
        return (folder / MODEL_FILE).read_bytes()

    plain = run("a")
    assert run("b") == plain
    with pytest.raises(KeyboardInterrupt):
        run("c", stop=6)
    assert run("c") == plain


def test_a_retriever_is_read_back_with_its_codes_and_refused_with_those_of_another(codes, sessions, tmp_path):
    chosen = params()
    stage = SessionPrediction("train_retriever", codes, sessions, chosen)
    model = run_stage(new_decoder(codes, chosen, 0), stage, chosen, 0, tmp_path, tmp_path, logging.getLogger("test"))
    codes.save(tmp_path / CODES_FILE)
    read = load_retriever(tmp_path, tmp_path, beams=4)
    history = [np.array([1, 2])]
    direct = torch_retriever(model, codes, beams=4).recommend(history, 4)[0]
    assert read.recommend(history, 4)[0].rows.tolist() == direct.rows.tolist()
    other = tmp_path / "other"
    other.mkdir()
    ItemCodes(codes.codes, (4, 7), codes.counts, codes.ties).save(other / CODES_FILE)
    with pytest.raises(ArtifactError, match="model.pt: 13 tokens, and the item codes have 14"):
        load_retriever(tmp_path, other)
    with pytest.raises(ArtifactError, match="no model file"):
        load_retriever(other, tmp_path)


def test_a_new_item_is_recommended_without_training(codes, sessions):
    model = trained(codes, sessions, dense=False)
    twin = codes.extended(codes.codes[[6]], np.array([0.0]))
    found = torch_retriever(model, twin, beams=24).recommend([np.array([3, 4, 5])], ITEMS + 1)[0].rows.tolist()
    assert len(found) == ITEMS + 1
    assert found.index(6) < found.index(ITEMS)  # known items of an ID come first
    from_new = torch_retriever(model, twin, beams=24).recommend([np.array([3, 4, ITEMS])], 3)[0]
    assert len(from_new.rows) == 3


def test_sessions_without_items_are_refused(codes):
    none = Sequences(np.zeros(3, np.int64), np.zeros(0, np.int32))
    with pytest.raises(InsufficientDataError, match="no training session has an item"):
        SessionPrediction("s", codes, none, params())


def test_a_width_that_heads_cannot_share_is_refused():
    with pytest.raises(ValueError, match="width is 30; allowed: a multiple of 2 \\* heads, 8"):
        params(width=30, heads=4)
