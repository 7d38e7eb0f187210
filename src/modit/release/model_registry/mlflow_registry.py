"""The model registry in MLflow: one model `modit-DOMAIN` for each domain, with versions, aliases, tags and cards.

The registry knows which versions exist. Which of them is promoted is decided by the release log.
"""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modit.core.errors import ConfigError
from modit.core.services import REGISTRY, expect_declared
from modit.release.model_registry.mlflow_model import MODEL_FOLDER, write_mlflow_model
from modit.release.model_registry.model_version import (
    ALIAS,
    LOG_TAG,
    PREFIX,
    REVIEW_TAG,
    NamedVersion,
    RegisteredModel,
    Registration,
    StoredVersion,
    Submission,
    domain_of,
    model_name,
)
from modit.release.model_registry.release_log import ReleaseLog
from modit.release.verdict import PASS
from modit.release.versioning.record import RECORD_FILE, Record

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

_EXPERIMENT = "modit"


class MlflowRegistry:
    """The models of an MLflow server or database."""

    def __init__(self, uri: str, artifacts: str | None = None) -> None:
        """Names it; it is connected to when it is asked first.

        Args:
            uri: Of tracking and registry.
            artifacts: Where a new experiment keeps files; None leaves it to the server.

        Raises:
            GraphError: A step connects that does not declare the registry.
        """
        expect_declared(REGISTRY)
        self._uri, self._artifacts = uri, artifacts

    @cached_property
    def client(self) -> MlflowClient:
        """The connection, for other records of the same run."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient  # slow to import, and not needed to name a registry

        return MlflowClient(self._uri, self._uri)

    def models(self) -> list[RegisteredModel]:
        """Models of this project."""
        return [_model_of(each) for each in self.client.search_registered_models(f"name LIKE '{PREFIX}%'")]

    def stored_versions(self, domain: str) -> list[StoredVersion]:
        """All versions of a domain, oldest first."""
        found = self.client.search_model_versions(f"name = '{model_name(domain)}'")
        return sorted((_version_of(each) for each in found), key=lambda each: each.number)

    def figures(self, run_id: str) -> dict[str, float]:
        """The metrics of the MLflow run that a version was made in."""
        return self.client.get_run(run_id).data.metrics

    def domains(self) -> list[str]:
        """Domains that have a model, sorted."""
        return sorted(domain_of(model.name) for model in self.models())

    def runs_with_alias(self) -> set[str]:
        """Addresses of the runs whose versions have an alias."""
        return {
            self._named(domain_of(model.name), number).tags["run_uri"]
            for model in self.models()
            for number in model.aliases.values()
        }

    def version(self, domain: str, number: int) -> NamedVersion:
        """A version by its number.

        Raises:
            ConfigError: It does not exist.
        """
        from mlflow.exceptions import MlflowException

        try:
            return self._named(domain, number)
        except MlflowException as error:
            raise ConfigError(f"the registry has no {model_name(domain)} version {number}: {error}") from error

    def versions(self, domain: str) -> list[NamedVersion]:
        """All versions of a domain, oldest first."""
        return [NamedVersion(model_name(domain), each.number, "", each.tags) for each in self.stored_versions(domain)]

    def aliases(self, domain: str) -> dict[str, int]:
        """Alias -> version; empty without a model."""
        model = self._model(domain)
        return model.aliases if model else {}

    def named_version(self, domain: str, alias: str) -> NamedVersion | None:
        """The version that an alias names, or None."""
        number = self.aliases(domain).get(alias)
        return None if number is None else self._named(domain, number, alias)

    def point_alias(self, domain: str, alias: str, version: int | None) -> None:
        """Moves an alias, or removes it where `version` is None."""
        if version is None:
            self.client.delete_registered_model_alias(model_name(domain), alias)
        else:
            self.client.set_registered_model_alias(model_name(domain), alias, str(version))

    def model_tags(self, domain: str) -> dict[str, str]:
        """Tags of a domain's model; empty without a model."""
        model = self._model(domain)
        return model.tags if model else {}

    def tag_model(self, domain: str, name: str, value: str) -> None:
        """Sets a tag of a domain's model."""
        self.client.set_registered_model_tag(model_name(domain), name, value)

    def tag_version(self, version: NamedVersion, name: str, value: str) -> None:
        """Sets a tag of a version."""
        self.client.set_model_version_tag(version.model, str(version.version), name, value)

    def card(self, version: NamedVersion) -> str:
        """The model card that is shown with a version."""
        return self.client.get_model_version(version.model, str(version.version)).description or ""

    def show_card(self, version: NamedVersion, card: str) -> None:
        """Replaces the model card that is shown with a version."""
        self.client.update_model_version(version.model, str(version.version), card)

    def register(self, submission: Submission) -> Registration:
        """Registers a bundle once: the same run and bundle digest give the version that exists already.

        A passed version becomes the challenger unless it is held back, or a person has decided on it before.
        """
        model, domain = submission.model, submission.domain
        if self._model(domain) is None:
            self.client.create_registered_model(model)
        if LOG_TAG not in self.model_tags(domain):
            self.tag_model(domain, LOG_TAG, ReleaseLog.beside(submission.run_uri, domain).uri)
        version = self._find_version(submission) or self._create_version(submission)
        for path in submission.files:  # files of an existing version may have changed: its verdict, its record
            self.client.log_artifact(version.run_id, str(path))
        for name, value in submission.tags.items() - version.tags.items():
            self.client.set_model_version_tag(model, version.version, name, value)
        if submission.card and not version.description:
            self.client.update_model_version(model, version.version, submission.card)
        number = int(version.version)
        challenger = submission.verdict == PASS and submission.held_back is None and REVIEW_TAG not in version.tags
        if challenger:
            self.point_alias(domain, ALIAS, number)
        elif self.aliases(domain).get(ALIAS) == number:
            self.point_alias(domain, ALIAS, None)
        alias = ALIAS if challenger else None
        return Registration(model, number, submission.tags["status"], alias, submission.held_back)

    def record(self, model: str, version: int) -> Record:
        """The record of the run that a version is from.

        Raises:
            ConfigError: The version does not exist, or was registered without a record.
        """
        from mlflow.exceptions import MlflowException

        try:
            found = self.client.get_model_version(model, str(version))
            with tempfile.TemporaryDirectory(prefix="modit-") as folder:
                return Record.load(Path(self.client.download_artifacts(str(found.run_id), RECORD_FILE, folder)))
        except (MlflowException, OSError) as error:
            raise ConfigError(f"{model} version {version} has no {RECORD_FILE} in the registry: {error}") from error

    def experiment_id(self) -> str:
        """The experiment of modit's runs; it is made where it is missing."""
        found = self.client.get_experiment_by_name(_EXPERIMENT)
        return found.experiment_id if found else self.client.create_experiment(_EXPERIMENT, self._artifacts)

    def _find_version(self, submission: Submission) -> ModelVersion | None:
        found = self.client.search_model_versions(f"name = '{submission.model}'")
        return next((each for each in found if submission.key.items() <= each.tags.items()), None)

    def _create_version(self, submission: Submission) -> ModelVersion:
        run = self._find_run(submission) or self.client.create_run(
            self.experiment_id(), run_name=f"{submission.domain} release", tags=submission.key
        )
        for name, value in submission.metrics.items():
            # MLflow allows no @ in names.
            self.client.log_metric(
                run.info.run_id, name.replace("@K", "_at_k").replace("@", "_at_").replace(" ", "_"), value
            )
        with tempfile.TemporaryDirectory(prefix="modit-") as folder:
            model = Path(folder) / MODEL_FOLDER
            write_mlflow_model(model, submission)
            self.client.log_artifacts(run.info.run_id, str(model), MODEL_FOLDER)
        self.client.set_terminated(run.info.run_id)
        source = f"{run.info.artifact_uri}/{MODEL_FOLDER}"
        return self.client.create_model_version(submission.model, source, run.info.run_id, tags=submission.tags)

    def _find_run(self, submission: Submission) -> Any:
        """The MLflow run of an attempt that ended before the version was made."""
        wanted = " and ".join(f"tags.{name} = '{value}'" for name, value in submission.key.items())
        found = self.client.search_runs([self.experiment_id()], wanted, max_results=1)
        return found[0] if found else None

    def _model(self, domain: str) -> RegisteredModel | None:
        found = self.client.search_registered_models(f"name = '{model_name(domain)}'")
        return _model_of(found[0]) if found else None

    def _named(self, domain: str, number: int, alias: str = "") -> NamedVersion:
        found = self.client.get_model_version(model_name(domain), str(number))
        return NamedVersion(found.name, number, alias, dict(found.tags))


def _model_of(found: Any) -> RegisteredModel:
    aliases = {name: int(number) for name, number in found.aliases.items()}
    return RegisteredModel(found.name, dict(found.tags), aliases)


def _version_of(found: Any) -> StoredVersion:
    created = datetime.fromtimestamp(found.creation_timestamp / 1000, UTC)
    return StoredVersion(int(found.version), created, str(found.run_id), dict(found.tags))
