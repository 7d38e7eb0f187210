"""The model registry in MLflow: one model `modit-DOMAIN` for each domain, with versions, aliases, tags and cards."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modit.core.errors import ConfigError
from modit.core.services import REGISTRY, expect_declared
from modit.release.promotion.model_version import (
    ALIAS,
    LOG_TAG,
    PREFIX,
    REVIEW_TAG,
    NamedVersion,
    Registration,
    Submission,
    domain_of,
    model_name,
)
from modit.release.promotion.release_log import ReleaseLog
from modit.release.verdict import PASS
from modit.release.versioning.record import RECORD_FILE, Record

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


class MlflowVersions:
    """The models `modit-DOMAIN` of an MLflow server or database: asked, and marked."""

    def __init__(self, uri: str) -> None:
        """Connects.

        Args:
            uri: of tracking and registry.

        Raises:
            GraphError: a step connects that does not declare the registry.
        """
        expect_declared(REGISTRY)
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient  # slow to import, and not needed to name a registry

        self._client: MlflowClient = MlflowClient(uri, uri)

    @property
    def client(self) -> MlflowClient:
        """The connection, for other records of the same run."""
        return self._client

    def runs_with_alias(self) -> set[str]:
        """Addresses of the runs whose versions bear an alias."""
        return {
            self._named(domain_of(model.name), int(number)).tags["run_uri"]
            for model in self._models()
            for number in model.aliases.values()
        }

    def domains(self) -> list[str]:
        """Domains that have a model, sorted."""
        return sorted(domain_of(model.name) for model in self._models())

    def version(self, domain: str, number: int) -> NamedVersion:
        """A version by its number.

        Raises:
            ConfigError: there is none.
        """
        from mlflow.exceptions import MlflowException

        try:
            return self._named(domain, number)
        except MlflowException as error:
            raise ConfigError(f"the registry has no {model_name(domain)} version {number}: {error}") from error

    def versions(self, domain: str) -> list[NamedVersion]:
        """All versions of a domain, oldest first."""
        found = self._client.search_model_versions(f"name = '{model_name(domain)}'")
        named = [NamedVersion(each.name, int(each.version), "", dict(each.tags)) for each in found]
        return sorted(named, key=lambda each: each.version)

    def named_version(self, domain: str, alias: str) -> NamedVersion | None:
        """The version that an alias names, or None."""
        number = self.aliases(domain).get(alias)
        return None if number is None else self._named(domain, number, alias)

    def aliases(self, domain: str) -> dict[str, int]:
        """Alias -> version; empty where there is no model."""
        model = self._model(domain)
        return {name: int(number) for name, number in model.aliases.items()} if model else {}

    def point_alias(self, domain: str, alias: str, version: int | None) -> None:
        """Moves an alias, or takes it away."""
        if version is None:
            self._client.delete_registered_model_alias(model_name(domain), alias)
        else:
            self._client.set_registered_model_alias(model_name(domain), alias, str(version))

    def model_tags(self, domain: str) -> dict[str, str]:
        """Tags of a domain's model; empty where there is none."""
        model = self._model(domain)
        return dict(model.tags) if model else {}

    def tag_model(self, domain: str, name: str, value: str) -> None:
        """Sets a tag of a domain's model."""
        self._client.set_registered_model_tag(model_name(domain), name, value)

    def tag_version(self, version: NamedVersion, name: str, value: str) -> None:
        """Sets a tag of a version."""
        self._client.set_model_version_tag(version.model, str(version.version), name, value)

    def card(self, version: NamedVersion) -> str:
        """The model card that is shown with a version."""
        return self._client.get_model_version(version.model, str(version.version)).description or ""

    def show_card(self, version: NamedVersion, card: str) -> None:
        """Replaces the model card that is shown with a version."""
        self._client.update_model_version(version.model, str(version.version), card)

    def delete(self, version: NamedVersion) -> None:
        """Forgets a version."""
        self._client.delete_model_version(version.model, str(version.version))

    def _models(self) -> Sequence[Any]:
        return self._client.search_registered_models(f"name LIKE '{PREFIX}%'")

    def _model(self, domain: str) -> Any:
        found = self._client.search_registered_models(f"name = '{model_name(domain)}'")
        return found[0] if found else None

    def _named(self, domain: str, number: int, alias: str = "") -> NamedVersion:
        found = self._client.get_model_version(model_name(domain), str(number))
        return NamedVersion(found.name, number, alias, dict(found.tags))


_EXPERIMENT = "modit"


class MlflowRegistry(MlflowVersions):
    """The registry of an MLflow server or database; a model `modit-DOMAIN` each."""

    def __init__(self, uri: str, artifacts: str | None = None) -> None:
        """Connects.

        Args:
            uri: of tracking and registry.
            artifacts: where a new experiment keeps files; None leaves it to the server.

        Raises:
            GraphError: a step connects that does not declare the registry.
        """
        super().__init__(uri)
        self._artifacts = artifacts

    def register(self, submission: Submission) -> Registration:
        """Registers a sampler once. A passed version becomes the challenger unless it is held back."""
        model = submission.model
        self._ensure_model(submission)
        version = self._find_version(model, submission) or self._create_version(model, submission)
        for path in submission.files:  # those of a version that was there may have changed: its verdict, its record
            self._client.log_artifact(version.run_id, str(path))
        for name, value in submission.tags.items() - version.tags.items():
            self._client.set_model_version_tag(model, version.version, name, value)
        if submission.card and not version.description:
            self._client.update_model_version(model, version.version, submission.card)
        # What a person has decided on is no challenger again, whatever the step is run again for.
        promoted = submission.verdict == PASS and submission.held_back is None and REVIEW_TAG not in version.tags
        self._point_challenger(submission.domain, int(version.version), promoted)
        alias, status = ALIAS if promoted else None, submission.tags["status"]
        return Registration(model, int(version.version), status, alias, submission.held_back)

    def _ensure_model(self, submission: Submission) -> None:
        if self._model(submission.domain) is None:
            self._client.create_registered_model(submission.model)
        if LOG_TAG not in self.model_tags(submission.domain):
            self.tag_model(submission.domain, LOG_TAG, ReleaseLog.beside(submission.run_uri, submission.domain).uri)

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

    def _point_challenger(self, domain: str, version: int, promoted: bool) -> None:
        if promoted:
            self.point_alias(domain, ALIAS, version)
        elif self.aliases(domain).get(ALIAS) == version:
            self.point_alias(domain, ALIAS, None)

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

    def experiment_id(self) -> str:
        """The experiment of modit's runs, made when it is missing."""
        found = self._client.get_experiment_by_name(_EXPERIMENT)
        return found.experiment_id if found else self._client.create_experiment(_EXPERIMENT, self._artifacts)


def _metric_name(name: str) -> str:
    """MLflow allows no @ in names."""
    return name.replace("@K", "_at_k").replace(" ", "_")
