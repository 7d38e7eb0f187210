"""Opens Feast on a store's folder, and reads the declarations of `feature_repo/` as `feast apply` does."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import string
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from modit.core.errors import ConfigError
from modit.core.services import FEATURE_STORE, expect_declared
from modit.core.storage import Storage, digest_of

if TYPE_CHECKING:
    from feast import FeatureStore

    from modit.features.tables import Night

FOLDER_VARIABLE, PROJECT_VARIABLE, REDIS_VARIABLE = "MODIT_FEATURES", "MODIT_FEATURES_PROJECT", "MODIT_REDIS"
_PUBLISHED, CONFIG_FILE = "published.json", "feature_store.yaml"


@dataclass(frozen=True)
class Published:
    """The content of a store, from which `feature_repo/` declares views and services.

    Attributes:
        as_of: the newest night, ISO 8601 in UTC.
        domains: that have a view.
        services: name -> tags `domain`, `run_uri` and `published` (when, ISO 8601); one for each model version.
        space: version of the embedding space of the newest night.
    """

    as_of: str = ""
    domains: list[str] = field(default_factory=list)
    services: dict[str, dict[str, str]] = field(default_factory=dict)
    space: str = ""

    @classmethod
    def read(cls, folder: Path) -> Published:
        """The content of the store in a folder; empty while nothing is published."""
        return cls(**(Storage(str(folder)).read_json(_PUBLISHED) or {}))

    def write(self, folder: Path) -> None:
        """Replaces the content of the store in a folder."""
        Storage(str(folder)).write_json(_PUBLISHED, asdict(self))

    def with_night(self, night: Night, now: datetime) -> Published:
        """The same and one more night, with a service for the model of each domain that its run will train."""
        tags = {"run_uri": night.run_uri, "published": now.isoformat()}
        services = {service_name(domain, night.run_uri): {"domain": domain, **tags} for domain in night.domains}
        domains = sorted({*self.domains, *night.domains})
        return Published(night.as_of.isoformat(), domains, {**self.services, **services}, night.space)

    def with_newest_services(self, kept: int, in_use: Callable[[], Collection[str] | None]) -> Published:
        """The same without the services of old runs.

        Args:
            kept: newest runs of a domain, whose services stay.
            in_use: asked where there are more: the runs whose services stay however old they are; None for all.
        """
        ages = sorted(self.services.items(), key=lambda each: each[1].get("published", ""), reverse=True)
        old = [name for domain in self.domains for name in [n for n, t in ages if t["domain"] == domain][kept:]]
        used = in_use() if old else None
        if used is None:
            return self
        dropped = {name for name in old if self.services[name]["run_uri"] not in used}
        return replace(self, services={name: tags for name, tags in self.services.items() if name not in dropped})


def service_name(domain: str, run_uri: str) -> str:
    """Name of the feature service of a model version, which the registry tags with the same domain and run."""
    run = run_uri.rstrip("/").rpartition("/")[2]
    return re.sub(r"\W", "_", f"{domain}__{run}_{digest_of(run_uri)[:6]}")


def store_folder(run_uri: str, catalogue: str) -> Path:
    """Where the feature store lies: MODIT_FEATURES, else a folder for the catalogue, beside the run.

    Args:
        run_uri: address of the run.
        catalogue: address of its input; nights of one catalogue share a store.

    Raises:
        ConfigError: the run is remote and the variable is not set; SQLite and the rows need a local folder.
        GraphError: a step asks that does not declare the feature store.
    """
    expect_declared(FEATURE_STORE)
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(chosen).resolve()
    run = Storage(run_uri)
    if run.local is None:
        raise ConfigError(f"{FOLDER_VARIABLE} is not set and run {run_uri} has no local folder beside it for a store")
    name = catalogue.rstrip("/").rpartition("/")[2]
    return run.local.parent / ".features" / f"{name}-{digest_of(catalogue)[:8]}"


def environment(folder: Path) -> dict[str, str]:
    """The variables that the placeholders of `feature_repo/` stand for."""
    return {FOLDER_VARIABLE: str(folder), PROJECT_VARIABLE: re.sub(r"\W", "_", f"modit_{folder.name}")}


def write_config(repo: Path, folder: Path) -> None:
    """Writes `feature_store.yaml` into a store, from the template in `feature_repo/`, for all who open it.

    Its paths are relative to the folder, so that the folder may be mounted elsewhere. Where `MODIT_REDIS` has an
    address, the online store is Redis; the address itself, which may hold a password, stays in the variable.

    Raises:
        ConfigError: the template is missing or has other placeholders.
    """
    file, given = repo / CONFIG_FILE, environment(folder) | {FOLDER_VARIABLE: "."}
    try:
        text = string.Template(file.read_text(encoding="utf-8")).substitute(given)
    except (KeyError, FileNotFoundError) as error:
        raise ConfigError(f"{file}: {error!r}; placeholders are {', '.join(given)}") from error
    content: dict[str, Any] = yaml.safe_load(text)
    if os.environ.get(REDIS_VARIABLE):
        # Without skip_dedup Feast drops a correction of the same night: it compares event times alone.
        address = f"${{{REDIS_VARIABLE}}}"
        content["online_store"] = {"type": "redis", "connection_string": address, "skip_dedup": True}
    Storage(str(folder)).write_bytes(CONFIG_FILE, yaml.safe_dump(content, sort_keys=False).encode())


def open_store(folder: Path) -> FeatureStore:
    """Opens a feature store. The first call imports Feast, which takes seconds.

    Args:
        folder: with the store's `feature_store.yaml`: one that `publish` wrote, or any other of Feast.

    Raises:
        ConfigError: the folder has no such file, or it names `MODIT_REDIS` and the variable is not set.
    """
    file = folder / CONFIG_FILE
    if not file.is_file():
        raise ConfigError(f"{file} is missing: {folder} is not the folder of a feature store")
    if f"${{{REDIS_VARIABLE}}}" in file.read_text(encoding="utf-8") and not os.environ.get(REDIS_VARIABLE):
        raise ConfigError(f"{file} has its online store in Redis: set {REDIS_VARIABLE} to host:port[,password=...]")
    from feast import FeatureStore

    logging.getLogger("feast").setLevel(logging.WARNING)  # at INFO it reports every refresh of its cache
    return FeatureStore(repo_path=str(folder))


def declarations(repo: Path, folder: Path) -> list[Any]:
    """Entities, sources, views and services that `feature_repo/` declares for what a store holds."""
    from feast.repo_operations import parse_repo

    with _as_working_folder(repo, environment(folder)):
        found = parse_repo(repo)
    return [*found.entities, *found.data_sources, *found.feature_views, *found.feature_services]


@contextlib.contextmanager
def _as_working_folder(repo: Path, variables: dict[str, str]) -> Iterator[None]:
    """Feast imports the files of a repository as top-level modules, by their path from the working folder."""
    before, modules, paths = os.environ.copy(), sys.modules.copy(), sys.path.copy()
    names = {path.stem for path in repo.glob("*.py")}
    for name in names:
        sys.modules.pop(name, None)
    os.environ.update(variables)
    sys.path.insert(0, str(repo))
    try:
        with contextlib.chdir(repo):
            yield
    finally:
        sys.path[:] = paths
        for name in variables:
            del os.environ[name]
        os.environ.update(before)
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update({name: modules[name] for name in names & modules.keys()})
