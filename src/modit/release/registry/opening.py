"""Opening a registry: that of a run to write into, or one that is there to read."""

from __future__ import annotations

import os
from pathlib import Path

from modit.core.errors import LockedError
from modit.core.lock import locked
from modit.release.registry.address import TRACKING_VARIABLE, registry_folder, tracking_uri
from modit.release.registry.registry import MlflowRegistry
from modit.release.registry.registry_file import expect_models

_LOCK_SECONDS = 60.0


def open_registry(run_uri: str) -> MlflowRegistry:
    """The registry of a run, to write into; a SQLite one is made when it is not there, with its files beside it.

    Raises:
        ConfigError: as `tracking_uri`.
    """
    uri = tracking_uri(run_uri)
    if os.environ.get(TRACKING_VARIABLE):
        local = f"file://{run_uri}/mlflow_artifacts" if Path(run_uri).is_absolute() else None
        return MlflowRegistry(uri, local if uri.startswith("sqlite") else None)
    folder = registry_folder(run_uri)
    # MLflow makes its tables at the first call, which two runs at once would break.
    with locked(folder, lambda who: LockedError(f"{folder} is being made by {who}"), _LOCK_SECONDS):
        registry = MlflowRegistry(uri, f"file://{folder}/artifacts")
        registry.experiment_id()
    return registry


def existing_registry(uri: str) -> MlflowRegistry:
    """The registry at an address, to read; a SQLite one is not made.

    Raises:
        ConfigError: there is no SQLite database, or no model in it.
    """
    expect_models(uri)
    return MlflowRegistry(uri)
