"""What a step sees of its run."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from modit.core.context import StepContext
from modit.core.errors import ArtifactError
from modit.core.step import Step


def context(domain: str | None) -> StepContext:
    fields = dict.fromkeys(("params", "seed", "run_config", "logger", "key", "notes", "_registry", "_workspace"))
    step = Step("judge", outputs=("verdict",), per_domain=domain is not None)
    store = SimpleNamespace(run=SimpleNamespace(uri="s3://bucket/run"))
    return StepContext(step=step, domains=("drama", "western"), left_out={}, _domain=domain, _store=store, **fields)


def test_a_per_domain_step_knows_its_domain():
    assert context("drama").domain == "drama"


def test_a_step_that_runs_once_is_told_that_it_has_no_domain():
    with pytest.raises(ArtifactError, match="'judge' runs once"):
        _ = context(None).domain


def test_a_step_may_name_its_run_in_records():
    assert context(None).run_uri == "s3://bucket/run"
