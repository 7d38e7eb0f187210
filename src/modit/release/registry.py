"""The model registry: what is registered, and the MLflow adapter. Registering again changes nothing."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from modit.core.errors import ConfigError
from modit.core.storage import Storage
from modit.core.verdict import PASS
from modit.release.record import RECORD_FILE, Record

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

ALIAS = "challenger"
PASSED, REJECTED = "passed", "rejected"
TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
_EXPERIMENT, _PREFIX = "modit", "modit-"


@dataclass(frozen=True)
class Submission:
    """A judged sampler.

    Attributes:
        domain: whose sampler it is.
        verdict: PASS or FAIL, as the gate wrote it.
        run_uri: address of the pipeline run.
        digests: sha256 of `sampler`, `index`, `report` and `verdict`.
        metrics: figures of the verdict.
        files: to keep with the version; `sampler.onnx` must be among them.
        facts: further tags, such as the versions of its data; they do not make it another submission.
        held_back: why a passed version may not become the challenger, or None.
    """

    domain: str
    verdict: str
    run_uri: str
    digests: dict[str, str]
    metrics: dict[str, float]
    files: tuple[Path, ...]
    facts: dict[str, str] = field(default_factory=dict)
    held_back: str | None = None

    @property
    def key(self) -> dict[str, str]:
        """What makes a submission the same as an earlier one."""
        return {"run_uri": self.run_uri, "sampler_digest": self.digests["sampler"], "domain": self.domain}

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
    """A version that an alias names.

    Attributes:
        model: its registered name.
        version: number within the model.
        alias: that names it.
        tags: as `Submission.tags` made them.
    """

    model: str
    version: int
    alias: str
    tags: dict[str, str]

    @property
    def domain(self) -> str:
        """Whose sampler it is."""
        return self.model.removeprefix(_PREFIX)


class ModelRegistry(Protocol):
    """Where judged samplers are kept."""

    def register(self, submission: Submission) -> Registration:
        """Registers a sampler once: the same run and sampler digest give the version that is already there."""


def tracking_uri(run_uri: str) -> str:
    """Where MLflow keeps its records: MLFLOW_TRACKING_URI, else SQLite in the run's folder.

    Raises:
        ConfigError: the run is remote and the variable is not set; SQLite needs a local folder.
    """
    if chosen := os.environ.get(TRACKING_VARIABLE):
        return chosen
    if not Path(run_uri).is_absolute():
        raise ConfigError(
            f"{TRACKING_VARIABLE} is not set and run {run_uri} is no local folder that could hold mlflow.db"
        )
    return f"sqlite:///{run_uri}/mlflow.db"


def registry_uri(run: str | None) -> str:
    """The registry that a person means: MLFLOW_TRACKING_URI, else that of the run.

    Args:
        run: a path or an address, or None.

    Raises:
        ConfigError: neither is given, or the run has no registry of its own.
    """
    if run is None:
        if chosen := os.environ.get(TRACKING_VARIABLE):
            return chosen
        raise ConfigError(
            f"which registry? Give --run, the run that registered the version, or set {TRACKING_VARIABLE}"
        )
    return tracking_uri(Storage(run).uri)


def parse_version(text: str) -> tuple[str, int]:
    """Reads `MODEL/VERSION`; MLflow's `models:/MODEL/VERSION` too.

    Raises:
        ConfigError: it is neither; an alias or "latest" says another version tomorrow.
    """
    model, _, version = text.removeprefix("models:/").rpartition("/")
    if not model or not version.isdecimal():
        raise ConfigError(f"MODEL_VERSION {text!r}: allowed: a model, a slash and a number, such as modit-popular/3")
    return model, int(version)


class MlflowRegistry:
    """The registry of an MLflow server or database; a model `modit-DOMAIN` each."""

    def __init__(self, uri: str, artifacts: str | None = None) -> None:
        """Connects.

        Args:
            uri: of tracking and registry.
            artifacts: where a new experiment keeps files; None leaves it to the server.
        """
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient  # slow to import, and only this step needs it

        self._client: MlflowClient = MlflowClient(uri, uri)
        self._artifacts = artifacts

    @property
    def client(self) -> MlflowClient:
        """The connection, for other records of the same run."""
        return self._client

    def register(self, submission: Submission) -> Registration:
        """Registers a sampler once. A passed version becomes the challenger unless it is held back."""
        model = f"{_PREFIX}{submission.domain}"
        self._ensure_model(model)
        version = self._find_version(model, submission) or self._create_version(model, submission)
        for path in submission.files:  # those of a version that was there may have changed: its verdict, its record
            self._client.log_artifact(version.run_id, str(path))
        for name, value in submission.tags.items():
            self._client.set_model_version_tag(model, version.version, name, value)
        promoted = submission.verdict == PASS and submission.held_back is None
        self._point_alias(model, str(version.version), promoted)
        alias, status = ALIAS if promoted else None, submission.tags["status"]
        return Registration(model, int(version.version), status, alias, submission.held_back)

    def _ensure_model(self, model: str) -> None:
        if not self._client.search_registered_models(f"name = '{model}'"):
            self._client.create_registered_model(model)

    def _find_version(self, model: str, submission: Submission) -> ModelVersion | None:
        for version in self._client.search_model_versions(f"name = '{model}'"):
            if submission.key.items() <= version.tags.items():
                return version
        return None

    def _create_version(self, model: str, submission: Submission) -> ModelVersion:
        run = self._find_run(submission) or self._client.create_run(
            self.experiment_id(), run_name=f"{submission.domain} release", tags=submission.key
        )
        for name, value in submission.metrics.items():
            self._client.log_metric(run.info.run_id, _metric_name(name), value)
        self._client.set_terminated(run.info.run_id)
        source = f"{run.info.artifact_uri}/sampler.onnx"
        return self._client.create_model_version(model, source, run.info.run_id, tags=submission.tags)

    def _find_run(self, submission: Submission) -> Any:
        """The run of an attempt that ended before the version was made."""
        wanted = " and ".join(f"tags.{name} = '{value}'" for name, value in submission.key.items())
        found = self._client.search_runs([self.experiment_id()], wanted, max_results=1)
        return found[0] if found else None

    def record(self, model: str, version: int) -> Record:
        """The record of the run that a version is from.

        Raises:
            ConfigError: there is no such version, or it was registered without a record.
        """
        from mlflow.exceptions import MlflowException

        try:
            found = self._client.get_model_version(model, str(version))
            with tempfile.TemporaryDirectory(prefix="modit-") as folder:
                return Record.load(Path(self._client.download_artifacts(str(found.run_id), RECORD_FILE, folder)))
        except (MlflowException, OSError) as error:
            raise ConfigError(f"{model} version {version} has no {RECORD_FILE} in the registry: {error}") from error

    def runs_with_alias(self) -> set[str]:
        """Addresses of the runs whose versions bear an alias."""
        return {version.tags["run_uri"] for version in self.named_versions()}

    def named_versions(self, alias: str | None = None) -> list[NamedVersion]:
        """Versions that an alias names: those of `alias`, or of any."""
        return [
            NamedVersion(model.name, int(number), name, self._client.get_model_version(model.name, str(number)).tags)
            for model in self._client.search_registered_models(f"name LIKE '{_PREFIX}%'")
            for name, number in model.aliases.items()
            if alias in (None, name)
        ]

    def named_version(self, domain: str, alias: str) -> NamedVersion | None:
        """The version of a domain that an alias names, or None."""
        model = f"{_PREFIX}{domain}"
        return next((each for each in self.named_versions(alias) if each.model == model), None)

    def experiment_id(self) -> str:
        """The experiment of modit's runs, made when it is missing."""
        found = self._client.get_experiment_by_name(_EXPERIMENT)
        return found.experiment_id if found else self._client.create_experiment(_EXPERIMENT, self._artifacts)

    def _point_alias(self, model: str, version: str, promoted: bool) -> None:
        if promoted:
            self._client.set_registered_model_alias(model, ALIAS, version)
        elif str(self._client.get_registered_model(model).aliases.get(ALIAS)) == version:
            self._client.delete_registered_model_alias(model, ALIAS)


def _metric_name(name: str) -> str:
    """MLflow allows no @ in names."""
    return name.replace("@K", "_at_k").replace(" ", "_")
