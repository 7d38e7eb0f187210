"""What the service is told when it starts, and what it refuses."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field

from modit.core.errors import ConfigError
from modit.release.registry import TRACKING_VARIABLE

KEYS_VARIABLE = "MODIT_API_KEYS"
_DEFAULT_THREADS = os.cpu_count() or 1


@dataclass(frozen=True)
class Limits:
    """The most that one request may ask for.

    Attributes:
        k: items.
        exclude: ids in `exclude_item_ids`.
        guidance: scale.
        rounds: runs of the sampler, whose samples are averaged.
        body_bytes: of the request's body.
    """

    k: int = 1_000
    exclude: int = 1_000
    guidance: float = 10.0
    rounds: int = 8
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
        keys: one of which a request must bring; empty: none is asked for.
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
    keys: tuple[str, ...] = field(default=(), repr=False)
    insecure: bool = False
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        _require("--alias", self.alias, bool(self.alias), "the name of an alias, such as champion")
        _require("--domains", self.domains, self.domains != (), "names with commas between")
        _require("--port", self.port, 0 <= self.port < 2**16, "0..65535")
        _require("--reload-seconds", self.reload_seconds, 0 < self.reload_seconds < 1e6, "more than 0, seconds")
        _require("--threads", self.threads, self.threads >= 1, ">= 1")
        if not (self.keys or self.insecure or _is_loopback(self.host)):
            raise ConfigError(
                f"--host {self.host} lets other machines ask: set {KEYS_VARIABLE} (keys with commas between), "
                "or say --insecure"
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
