"""As tests/unit/serve/test_fuzz.py, longer."""

from __future__ import annotations

import pytest

from tests.unit.serve.bundles import Bundle
from tests.unit.serve.conftest import running
from tests.unit.serve.fuzzing import fuzz

pytestmark = pytest.mark.e2e


def test_hundreds_of_requests_to_every_operation_answer_as_documented(tmp_path, sampler_file):
    bundle = Bundle(str(tmp_path / "run"), tmp_path / "made", sampler_file, ["drama"])
    with running(lambda: [bundle.named("drama")]) as client:
        assert "POST /v1/retrieve/batch" in fuzz(client.app, examples=300, seed=1)
