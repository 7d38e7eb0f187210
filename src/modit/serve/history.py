"""What the registry knows of each domain's versions, for the page *Releases*."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modit.core.errors import ConfigError
from modit.release.registry import MlflowRegistry

SPLITS = ("item_holdout", "pattern_holdout")
_PREFIX = "modit-"


@dataclass(frozen=True)
class Version:
    """A registered version.

    Attributes:
        number: within its model.
        aliases: that name it, sorted.
        status: "passed" or "rejected" by the gate.
        created: when it was registered, UTC.
        tags: as it was registered with.
        figures: of its verdict.
    """

    number: int
    aliases: tuple[str, ...]
    status: str
    created: datetime
    tags: dict[str, str]
    figures: dict[str, float]


@dataclass(frozen=True)
class History:
    """The versions of a domain.

    Attributes:
        domain: whose.
        model: its registered name.
        versions: newest first.
        entries: of the audit trail, oldest first, each as name -> value; empty where there is no log.
    """

    domain: str
    model: str
    versions: list[Version]
    entries: list[dict[str, Any]] = field(default_factory=list)

    def version(self, number: int) -> Version | None:
        """One of them."""
        return next((each for each in self.versions if each.number == number), None)


AskHistory = Callable[[], list[History]]


def ask_history(uri: str) -> AskHistory:
    """Asks an MLflow registry for all that it knows of modit's models; it is connected to when it is asked first."""
    connections: list[MlflowRegistry] = []

    def ask() -> list[History]:
        if not connections:
            file = Path(uri.removeprefix("sqlite:///"))
            if uri.startswith("sqlite:///") and not file.is_file():
                raise ConfigError(f"registry {uri}: there is no such file")  # MLflow would make it
            connections.append(MlflowRegistry(uri))
        client = connections[0].client
        return [_history(client, model) for model in client.search_registered_models(f"name LIKE '{_PREFIX}%'")]

    return ask


def _history(client: Any, model: Any) -> History:
    found = client.search_model_versions(f"name = '{model.name}'")
    versions = [_version(client, model, each) for each in sorted(found, key=lambda each: -int(each.version))]
    return History(model.name.removeprefix(_PREFIX), model.name, versions)


def _version(client: Any, model: Any, found: Any) -> Version:
    number = int(found.version)
    aliases = tuple(sorted(alias for alias, named in model.aliases.items() if int(named) == number))
    created = datetime.fromtimestamp(found.creation_timestamp / 1000, UTC)
    figures = client.get_run(found.run_id).data.metrics
    return Version(number, aliases, found.tags.get("status", ""), created, dict(found.tags), figures)
