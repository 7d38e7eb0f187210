"""A release is loaded from a run that lives on S3: only what serving needs, and nothing of it stays on the disk."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from modit.core.errors import ArtifactError
from modit.release.bundle.loading import load_release
from modit.release.bundle.release import ReleaseSource
from tests.unit.serve.bundles import Bundle


@pytest.fixture
def bundle(s3, tmp_path, sampler_file):
    return Bundle("s3://bucket/runs/one", tmp_path, sampler_file, ["drama"])


def test_a_run_on_s3_is_served_without_its_logs_and_leaves_nothing_behind(s3, bundle, tmp_path, monkeypatch):
    s3.delete_object(Bucket="bucket", Key="runs/one/catalog/sequence_items.npy")  # which serving does not read
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    Path(tempfile.gettempdir()).mkdir()
    release = load_release(ReleaseSource.of(bundle.named("drama")))
    assert np.array_equal(release.items.embeddings[:], bundle.catalog.embeddings)
    assert not list(Path(tempfile.gettempdir()).iterdir())
    s3.put_object(Bucket="bucket", Key="runs/one/catalog/items.parquet", Body=b"another")
    with pytest.raises(ArtifactError, match="s3://bucket/runs/one/catalog/items.parquet is damaged"):
        load_release(ReleaseSource.of(bundle.named("drama")))
