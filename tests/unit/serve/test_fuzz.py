"""Whatever the OpenAPI document allows, and what it does not: documented answers, never a 5xx."""

from __future__ import annotations

from tests.unit.serve.conftest import running
from tests.unit.serve.fuzzing import fuzz
from tests.unit.serve.session_bundles import SessionBundle


def test_every_operation_of_the_document_answers_as_documented(bundle, tmp_path):
    sessions = SessionBundle(str(tmp_path / "run"), tmp_path)
    with running(
        lambda: [bundle.named("drama", 3), sessions.named(1)]
    ) as client:  # its own: schemathesis ends the application, too
        asked = fuzz(client.app, examples=8)
    assert asked >= {
        "POST /v1/retrieve",
        "POST /v1/retrieve/batch",
        "POST /v1/recommend",
        "GET /readyz",
        "GET /metrics",
    }
