"""The settings of the service, checked when it starts."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from modit.core.errors import ConfigError
from modit.core.machine import usable_cores
from modit.core.names import DOMAIN_NAME, JUDGED_ONCE
from modit.index.engines.collection import EngineAddress
from modit.release.model_registry.registry_access import TRACKING_VARIABLE
from modit.serve.oidc import ISSUER_VARIABLE, OidcSettings

KEYS_VARIABLE, FEATURES_VARIABLE, LOG_VARIABLE = "MODIT_API_KEYS", "MODIT_FEATURES", "MODIT_LOG_REQUESTS"
INDEX_VARIABLE = "MODIT_INDEX"


@dataclass(frozen=True)
class Limits:
    """The most that one request may ask for: items, ids to exclude, guidance, and so on.

    Attributes:
        rounds: runs of the sampler, whose samples are averaged.
        conditions: of a filter.
        session: items of a session.
        text: characters that a title is to contain.
        query: characters of a text that is searched for.
        batch: requests in a batch.
    """

    k: int = 1_000
    exclude: int = 1_000
    guidance: float = 10.0
    rounds: int = 8
    session: int = 1_000
    conditions: int = 16
    text: int = 200
    query: int = 1_000
    batch: int = 64
    body_bytes: int = 4 * 2**20


@dataclass(frozen=True)
class Settings:
    """How the service runs. Most are the options of `modit serve`, which say what they mean.

    Attributes:
        domains: to answer for; None takes those that have a version with the alias.
        verdicts: domain that nothing is trained for -> address of the file of its verdicts.
        rate: requests a second of one client; None for any number.
        wrong_keys_rate: requests a second of one address that bring a wrong key; further ones are refused unread.
        log_requests: input folder that gets answered requests as labels; None: they are not logged.
        keys: one of which a request must bring; empty: none is asked for.
        engine: collection of an index engine that is searched; None searches the indexes of the bundles.
        oidc: whose tokens do as well as a key; None: no token does.
        features: folder of the feature store that seeds are read from; None reads them from the bundle.
        insecure: whether others than this machine may ask without a key.
    """

    registry: str
    alias: str = "champion"
    domains: tuple[str, ...] | None = None
    verdicts: Mapping[str, str] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 8000
    reload_seconds: float = 30.0
    threads: int = field(default_factory=usable_cores)
    queue: int = 64
    timeout_seconds: float = 10.0
    rate: float | None = None
    wrong_keys_rate: float = 10.0
    log_requests: str | None = None
    keys: tuple[str, ...] = field(default=(), repr=False)
    engine: EngineAddress | None = None
    oidc: OidcSettings | None = None
    features: str | None = None
    features_timeout_seconds: float = 0.2
    root_path: str = ""
    insecure: bool = False
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        _require("--alias", self.alias, bool(self.alias), "the name of an alias, such as champion")
        _require("--domains", self.domains, self.domains != (), "names with commas between")
        for name, file in self.verdicts.items():
            allowed = "DOMAIN=FILE, a name of lower-case letters, digits and underscores and the address of a file"
            _require("--verdicts", f"{name}={file}", bool(file and DOMAIN_NAME.fullmatch(name)), allowed)
            allowed = f"another name: {JUDGED_ONCE.get(name)} have this one"
            _require("--verdicts", name, name not in JUDGED_ONCE, allowed)
            _require("--verdicts", name, name not in (self.domains or ()), "a domain that --domains does not name")
        _require("--port", self.port, 0 <= self.port < 2**16, "0..65535")
        _require("--threads", self.threads, self.threads >= 1, ">= 1")
        _require("--queue", self.queue, self.queue >= 0, ">= 0")
        for name in ("reload_seconds", "timeout_seconds", "features_timeout_seconds"):
            seconds = getattr(self, name)
            _require(f"--{name.replace('_', '-')}", seconds, 0 < seconds < 1e6, "more than 0, seconds")
        well_formed = not self.root_path or (self.root_path[0] == "/" and self.root_path[-1] != "/")
        _require("--root-path", self.root_path, well_formed, "a path such as /modit: with / at its start, not its end")
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
    if address := chosen(given, TRACKING_VARIABLE):
        return address
    raise ConfigError(
        f"which registry? Give --registry, such as sqlite:////runs/.registry/mlflow.db, or set {TRACKING_VARIABLE}"
    )


def chosen(given: str | None, variable: str) -> str | None:
    """An option's value: what was given, else that of an environment variable; an empty one counts as none."""
    return given or os.environ.get(variable) or None


def verdict_files(given: Sequence[str]) -> dict[str, str]:
    """Reads the values of `--verdicts`, DOMAIN=FILE each; ConfigError if a domain occurs twice."""
    files: dict[str, str] = {}
    for each in given:
        domain, _, file = each.partition("=")
        _require("--verdicts", each, domain not in files, "each domain once")
        files[domain] = file
    return files


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
