"""Services that steps use, and the environment variables with their addresses. Standard library only.

A step's declaration names what it needs; an executor hands it the variables of that and of nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple

from modit.core.errors import GraphError

# Every step needs it: it holds the run.
ARTIFACT_STORE = "artifact_store"
FEATURE_STORE, REGISTRY = "feature_store", "registry"
# A password in an address, as of a database, or in Redis' connection string.
_PASSWORD = re.compile(r"://.*@|password=", re.IGNORECASE)


@dataclass(frozen=True)
class Service:
    """The variables of a service: settings may be shown, unless the value has a password in it; secrets never are."""

    settings: tuple[str, ...]
    secrets: tuple[str, ...] = ()

    @property
    def variables(self) -> tuple[str, ...]:
        """All names."""
        return self.settings + self.secrets


SERVICES = {
    ARTIFACT_STORE: Service(
        ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"), ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    ),
    FEATURE_STORE: Service(("MODIT_FEATURES", "MODIT_REDIS")),
    REGISTRY: Service(
        ("MLFLOW_TRACKING_URI",), ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
    ),
}
# What a step may declare.
NEEDS = (FEATURE_STORE, REGISTRY)
# How many threads and which kernels compute, in how many parts, and where copies of artifacts lie: for every step.
COMMON = ("MODIT_BATCH_PARTS", "MODIT_CACHE", "OMP_NUM_THREADS", "OPENBLAS_CORETYPE")


def services_of(needs: Collection[str]) -> dict[str, Service]:
    """The services that a step with these declared `needs` reaches, by name."""
    return {name: service for name, service in SERVICES.items() if name == ARTIFACT_STORE or name in needs}


def secret_name(pattern: str, service: str) -> str:
    """Name of the Kubernetes secret whose keys are a service's variables, by a pattern such as `modit-{service}`."""
    return pattern.replace("{service}", service.replace("_", "-"))


class Handed(NamedTuple):
    """Variables that a step gets: `shown` may stand in pages, logs and descriptions, `hidden` may not."""

    shown: dict[str, str]
    hidden: dict[str, str]


def handed_on(needs: Collection[str], environment: Mapping[str, str]) -> Handed:
    """Selects the variables of an environment that a step with these declared `needs` may see."""
    names = (*COMMON, *(name for service in services_of(needs).values() for name in service.variables))
    found = {name: environment[name] for name in names if environment.get(name)}
    hidden = {name: value for name, value in found.items() if is_secret(name, value)}
    return Handed({name: value for name, value in found.items() if name not in hidden}, hidden)


def is_secret(name: str, value: str) -> bool:
    """Whether a variable must not be shown: by its name, or since its value has a password in it."""
    return any(name in service.secrets for service in SERVICES.values()) or _PASSWORD.search(value) is not None


_working: ContextVar[tuple[str, frozenset[str]] | None] = ContextVar("_working", default=None)


@contextmanager
def reaching(step: str, needs: frozenset[str]) -> Iterator[None]:
    """Holds a step to its declared `needs` while it works."""
    token = _working.set((step, needs))
    try:
        yield
    finally:
        _working.reset(token)


def expect_declared(service: str) -> None:
    """Checks that the running step declares a service; code that opens the service calls it. Commands may open any.

    Raises:
        GraphError: a step works that does not declare the service, so that in a container it would not have it.
    """
    step, needs = _working.get() or (None, frozenset({service}))
    if service not in needs:
        declared = ", ".join(sorted(needs)) or "none"
        raise GraphError(f"step {step!r} does not declare that it needs the {service}; declared: {declared}")
