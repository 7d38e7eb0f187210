"""Rewards are bounded, do not depend on the order of queries, and have the values that their definitions give."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modit.fan_out.params import RewardParams
from modit.fan_out.rewards import SetReward, alignment, diversity, groundedness, set_recall, vendi

SEEDS = st.integers(0, 10_000)


def unit_rows(seed, *shape):
    return torch.nn.functional.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@given(SEEDS, st.integers(1, 9), st.integers(2, 12))
def test_vendi_lies_between_one_and_the_number_of_rows(seed, count, dimension):
    found = float(vendi(unit_rows(seed, count, dimension)))
    assert 1 - 1e-4 <= found <= min(count, dimension) + 1e-4


@given(SEEDS, st.integers(1, 9))
def test_vendi_is_one_for_identical_rows_and_their_number_for_orthogonal_ones(seed, count):
    row = unit_rows(seed, 1, 12)
    assert float(vendi(row.expand(count, -1))) == pytest.approx(1, abs=1e-4)
    orthogonal = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(seed))).Q[:count]
    assert float(vendi(orthogonal)) == pytest.approx(count, rel=1e-4)


def test_vendi_is_the_exponential_of_the_entropy_of_the_eigenvalues():
    rows = unit_rows(3, 5, 4)
    values = np.linalg.eigvalsh((rows @ rows.T).double().numpy() / 5)
    values = values[values > 1e-12]
    assert float(vendi(rows)) == pytest.approx(np.exp(-(values * np.log(values)).sum()), rel=1e-5)


@given(SEEDS, st.integers(1, 8))
def test_no_reward_depends_on_the_order_of_queries(seed, count):
    reward = SetReward(RewardParams(pool_share=0.5), unit_rows(seed, 30, 6), count)
    queries, intents = unit_rows(seed + 1, 2, count, 6), unit_rows(seed + 2, 2, 6)
    items = torch.tensor([[1, 5, -1], [2, 7, 9]])
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    mixed = reward.parts(queries[:, order], intents, items)
    for name, value in reward.parts(queries, intents, items).items():
        assert torch.allclose(value, mixed[name], atol=1e-4), name


@given(SEEDS, st.integers(1, 8))
def test_rewards_stay_in_their_ranges(seed, count):
    reward = SetReward(RewardParams(pool_share=0.3), unit_rows(seed, 20, 5), count)
    parts = reward.parts(unit_rows(seed + 1, 3, count, 5), unit_rows(seed + 2, 3, 5), torch.tensor([[0], [1], [2]]))
    for name, low in {"ground": -1, "alignment": -1, "diversity": 0, "set": 0}.items():
        assert (parts[name] >= low - 1e-5).all() and (parts[name] <= 1 + 1e-5).all(), name


def test_a_query_on_an_item_is_grounded_and_one_at_its_antipode_is_not():
    assert float(groundedness(torch.tensor([1.0, 1.0]))) == 1
    assert float(groundedness(torch.tensor([-1.0]))) == -1


def test_alignment_is_the_mean_cosine():
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert float(alignment(queries, torch.tensor([1.0, 0.0]))) == 0.5


def test_the_abstract_reward_is_the_weighted_sum_and_the_kind_names_the_reward():
    params = RewardParams(kind="abstract", ground=0.6, diversity=0.2, alignment=0.2)
    parts = SetReward(params, unit_rows(0, 20, 5), 3).parts(
        unit_rows(1, 2, 3, 5), unit_rows(2, 2, 5), torch.zeros(2, 1).long()
    )
    expected = 0.6 * parts["ground"] + 0.2 * parts["diversity"] + 0.2 * parts["alignment"]
    assert torch.allclose(parts["abstract"], expected) and torch.equal(parts["reward"], parts["abstract"])


def test_set_recall_is_the_share_of_items_that_any_query_finds():
    scores = torch.tensor([[[0.9, 0.8, 0.1, 0.0], [0.0, 0.1, 0.2, 0.9]]])
    assert float(set_recall(scores, torch.tensor([[0, 3, 2, -1]]), 1)) == pytest.approx(2 / 3)
    assert float(set_recall(scores, torch.tensor([[2, -1, -1, -1]]), 2)) == 1


@given(SEEDS, st.integers(1, 19))
def test_set_recall_does_not_fall_with_the_depth(seed, depth):
    scores, items = (
        torch.randn(2, 3, 20, generator=torch.Generator().manual_seed(seed)),
        torch.tensor([[1, 2], [3, -1]]),
    )
    assert (set_recall(scores, items, depth + 1) >= set_recall(scores, items, depth)).all()


def test_more_queries_than_items_leave_one_result_for_each_query():
    assert SetReward(RewardParams(), unit_rows(0, 3, 4), 8).depth == 1
    assert RewardParams(pool_share=0.035).pool(8254, 8) == 289


def test_one_query_has_no_diversity():
    assert float(diversity(unit_rows(0, 1, 4))) == 0
