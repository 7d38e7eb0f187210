"""The real catalogues, where they are at hand, pass the contract."""

import os
from pathlib import Path

import numpy as np
import pytest

from modit.data.sessions import SessionPart, Sessions, training_counts
from modit.data.validate import validate_logs

DATA = Path(os.environ.get("MODIT_DATA", Path(__file__).parents[3].parent / "shared" / "data"))

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no real catalogues in {DATA} (set MODIT_DATA to their folder)"),
]


@pytest.mark.parametrize(
    ("name", "items", "domains"),
    [
        ("goodbooks", 10_000, ["acclaimed", "popular", "recent", "young_adult"]),
        ("spotify", 28_352, ["featuring", "long", "popular", "recent"]),
        ("retail", 4_143, ["cheap", "export", "popular", "seasonal"]),
    ],
)
def test_a_real_catalogue_is_read_whole(name, items, domains, quarantine):
    catalog, report = validate_logs(DATA / name, quarantine)
    assert (len(catalog), catalog.dimension, catalog.domains) == (items, 64, domains)
    np.testing.assert_allclose(np.linalg.norm(catalog.embeddings, axis=1), 1.0, atol=1e-5)
    counts = report.interactions
    assert counts.rows == counts.kept + counts.in_short_sequences + sum(counts.quarantined.values())
    assert len(catalog.sequences) == counts.sequences > 400


def test_beauty_has_vectors_of_its_texts_and_its_published_split(quarantine):
    catalog, report = validate_logs(DATA / "beauty", quarantine, needs_domains=False)
    assert (len(catalog), catalog.dimension, catalog.domains) == (12_101, 64, [])
    np.testing.assert_allclose(np.linalg.norm(catalog.embeddings, axis=1), 1.0, atol=1e-5)
    assert not report.quarantined
    sessions = Sessions(catalog.sequences)
    assert sessions.left_out == {"validation": 0, "test": 0}
    counts = training_counts(sessions.training, len(catalog))
    # data/README.md: 33 items never occur in training, and 138 test targets are such items
    assert (counts == 0).sum() == 33
    assert (counts[sessions.targets(SessionPart.TEST)] == 0).sum() == 138
