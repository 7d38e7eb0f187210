"""Buckets are shared out whole: each belongs to one shard, whatever their number."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modit.core.errors import ConfigError
from modit.core.shards import combined
from modit.core.step import ALL_BUCKETS, BUCKETS, WHOLE, Shard, Step
from modit.data.hashing import bucket_of


@given(st.integers(1, BUCKETS))
def test_every_bucket_belongs_to_one_shard_and_shares_are_even(count):
    shards = Shard.all_of(count)
    assert [bucket for shard in shards for bucket in shard.buckets] == list(ALL_BUCKETS)
    sizes = [len(shard.buckets) for shard in shards]
    assert max(sizes) - min(sizes) <= 1
    assert [Shard.parse(str(shard)) for shard in shards] == shards


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/65", "1", "1/0", "-1/4", "one/two", "1/4/2", ""])
def test_a_shard_that_cannot_be_is_refused(text):
    with pytest.raises(ConfigError, match=r"allowed: I/N with 1 <= I <= N <= 64"):
        Shard.parse(text)


def test_one_task_does_all_unless_the_step_is_sharded_and_there_are_more():
    plain, sharded = Step("a", outputs=("x",)), Step("b", outputs=("y",), sharded=True)
    assert plain.shards(4) == sharded.shards(1) == []
    assert sharded.shards(3) == ["1/3", "2/3", "3/3"]
    assert WHOLE.buckets == ALL_BUCKETS
    with pytest.raises(ConfigError, match="65 shards; allowed: 1 to 64"):
        sharded.shards(65)


def test_a_bucket_depends_on_the_id_alone_and_buckets_are_even():
    ids = np.array([f"item {number}" for number in range(20_000)])
    found = bucket_of(ids)
    order = np.random.default_rng(0).permutation(len(ids))
    assert np.array_equal(bucket_of(ids[order]), found[order])
    assert np.array_equal(bucket_of(pa.chunked_array([ids[:7].tolist(), ids[7:].tolist()])), found)
    counts = np.bincount(found, minlength=BUCKETS)
    assert len(counts) == BUCKETS and counts.min() > 200 and counts.max() < 430
    assert len(bucket_of(ids[:0])) == 0


def test_buckets_stay_what_they_are():
    """Stores outlive versions: an item that changed its bucket would be looked for in other files."""
    assert bucket_of(np.array(["a1", "item 2", "ß", "a much longer identifier"])).tolist() == [42, 19, 7, 56]


STEP = Step("spread", outputs=("rows",), sharded=True, totals=("rows", "online"), lists=("dropped",))


def test_each_field_of_a_summary_is_combined_as_the_step_declares_it():
    said = [
        {"rows": 2, "online": {"a": 1, "b": 0}, "store": "here", "dropped": ["x"], "whole": True},
        {"rows": 3, "online": {"a": 4, "c": 5}, "store": "here", "dropped": [], "whole": True},
    ]
    online = {"a": 5, "b": 0, "c": 5}
    assert combined(STEP, said) == {"rows": 5, "online": online, "store": "here", "dropped": ["x"], "whole": True}
    assert combined(STEP, said[:1]) == said[0]


def test_a_rate_is_never_added_up():
    said = [{"rows": 1, "rate": 0.5, "recall": 0.9}, {"rows": 3, "rate": 0.25, "recall": 0.9}]
    assert combined(STEP, said) == {"rows": 4, "rate": [0.5, 0.25], "recall": 0.9}
