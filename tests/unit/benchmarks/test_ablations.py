"""Ablation arms are what they say, and differences are paired."""

import numpy as np
import pytest
from pydantic import ValidationError

from benchmarks.ablation_runs import Chain, Scores, changed, reordered
from benchmarks.ablations import GROUPS, compare, to_markdown
from modit.hppo.params import HPPOParams


def scores(joint: list[float]) -> Scores:
    return Scores({"item_holdout": np.array([[value, 0.5] for value in joint])}, 1.0)


@pytest.mark.parametrize("order", ["ascending", "random", "descending"])
def test_an_order_keeps_every_group_whole(order):
    items = np.arange(40).reshape(4, 10)
    assert np.array_equal(np.sort(reordered(items, order, seed=0), axis=1), items)


def test_descending_order_is_ascending_reversed():
    assert reordered(np.arange(6)[None], "descending", seed=0).tolist() == [[5, 4, 3, 2, 1, 0]]


def test_random_order_is_neither():
    assert not np.array_equal(reordered(np.arange(40)[None], "random", seed=0), np.arange(40)[None])


def test_every_chain_changes_known_fields_to_allowed_values():
    chains = [arm for group in GROUPS.values() for arm in group.values() if isinstance(arm, Chain)]
    for chain in chains:
        section = changed(HPPOParams(), chain.changes)
        assert {name: getattr(section, name) for name in chain.changes} == dict(chain.changes)


def test_an_unknown_field_is_refused():
    with pytest.raises(ValidationError, match="use_magic"):
        changed(HPPOParams(), {"use_magic": True})


def test_round_splits_share_one_total_of_steps():
    chains = [arm for arm in GROUPS["rounds"].values() if isinstance(arm, Chain)]
    assert {chain.rounds * chain.steps for chain in chains} == {100}


def test_a_constant_gain_in_every_case_has_an_interval_of_no_width():
    figures = compare(scores([0.2, 0.6, 0.9]), scores([0.1, 0.5, 0.8]), "item_holdout")
    assert figures["joint_difference"] == [0.1, 0.1, 0.1]
    assert figures["same_difference"] == [0.0, 0.0, 0.0]


def test_the_table_names_arm_command_and_difference():
    record = {
        "arm": "top-1",
        "split": "item_holdout",
        "guidance": 1.0,
        **compare(scores([0.2]), scores([0.1]), "item_holdout"),
    }
    group = {"command": "python x", "machine": "m", "seconds": 1.0, "records": [record]}
    table = to_markdown({"target: run, domain": group})
    assert "| top-1 | item_holdout | 20.0 | +10.0 [+10.0, +10.0] |" in table
    assert "`python x`" in table
