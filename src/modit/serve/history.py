"""What the registry knows of each domain's versions, for the page *Releases*."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from modit.core.artifacts import ArtifactStore
from modit.core.errors import ArtifactError
from modit.core.storage import Storage
from modit.release.kinds import kind_of
from modit.release.model_registry.followed_registry import followed_registry
from modit.release.model_registry.mlflow_registry import MlflowRegistry
from modit.release.model_registry.model_version import RegisteredModel, StoredVersion, domain_of
from modit.release.model_registry.refusals import Refused
from modit.release.model_registry.release_log import LogEntry
from modit.release.model_registry.release_state import read_release_state
from modit.release.verdict import VERDICT_FILE, judged_in_words

# Versions of a domain whose verdicts are read: the newest, and those with an alias.
_READ = 10
_KEPT_VERDICTS = 256


@dataclass(frozen=True)
class Why:
    """Why a version has its verdict.

    Attributes:
        lines: what it was judged against, and the word or what failed.
        conditions: key of the gate -> its findings, each `holds` and `sentence`; empty where the verdict has none.
        problem: why there are neither, or None.
    """

    lines: list[str] = field(default_factory=list)
    conditions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True)
class Version:
    """A registered version: `status` is the gate's word, `why` is None where its verdict is not read."""

    number: int
    aliases: list[str]
    status: str
    created: datetime
    tags: dict[str, str]
    figures: dict[str, float]
    why: Why | None


@dataclass(frozen=True)
class History:
    """The versions of a domain.

    Attributes:
        domain: whose.
        versions: newest first.
        entries: of the release log, oldest first, each as heading -> value.
        problem: why the log cannot be believed, or None.
    """

    domain: str
    versions: list[Version]
    entries: list[dict[str, Any]] = field(default_factory=list)
    problem: str | None = None

    def version(self, number: int) -> Version | None:
        """The version of a number, or None."""
        return next((each for each in self.versions if each.number == number), None)

    def has_figures(self, split: str) -> bool:
        """Whether a version has the figures that the plot of a split shows."""
        names = {f"{split}_Joint_at_k", f"{split}_Same_at_k"}
        return any(names <= each.figures.keys() for each in self.versions)


def read_histories(uri: str) -> list[History]:
    """Asks an MLflow registry for all that it knows of modit's models.

    Raises:
        ConfigError: there is no such SQLite file. MLflow, its database and its server have other errors.
    """
    registry = followed_registry(uri)
    return [_history(registry, model) for model in registry.models()]


def _history(registry: MlflowRegistry, model: RegisteredModel) -> History:
    domain = domain_of(model.name)
    found = reversed(registry.stored_versions(domain))
    versions = [_version(registry, model, each, number < _READ) for number, each in enumerate(found)]
    try:
        return History(domain, versions, [_shown(entry) for entry in read_release_state(registry, domain).entries])
    except Refused as refused:
        return History(domain, versions, problem=str(refused))


def _shown(entry: LogEntry) -> dict[str, Any]:
    return {
        "entry": entry.number,
        "time": entry.time,
        "who": entry.who,
        "action": entry.action,
        "version": entry.version,
        "champion before": entry.champion_before,
        "after": entry.champion_after,
        "verdict": entry.verdict_digest[:12],
        "by way of": " ".join(filter(None, (entry.approval.source, entry.approval.id))),
        "reason": entry.reason,
    }


def _version(registry: MlflowRegistry, model: RegisteredModel, found: StoredVersion, is_new: bool) -> Version:
    number, tags, figures = found.number, found.tags, registry.figures(found.run_id)
    aliases = sorted(alias for alias, named in model.aliases.items() if named == number)
    reasons = _why(domain_of(model.name), tags) if is_new or aliases else None
    return Version(number, aliases, tags.get("status", ""), found.created, tags, figures, reasons)


def _why(domain: str, tags: dict[str, str]) -> Why:
    """Reads the verdict in the version's run. One that is not what the version was registered with is not shown."""
    try:
        judged = _verdict(tags["run_uri"], kind_of(domain).verdict, tags["verdict_digest"])["domains"][domain]
        keys = {name: key["findings"] for name, key in judged.get("keys", {}).items()}
        return Why(judged_in_words(judged), keys)
    except (ArtifactError, OSError, KeyError, ValueError) as error:
        return Why(problem=f"The verdict cannot be read: {type(error).__name__}: {error}")


@lru_cache(_KEPT_VERDICTS)
def _verdict(run_uri: str, artifact: str, digest: str) -> dict[str, Any]:
    """The verdict of a run, which all its domains share; what failed to be read is tried again."""
    store = ArtifactStore(Storage(run_uri), Path(tempfile.gettempdir()))
    found = {entry.name: entry.sha256 for entry in store.get(artifact).files}.get(VERDICT_FILE)
    if found != digest:
        raise ArtifactError(f"{VERDICT_FILE} of {run_uri} is {found}; the version was registered with {digest}")
    return store.read_json(artifact, VERDICT_FILE)
