"""Saved arrays come back, and their bytes follow from them alone."""

import hashlib
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as shapes

from modit.core.arrays import save_arrays

KINDS = st.one_of(
    shapes.integer_dtypes(), shapes.floating_dtypes(), shapes.boolean_dtypes(), shapes.unicode_string_dtypes()
)


@given(shapes.arrays(KINDS, shapes.array_shapes(min_dims=0, min_side=0, max_dims=3)))
def test_what_is_saved_is_loaded(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("arrays") / "a.npz"
    save_arrays(path, values=values, other=[1, 2])
    with np.load(path) as found:
        assert sorted(found) == ["other", "values"]
        np.testing.assert_array_equal(found["values"], values)
        assert found["values"].dtype == values.dtype


def test_the_bytes_are_the_same_at_another_time_and_in_another_release_of_python(tmp_path):
    digests = []
    for name in ("a.npz", "b.npz"):
        save_arrays(tmp_path / name, centres=np.arange(6, dtype="<f4").reshape(2, 3), names=np.array(["x", "yz"]))
        digests.append(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
        time.sleep(2.1)  # a zip file knows times to two seconds
    assert set(digests) == {"a11f58cb31421e1184bb83613a779b69d3520499aab4b1a6ab0db5c768f2ae53"}


def test_python_objects_are_refused(tmp_path):
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        save_arrays(tmp_path / "a.npz", values=np.array([{}]))
