"""What an MLflow server or database has: versions, and the aliases, tags and cards that say what they are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from modit.core.errors import ConfigError
from modit.core.services import REGISTRY, expect_declared
from modit.release.registry.model_version import PREFIX, NamedVersion, domain_of, model_name

if TYPE_CHECKING:
    from mlflow import MlflowClient


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
