"""What is said of the noise of the training seed."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.bench_seed_noise import ROWS, Cell, cell_table, overall_table, summary_table
from modit.data.splits import Split
from modit.evaluate import names


def cell(shifts: list[float], patterns: int = 10) -> Cell:
    """Every case of a seed shifted by the same share; all rows alike but MO-DiT, which no seed moves."""
    base = np.random.default_rng(0).uniform(0.2, 0.6, 100)
    joint = {row: np.stack([base + shift for shift in shifts]) for row in ROWS}
    joint[names.SFT] = np.stack([base for _ in shifts])
    return Cell("popular", Split.ITEM_HOLDOUT, tuple(range(len(shifts))), np.arange(100) % patterns, joint, 0)


def test_the_deviation_is_that_of_the_means_of_the_seeds_in_points():
    of_three = cell([0.0, 0.01, 0.02])
    assert of_three.deviation(names.POLICY) == pytest.approx(1.0)
    assert of_three.deviation(names.SFT) == pytest.approx(0.0)
    assert of_three.deviation(names.POLICY, names.SFT) == pytest.approx(1.0)


def test_the_interval_is_over_patterns_and_a_shift_of_all_cases_does_not_widen_it():
    assert cell([0.0, 0.3]).half_width(names.POLICY) == pytest.approx(cell([0.0, 0.0]).half_width(names.POLICY))
    assert cell([0.0, 0.3]).half_width(names.POLICY, names.SFT) == pytest.approx(0.0)
    assert cell([0.0, 0.3], patterns=4).half_width(names.POLICY) is None


def test_each_ordered_pair_of_seeds_has_a_gain_unless_patterns_are_too_few():
    assert sorted(gain for gain, _ in cell([0.0, 0.02]).gains(names.POLICY)) == pytest.approx([-2.0, 2.0])
    assert cell([0.0, 0.02], patterns=4).gains(names.POLICY) == []


def test_the_tables_have_a_line_for_each_cell_and_for_each_row_and_count_gains_above_the_floor():
    cells = [cell([0.0, 0.02]), cell([0.0, 0.01])]
    assert len(cell_table(cells).splitlines()) == 2 + 2
    lines = summary_table({"shop": cells}, noise_floor=0.015).splitlines()
    assert len(lines) == 2 + len(ROWS)
    # Four ordered pairs, of which one gains more than 1.5 points, in every case.
    assert [part.strip() for part in lines[2].split("|")[-4:-1]] == ["4", "1", "1"]


def test_the_overall_table_is_of_the_seeds_that_every_cell_has():
    lines = overall_table([cell([0.0, 0.02, 0.04]), cell([0.0, 0.02])]).splitlines()
    assert [part.strip() for part in lines[0].split("|")[2:-2]] == ["seed 0", "seed 1", "sd"]
    policy = [part.strip() for part in lines[2].split("|")[2:-1]]
    assert float(policy[1]) - float(policy[0]) == pytest.approx(2.0, abs=0.11)
    assert policy[3] == "0, 2"
