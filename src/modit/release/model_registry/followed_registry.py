"""The model registry as a service follows it: read without MLflow's client, which takes 200 MB and seconds to import.

A SQLite registry is read by SQL, a server by MLflow's documented REST API. MLflow's client writes, which a service does
only to finish an interrupted promotion, and reads where the address or the environment asks for what only the client
can do: other databases, certificates, signed requests, workspaces.
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

from modit.core.errors import ConfigError
from modit.release.model_registry.mlflow_registry import MlflowRegistry
from modit.release.model_registry.model_version import (
    PREFIX,
    NamedVersion,
    RegisteredModel,
    StoredVersion,
    domain_of,
    model_name,
)

_SQLITE = "sqlite:///"
_SECONDS = 10.0
_PAGE = 1_000
# Where one of these is set, MLflow's client does what the reader of servers does not; the second are for https.
_BY_CLIENT = ("MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_WORKSPACE")
_CERTIFICATES = (
    *("MLFLOW_TRACKING_INSECURE_TLS", "MLFLOW_TRACKING_CLIENT_CERT_PATH", "MLFLOW_TRACKING_SERVER_CERT_PATH"),
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)
_CREDENTIALS = Path("~/.mlflow/credentials")


def followed_registry(uri: str) -> MlflowRegistry:
    """The registry at an address, to read again and again; it is connected to when it is asked first."""
    reader = _reader_of(uri)
    return FollowedRegistry(uri, reader) if reader else MlflowRegistry(uri)


class RegistryReader(Protocol):
    """Reads a registry."""

    def models(self) -> list[RegisteredModel]:
        """Models of this project."""
        ...

    def versions(self, model: str) -> list[StoredVersion]:
        """All versions of a model, in any order."""
        ...

    def figures(self, run_id: str) -> dict[str, float]:
        """The metrics of an MLflow run."""
        ...


class FollowedRegistry(MlflowRegistry):
    """A registry that is read by a reader, and written by MLflow's client."""

    def __init__(self, uri: str, reader: RegistryReader) -> None:
        """Names it.

        Args:
            uri: Of tracking and registry.
            reader: Of the same address.
        """
        super().__init__(uri)
        self._reader = reader

    def models(self) -> list[RegisteredModel]:
        """Models of this project."""
        return self._reader.models()

    def stored_versions(self, domain: str) -> list[StoredVersion]:
        """All versions of a domain, oldest first."""
        return sorted(self._reader.versions(model_name(domain)), key=lambda each: each.number)

    def figures(self, run_id: str) -> dict[str, float]:
        """The metrics of the MLflow run that a version was made in."""
        return self._reader.figures(run_id)

    def version(self, domain: str, number: int) -> NamedVersion:
        """A version by its number.

        Raises:
            ConfigError: It does not exist.
        """
        return self._named(domain, number)

    def _model(self, domain: str) -> RegisteredModel | None:
        return next((each for each in self.models() if domain_of(each.name) == domain), None)

    def _named(self, domain: str, number: int, alias: str = "") -> NamedVersion:
        found = next((each for each in self.stored_versions(domain) if each.number == number), None)
        if found is None:
            raise ConfigError(f"the registry has no {model_name(domain)} version {number}")
        return NamedVersion(model_name(domain), number, alias, found.tags)


class SqliteReader:
    """Reads MLflow's tables in a SQLite file, which is never made or changed."""

    def __init__(self, path: Path) -> None:
        """Names the file."""
        self._path = path.resolve()

    def models(self) -> list[RegisteredModel]:
        """Models of this project."""
        of_all = f"{PREFIX}%"
        names, tags, aliases = self._rows(
            ("SELECT name FROM registered_models WHERE name LIKE ?", of_all),
            ("SELECT name, key, value FROM registered_model_tags WHERE name LIKE ?", of_all),
            ("SELECT name, alias, version FROM registered_model_aliases WHERE name LIKE ?", of_all),
        )
        models = {name: RegisteredModel(name, {}, {}) for (name,) in names}
        for name, key, value in tags:
            models[name].tags[key] = value
        for name, alias, version in aliases:
            models[name].aliases[alias] = version
        return list(models.values())

    def versions(self, model: str) -> list[StoredVersion]:
        """All versions of a model, in any order."""
        stored, tags = self._rows(
            (
                "SELECT version, creation_time, run_id FROM model_versions "
                "WHERE name = ? AND current_stage != 'Deleted_Internal'",
                model,
            ),
            ("SELECT version, key, value FROM model_version_tags WHERE name = ?", model),
        )
        found = {version: StoredVersion(version, _time(created), run_id, {}) for version, created, run_id in stored}
        for version, key, value in tags:
            if version in found:
                found[version].tags[key] = value
        return list(found.values())

    def figures(self, run_id: str) -> dict[str, float]:
        """The metrics of an MLflow run."""
        [found] = self._rows(("SELECT key, value FROM latest_metrics WHERE run_uuid = ?", run_id))
        return dict(found)

    def _rows(self, *queries: tuple[str, str]) -> list[list[Any]]:
        """The rows of each query, all of one moment."""
        try:
            with closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True)) as database:
                database.execute("BEGIN")
                return [database.execute(query, (given,)).fetchall() for query, given in queries]
        except sqlite3.Error as error:
            raise ConfigError(f"registry {_SQLITE}{self._path} cannot be read: {error}") from error


class ServerReader:
    """Reads an MLflow server by its REST API, as MLFLOW_TRACKING_USERNAME and _PASSWORD, or with _TOKEN."""

    def __init__(self, uri: str) -> None:
        """Names the server."""
        self._uri = uri.rstrip("/")

    def models(self) -> list[RegisteredModel]:
        """Models of this project."""
        found = self._all("registered-models/search", "registered_models", f"name LIKE '{PREFIX}%'")
        return [RegisteredModel(each["name"], _tags(each), _aliases(each)) for each in found]

    def versions(self, model: str) -> list[StoredVersion]:
        """All versions of a model, in any order."""
        found = self._all("model-versions/search", "model_versions", f"name = '{model}'")
        return [
            StoredVersion(
                int(each["version"]), _time(int(each["creation_timestamp"])), each.get("run_id", ""), _tags(each)
            )
            for each in found
        ]

    def figures(self, run_id: str) -> dict[str, float]:
        """The metrics of an MLflow run."""
        metrics = self._ask("runs/get", {"run_id": run_id})["run"]["data"].get("metrics", [])
        return {each["key"]: float(each["value"]) for each in metrics}

    def _all(self, path: str, name: str, wanted: str) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            more = {"page_token": token} if token else {}
            answer = self._ask(path, {"filter": wanted, "max_results": str(_PAGE), **more})
            yield from answer.get(name, [])
            if not (token := answer.get("next_page_token", "")):
                return

    def _ask(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        request = urllib.request.Request(f"{self._uri}/api/2.0/mlflow/{path}?{urlencode(query)}", headers=_sign())
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            return json.load(answer)


def _reader_of(uri: str) -> RegistryReader | None:
    if uri.startswith(_SQLITE) and "?" not in uri:
        return SqliteReader(Path(uri.removeprefix(_SQLITE)))
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or "@" in parts.netloc or _CREDENTIALS.expanduser().exists():
        return None
    of_client = _BY_CLIENT + (_CERTIFICATES if parts.scheme == "https" else ())
    return None if any(os.environ.get(name) for name in of_client) else ServerReader(uri)


def _sign() -> dict[str, str]:
    """The header that says who asks; as in MLflow's client, a name counts before a token."""
    user, password = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if user and password:
        return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _tags(found: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag.get("value", "") for tag in found.get("tags", [])}


def _aliases(found: dict[str, Any]) -> dict[str, int]:
    return {each["alias"]: int(each["version"]) for each in found.get("aliases", [])}


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
