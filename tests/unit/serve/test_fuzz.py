"""Whatever the OpenAPI document allows, and what it does not: documented answers, never a 5xx."""

from __future__ import annotations

from tests.unit.serve.conftest import running
from tests.unit.serve.fuzzing import fuzz


def test_every_operation_of_the_document_answers_as_documented(bundle):
    with running(lambda: [bundle.named("drama", 3)]) as client:  # its own: schemathesis ends the application, too
        asked = fuzz(client.app, examples=8)
    assert asked >= {"POST /v1/retrieve", "POST /v1/retrieve/batch", "GET /readyz", "GET /metrics"}
