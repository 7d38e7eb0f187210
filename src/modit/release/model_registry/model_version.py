"""Registered model versions: what is submitted, what is registered, and the names that the registry uses."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from modit.core.errors import ConfigError
from modit.release.verdict import PASS

ALIAS, CHAMPION, PREVIOUS = "challenger", "champion", "previous"
PASSED, REJECTED = "passed", "rejected"
# Tags of a model: where its release log is, and the newest entry that the aliases mirror.
LOG_TAG, HEAD_TAG = "release_log", "release_head"
# Tags of a version: what a person decided about it.
REVIEW_TAG, OVERRIDE_TAG = "review", "override"
PREFIX = "modit-"


def model_name(domain: str) -> str:
    """Registered name of a domain's model."""
    return PREFIX + domain


def domain_of(model: str) -> str:
    """The domain of a registered model."""
    return model.removeprefix(PREFIX)


@dataclass(frozen=True)
class Submission:
    """A judged bundle, to be registered as a version of its domain's model.

    Attributes:
        verdict: PASS or FAIL, as the gate wrote it.
        run_uri: Address of the pipeline run.
        digests: Of `bundle`, `sampler`, `index`, `report` and `verdict`.
        metrics: Figures of the verdict.
        files: To keep with the version.
        facts: Further tags, such as the versions of its data; they do not make it another submission.
        held_back: Why a passed version may not become the challenger, or None.
        card: The model card, shown with the version.
        example: A request, which MLflow keeps as the model's input example.
    """

    domain: str
    verdict: str
    run_uri: str
    digests: dict[str, str]
    metrics: dict[str, float]
    files: tuple[Path, ...]
    facts: dict[str, str] = field(default_factory=dict)
    held_back: str | None = None
    card: str = ""
    example: dict[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """Its registered name."""
        return model_name(self.domain)

    @property
    def key(self) -> dict[str, str]:
        """What makes a submission the same as an earlier one."""
        return {"run_uri": self.run_uri, "bundle_digest": self.digests["bundle"], "domain": self.domain}

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the version."""
        digests = {f"{name}_digest": value for name, value in self.digests.items()}
        status = {"status": PASSED if self.verdict == PASS else REJECTED}
        held_back = {"held_back": self.held_back} if self.held_back else {}
        return self.facts | self.key | digests | status | held_back


@dataclass(frozen=True)
class Registration:
    """What registering a submission gave: the version, and "challenger" as its alias or why it has none."""

    model: str
    version: int
    status: str
    alias: str | None
    held_back: str | None = None


class RegisteredModel(NamedTuple):
    """A model of the registry: its name, its tags, and the version of each alias."""

    name: str
    tags: dict[str, str]
    aliases: dict[str, int]


class StoredVersion(NamedTuple):
    """A version as the registry stores it; `run_id` is that of the MLflow run that has its figures."""

    number: int
    created: datetime
    run_id: str
    tags: dict[str, str]


@dataclass(frozen=True)
class NamedVersion:
    """A registered version; `alias` is empty where it was asked for by number."""

    model: str
    version: int
    alias: str
    tags: dict[str, str]

    @property
    def domain(self) -> str:
        """The domain that it answers for."""
        return domain_of(self.model)

    @property
    def label(self) -> str:
        """Name for people."""
        return f"{self.model} version {self.version}"


def parse_version(text: str) -> tuple[str, int]:
    """Reads `MODEL/VERSION`, or `models:/MODEL/VERSION` as MLflow writes it.

    Raises:
        ConfigError: It is neither. An alias or "latest" is refused, because it may name another version tomorrow.
    """
    model, _, version = text.removeprefix("models:/").rpartition("/")
    if not model or not version.isdecimal():
        raise ConfigError(f"MODEL_VERSION {text!r}: allowed: a model, a slash and a number, such as modit-popular/3")
    return model, int(version)
