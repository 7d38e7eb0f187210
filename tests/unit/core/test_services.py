"""A step gets the variables of the services that it declares and no others, and is refused what it does not declare."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from components.registry import REGISTRY as STEPS
from modit.core.errors import GraphError
from modit.core.services import (
    ARTIFACT_STORE,
    FEATURE_STORE,
    REGISTRY,
    SERVICES,
    expect_declared,
    handed_on,
    reaching,
    secret_name,
)
from modit.core.step import Step

ROOT = Path(__file__).resolve().parents[3]
ALL = {name: f"value of {name}" for service in SERVICES.values() for name in service.variables}
# What each step reaches beside the store of its run; a new entry is a decision, not a matter of form.
REACHED = {
    "fetch_champion": {REGISTRY},
    "fetch_next_item_champion": {REGISTRY},
    "fetch_search_champion": {REGISTRY},
    "fetch_fan_out_champion": {REGISTRY},
    "fetch_starting_point": {REGISTRY},
    "register_next_item": {REGISTRY},
    "register_search": {REGISTRY},
    "register_fan_out": {REGISTRY},
    "publish_features": {FEATURE_STORE, REGISTRY},
    "register": {REGISTRY},
}


@pytest.mark.parametrize("step", STEPS.steps, ids=lambda step: step.name)
def test_a_step_gets_the_variables_of_what_it_declares_and_no_others(step):
    assert step.needs == REACHED.get(step.name, set())
    handed = handed_on(step.needs, {**ALL, "OMP_NUM_THREADS": "2", "AIRFLOW__CORE__FERNET_KEY": "x"})
    expected = {name for key in (ARTIFACT_STORE, *step.needs) for name in SERVICES[key].variables}
    assert set(handed.shown) | set(handed.hidden) == expected | {"OMP_NUM_THREADS"}


def test_keys_passwords_and_tokens_are_hidden_by_name():
    hidden = handed_on({FEATURE_STORE, REGISTRY}, ALL).hidden
    assert set(hidden) == {name for name in ALL if re.search("_KEY(_ID)?$|_PASSWORD$|_TOKEN$|_USERNAME$", name)}


@pytest.mark.parametrize(
    ("value", "hidden"),
    [
        ("http://mlflow:5000", False),
        ("https://reader@mlflow:5000", True),
        ("postgresql+psycopg2://modit:a/b@db/mlflow", True),
        ("postgresql://modit:word@db/mlflow", True),
        ("postgresql://modit:wo?rd@db/mlflow", True),
        ("postgresql://db/mlflow?user=modit&password=word", True),
        ("redis:6379", False),
        ("redis:6379,password=word,db=1", True),
        ("redis:6379,PASSWORD=word", True),
    ],
)
def test_an_address_with_a_password_in_it_is_hidden(value, hidden):
    handed = handed_on({FEATURE_STORE, REGISTRY}, {"MODIT_REDIS": value, "MLFLOW_TRACKING_URI": value})
    assert bool(handed.hidden) is hidden and bool(handed.shown) is not hidden


def test_an_empty_variable_counts_as_none():
    assert handed_on({REGISTRY}, {"MLFLOW_TRACKING_URI": ""}) == ({}, {})


def test_a_secret_of_kubernetes_is_named_after_the_service():
    assert secret_name("our-{service}-keys", ARTIFACT_STORE) == "our-artifact-store-keys"


def test_a_need_that_there_is_not_is_refused_by_name():
    with pytest.raises(ValueError, match="step 'a': needs 'redis'; allowed: feature_store, registry"):
        Step("a", outputs=("b",), needs=frozenset({"redis"}))


def test_a_step_is_refused_what_it_does_not_declare_and_a_command_nothing():
    with reaching("gate", frozenset({FEATURE_STORE})):
        expect_declared(FEATURE_STORE)
        with pytest.raises(GraphError, match="'gate' does not .* the registry; declared: feature_store"):
            expect_declared(REGISTRY)
    expect_declared(REGISTRY)


# Who opens a service asks `expect_declared` first: the runs of all other tests hold each step to its declaration.
OPENERS = {
    "MLFLOW_TRACKING_URI": {"src/modit/release/model_registry/registry_access.py"},
    # The service is no step: it reads the store where its settings name one.
    "MODIT_FEATURES": {"src/modit/features/store.py", "feature_repo/sources.py", "src/modit/serve/settings.py"},
    "MODIT_REDIS": {"src/modit/features/store.py"},
}


def test_only_who_asks_for_the_declaration_reads_where_a_service_is():
    found = {name: set() for name in OPENERS}
    for folder in ("src", "components", "feature_repo"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and node.value in found:
                    found[node.value].add(str(path.relative_to(ROOT)))
    assert {name: files - {"src/modit/core/services.py"} for name, files in found.items()} == OPENERS
