"""Streams depend on their names only."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from modit.core.seeds import derived_seed, stream


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), name=st.text(max_size=8), other=st.text(max_size=8))
def test_equal_names_give_equal_numbers_and_other_names_others(seed, name, other):
    first = stream(seed, name).integers(2**62, size=4)
    assert np.array_equal(first, stream(seed, name).integers(2**62, size=4))
    assert np.array_equal(first, stream(seed, other).integers(2**62, size=4)) == (name == other)
    assert 0 <= derived_seed(seed, name) < 2**31
