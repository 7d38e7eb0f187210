"""Requests that schemathesis makes of the OpenAPI document, sent to the application itself."""

from __future__ import annotations

import hypothesis
import schemathesis
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def fuzz(app, examples: int, seed: int = 0) -> set[str]:
    """Asks every operation so often; gives the operations."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    asked = set()
    for result in schema.get_all_operations():
        operation = result.ok()

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=examples,
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy(), known=st.booleans())
        def ask(case, known):
            for body in (
                _requests_of(case.body) if known else ()
            ):  # else nearly all end at the domain, the seeds or the session
                seeds = {"domain": "drama", "seeds": {"item_ids": ["item-1"]}}
                body |= {"session": ["item-1"]} if "recommend" in case.path else seeds
            case.call_and_validate(checks=CHECKS)

        ask()
        asked.add(operation.label)
    return asked


def _requests_of(body):
    if not isinstance(body, dict):
        return []
    inner = body.get("requests")
    return [each for each in (inner if isinstance(inner, list) else [body]) if isinstance(each, dict)]
