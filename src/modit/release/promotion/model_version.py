"""What the registry of models keeps: submissions, versions, and the protocol that an adapter implements."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from modit.core.errors import ConfigError
from modit.release.verdict import PASS

ALIAS, CHAMPION, PREVIOUS = "challenger", "champion", "previous"
PASSED, REJECTED = "passed", "rejected"
# Tags: of a model, where its release log is and which entry the aliases mirror; of a version, what a person said of it.
LOG_TAG, HEAD_TAG, REVIEW_TAG, OVERRIDE_TAG = "release_log", "release_head", "review", "override"
PREFIX = "modit-"


def model_name(domain: str) -> str:
    """Registered name of a domain's model."""
    return PREFIX + domain


def domain_of(model: str) -> str:
    """The domain of a registered model."""
    return model.removeprefix(PREFIX)


@dataclass(frozen=True)
class Submission:
    """A judged sampler.

    Attributes:
        domain: whose sampler it is.
        verdict: PASS or FAIL, as the gate wrote it.
        run_uri: address of the pipeline run.
        digests: of `bundle`, and sha256 of `sampler`, `index`, `report` and `verdict`.
        metrics: figures of the verdict.
        files: to keep with the version; `sampler.onnx` must be among them.
        facts: further tags, such as the versions of its data; they do not make it another submission.
        held_back: why a passed version may not become the challenger, or None.
        card: the model card, shown with the version.
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
    """A registered version.

    Attributes:
        model: its registered name.
        version: number within the model.
        status: "passed" or "rejected".
        alias: "challenger" for a passed version that is not held back, else None.
        held_back: why a passed version has no alias.
    """

    model: str
    version: int
    status: str
    alias: str | None
    held_back: str | None = None


@dataclass(frozen=True)
class NamedVersion:
    """A registered version.

    Attributes:
        model: its registered name.
        version: number within the model.
        alias: that names it, or empty where it was asked for by number.
        tags: as `Submission.tags` made them.
    """

    model: str
    version: int
    alias: str
    tags: dict[str, str]

    @property
    def domain(self) -> str:
        """Whose sampler it is."""
        return domain_of(self.model)

    @property
    def label(self) -> str:
        """Name for people."""
        return f"{self.model} version {self.version}"


class ModelRegistry(Protocol):
    """Where judged bundles are kept. It says what there is; the release log says what is promoted."""

    def register(self, submission: Submission) -> Registration:
        """Registers a bundle once: the same run and bundle digest give the version that is already there."""

    def domains(self) -> list[str]:
        """Domains that have a model, sorted."""

    def version(self, domain: str, number: int) -> NamedVersion:
        """A version by its number.

        Raises:
            ConfigError: there is none.
        """

    def versions(self, domain: str) -> list[NamedVersion]:
        """All versions of a domain, oldest first."""

    def aliases(self, domain: str) -> dict[str, int]:
        """Alias -> version; empty where there is no model."""

    def named_version(self, domain: str, alias: str) -> NamedVersion | None:
        """The version that an alias names, or None."""

    def point_alias(self, domain: str, alias: str, version: int | None) -> None:
        """Moves an alias, or takes it away."""

    def model_tags(self, domain: str) -> dict[str, str]:
        """Tags of a domain's model; empty where there is none."""

    def tag_model(self, domain: str, name: str, value: str) -> None:
        """Sets a tag of a domain's model."""

    def tag_version(self, version: NamedVersion, name: str, value: str) -> None:
        """Sets a tag of a version."""

    def card(self, version: NamedVersion) -> str:
        """The model card that is shown with a version."""

    def show_card(self, version: NamedVersion, card: str) -> None:
        """Replaces the model card that is shown with a version."""

    def delete(self, version: NamedVersion) -> None:
        """Forgets a version."""


def parse_version(text: str) -> tuple[str, int]:
    """Reads `MODEL/VERSION`; MLflow's `models:/MODEL/VERSION` too.

    Raises:
        ConfigError: it is neither; an alias or "latest" says another version tomorrow.
    """
    model, _, version = text.removeprefix("models:/").rpartition("/")
    if not model or not version.isdecimal():
        raise ConfigError(f"MODEL_VERSION {text!r}: allowed: a model, a slash and a number, such as modit-popular/3")
    return model, int(version)
