"""Hold-outs by hash: stable, independent of the company an item keeps, and of the right size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modit.core.errors import ConfigError
from modit.data.hash_unit import hash_unit
from modit.data.splits import TEST, TRAIN, VALIDATION, item_split

ids = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), unique=True, max_size=50)


@given(ids, ids)
def test_adding_items_never_moves_another_item(present, added):
    before = item_split(present, 0.3, 0.2, "salt")
    after = item_split(present + added, 0.3, 0.2, "salt")
    assert np.array_equal(before, after[: len(before)])


@given(ids)
def test_hashes_lie_in_the_unit_interval_and_do_not_depend_on_order(values):
    forward, backward = hash_unit(values, "salt"), hash_unit(values[::-1], "salt")
    assert np.array_equal(forward, backward[::-1])
    assert ((forward >= 0) & (forward < 1)).all()


@given(ids.filter(bool))
def test_strings_and_unicode_arrays_hash_alike(values):
    values = [value for value in values if not value.endswith("\0")]  # numpy drops trailing zeros
    assert np.array_equal(hash_unit(values, "salt"), hash_unit(np.array(values, dtype=str), "salt"))


def test_hashes_never_change_between_releases():
    assert hash_unit(["item-1", "été"], "items").tolist() == [0.571876459786193, 0.9097231234633248]


@pytest.mark.parametrize("salt", ["a", "b", "items/2026"])
def test_shares_are_right_within_binomial_error(salt):
    count = 20_000
    split = item_split([f"item-{number}" for number in range(count)], 0.3, 0.1, salt)
    for part, share in ((TEST, 0.3), (VALIDATION, 0.1), (TRAIN, 0.6)):
        error = np.sqrt(share * (1 - share) / count)
        assert abs((split == part).mean() - share) < 4.5 * error


def test_another_salt_gives_an_independent_split():
    values = [f"item-{number}" for number in range(20_000)]
    assert abs(np.corrcoef(hash_unit(values, "a"), hash_unit(values, "b"))[0, 1]) < 0.03


def test_a_larger_test_share_keeps_every_test_item():
    values = [f"item-{number}" for number in range(1_000)]
    small, large = (item_split(values, share, 0.1, "salt") == TEST for share in (0.2, 0.3))
    assert (large | ~small).all()


@pytest.mark.parametrize(("test", "validation"), [(-0.1, 0.1), (0.1, 1.1), (0.6, 0.5)])
def test_shares_out_of_range_are_refused_with_their_value(test, validation):
    with pytest.raises(ConfigError, match=r"share.*(-0\.1|1\.1|more than 1)"):
        item_split(["a"], test, validation, "salt")
