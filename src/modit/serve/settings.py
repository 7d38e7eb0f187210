"""What the service is told when it starts, and what it refuses."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field

from modit.core.errors import ConfigError
from modit.inference.sampler_file import FLOAT32, PRECISIONS
from modit.release.promotion.registry_access import TRACKING_VARIABLE
from modit.serve.oidc import ISSUER_VARIABLE, OidcSettings

KEYS_VARIABLE, PRECISION_VARIABLE, LOG_VARIABLE = "MODIT_API_KEYS", "MODIT_PRECISION", "MODIT_LOG_REQUESTS"
_DEFAULT_THREADS = os.cpu_count() or 1


@dataclass(frozen=True)
class Limits:
    """The most that one request may ask for.

    Attributes:
        k: items.
        exclude: ids in `exclude_item_ids`.
        guidance: scale.
        rounds: runs of the sampler, whose samples are averaged.
        conditions: of a filter.
        text: characters that a title is to contain.
        batch: requests in a batch.
        body_bytes: of the request's body.
    """

    k: int = 1_000
    exclude: int = 1_000
    guidance: float = 10.0
    rounds: int = 8
    conditions: int = 16
    text: int = 200
    batch: int = 64
    body_bytes: int = 4 * 2**20


@dataclass(frozen=True)
class Settings:
    """How the service runs.

    Attributes:
        registry: address of the MLflow registry.
        alias: of the versions to answer from.
        domains: to answer for; None takes those that have a version with the alias.
        host: address to listen on.
        port: to listen on; 0 takes a free one.
        reload_seconds: between two looks at the registry.
        threads: requests that are answered at the same time.
        queue: requests that wait for a thread; more are turned away.
        timeout_seconds: that a request takes at most.
        rate: requests a second of one client; None for any number.
        log_requests: input folder that gets answered requests as labels; None: they are not logged.
        keys: one of which a request must bring; empty: none is asked for.
        oidc: whose tokens do as well as a key; None: no token does.
        precision: of the samplers' files, "float32" or, where a bundle offers it, "int8".
        insecure: whether others than this machine may ask without a key.
        limits: of a request.
    """

    registry: str
    alias: str = "champion"
    domains: tuple[str, ...] | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    reload_seconds: float = 30.0
    threads: int = _DEFAULT_THREADS
    queue: int = 64
    timeout_seconds: float = 10.0
    rate: float | None = None
    log_requests: str | None = None
    keys: tuple[str, ...] = field(default=(), repr=False)
    oidc: OidcSettings | None = None
    precision: str = FLOAT32
    insecure: bool = False
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        _require("--alias", self.alias, bool(self.alias), "the name of an alias, such as champion")
        _require("--domains", self.domains, self.domains != (), "names with commas between")
        _require("--port", self.port, 0 <= self.port < 2**16, "0..65535")
        _require("--reload-seconds", self.reload_seconds, 0 < self.reload_seconds < 1e6, "more than 0, seconds")
        _require("--threads", self.threads, self.threads >= 1, ">= 1")
        _require("--queue", self.queue, self.queue >= 0, ">= 0")
        _require("--timeout-seconds", self.timeout_seconds, 0 < self.timeout_seconds < 1e6, "more than 0, seconds")
        _require("--precision", self.precision, self.precision in PRECISIONS, " or ".join(PRECISIONS))
        _require("--rate", self.rate, self.rate is None or 0 < self.rate < 1e6, "more than 0, requests a second")
        if not (self.keys or self.oidc or self.insecure or _is_loopback(self.host)):
            raise ConfigError(
                f"--host {self.host} lets other machines ask: set {KEYS_VARIABLE} (keys with commas between) or "
                f"{ISSUER_VARIABLE}, or say --insecure"
            )


def registry_address(given: str | None) -> str:
    """The registry to ask: what was given, else MLFLOW_TRACKING_URI.

    Raises:
        ConfigError: neither is there.
    """
    if chosen := given or os.environ.get(TRACKING_VARIABLE):
        return chosen
    raise ConfigError(
        f"which registry? Give --registry, such as sqlite:////runs/.registry/mlflow.db, or set {TRACKING_VARIABLE}"
    )


def chosen_precision(given: str | None) -> str:
    """What was given, else MODIT_PRECISION, else float32."""
    return given or os.environ.get(PRECISION_VARIABLE) or FLOAT32


def chosen_log(given: str | None) -> str | None:
    """Where answered requests go: what was given, else MODIT_LOG_REQUESTS, else nowhere."""
    return given or os.environ.get(LOG_VARIABLE) or None


def api_keys() -> tuple[str, ...]:
    """The keys in MODIT_API_KEYS, with commas between; none if it is not set."""
    return tuple(key.strip() for key in os.environ.get(KEYS_VARIABLE, "").split(",") if key.strip())


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _require(option: str, value: object, holds: bool, allowed: str) -> None:
    if not holds:
        raise ConfigError(f"{option} is {value!r}; allowed: {allowed}")
