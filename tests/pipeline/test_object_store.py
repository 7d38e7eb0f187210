"""What Compose starts with its object store: a bucket, if the store keeps writers apart."""

from __future__ import annotations

import pytest

from infra.compose.bucket import ensure_bucket, expect_one_writer
from modit.core.storage import Storage


def test_a_bucket_is_made_once_and_the_probe_leaves_nothing_behind(s3):
    for _ in range(2):
        ensure_bucket("another")
        expect_one_writer("another")
    assert Storage("s3://another").sizes() == {}


def test_a_store_that_lets_a_second_writer_make_the_same_file_is_refused(s3, store):
    store.ignores_conditions = True
    with pytest.raises(SystemExit, match="does not honour `If-None-Match"):
        expect_one_writer("bucket")
    assert Storage("s3://bucket").sizes() == {}
