"""Finds the model registry of a run, and opens it.

The registry is the server that MLFLOW_TRACKING_URI names, else a SQLite file beside the run. A SQLite file is looked at
before MLflow opens it: MLflow would make a file that is missing, and tables while another process is making them.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from modit.core.errors import ConfigError, LockedError
from modit.core.locks import locked
from modit.core.services import REGISTRY, expect_declared
from modit.core.storage import Storage
from modit.release.model_registry.mlflow_registry import MlflowRegistry

TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
_FOLDER, _SQLITE = ".registry", "sqlite:///"
_LOCK_SECONDS = 60.0
_logger = logging.getLogger(__name__)


def tracking_uri(run_uri: str) -> str:
    """Address of the registry: MLFLOW_TRACKING_URI, else SQLite beside the run, for all runs of the folder.

    Raises:
        ConfigError: The run is remote and the variable is not set; SQLite needs a local folder.
        GraphError: A step asks that does not declare the registry.
    """
    expect_declared(REGISTRY)
    return os.environ.get(TRACKING_VARIABLE) or local_registry(run_uri)


def local_registry(run_uri: str) -> str:
    """Address of the SQLite registry beside a run, which must be local."""
    return f"{_SQLITE}{_folder(run_uri)}/mlflow.db"


def registry_uri(run: str | None) -> str:
    """Address of the registry that a command means: MLFLOW_TRACKING_URI, else that of the run (a path or an address).

    Raises:
        ConfigError: Neither is given, or the run has no registry of its own.
    """
    if run is not None:
        return tracking_uri(Storage(run).uri)
    if chosen := os.environ.get(TRACKING_VARIABLE):
        return chosen
    raise ConfigError(f"which registry? Give --run, the run that registered the version, or set {TRACKING_VARIABLE}")


def open_registry(run_uri: str) -> MlflowRegistry:
    """The registry of a run, to write into; a SQLite one is made where it is missing, with its files beside it."""
    uri = tracking_uri(run_uri)
    if os.environ.get(TRACKING_VARIABLE):
        local = f"file://{run_uri}/mlflow_artifacts" if Path(run_uri).is_absolute() else None
        return MlflowRegistry(uri, local if uri.startswith("sqlite") else None)
    folder = _folder(run_uri)
    # MLflow makes its tables at the first call; two processes that do so at once would fail.
    with locked(folder, lambda who: LockedError(f"{folder} is being made by {who}"), _LOCK_SECONDS):
        registry = MlflowRegistry(uri, f"file://{folder}/artifacts")
        registry.experiment_id()
    return registry


def existing_registry(uri: str) -> MlflowRegistry:
    """The registry at an address, to read; a SQLite one is not made.

    Raises:
        ConfigError: There is no SQLite database, or no model in it.
    """
    path = _file_of(uri)
    if path and not path.exists():
        raise ConfigError(f"registry {uri}: there is no such file; name another registry or set {TRACKING_VARIABLE}")
    if path and not _has_model(uri, path):
        raise ConfigError(f"registry {uri} has no model yet")
    return MlflowRegistry(uri)


def has_models(uri: str) -> bool:
    """Whether a registry may have models: False for a SQLite file that is missing or has none; a server is not asked.

    Raises:
        ConfigError: The file is not an MLflow database.
    """
    path = _file_of(uri)
    return path is None or (path.exists() and _has_model(uri, path))


def runs_in_use(run_uri: str) -> set[str] | None:
    """Addresses of the runs with a model version that has an alias, by the registry of a run.

    None if the registry does not answer; empty where there is no registry yet.
    """
    from mlflow.exceptions import MlflowException

    try:
        uri = tracking_uri(run_uri)
        return existing_registry(uri).runs_with_alias()
    except ConfigError:
        return set()
    except MlflowException as error:
        _logger.warning("registry %s cannot be asked which versions are in use: %s", uri, error)
        return None


def _folder(run_uri: str) -> Path:
    beside = Storage(run_uri).parent.local
    if beside is None:
        raise ConfigError(
            f"{TRACKING_VARIABLE} is not set and run {run_uri} has no local folder beside it that could hold mlflow.db"
        )
    return beside / _FOLDER


def _file_of(uri: str) -> Path | None:
    return Path(uri.removeprefix(_SQLITE)).resolve() if uri.startswith(_SQLITE) else None


def _has_model(uri: str, path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            return database.execute("SELECT 1 FROM registered_models LIMIT 1").fetchone() is not None
    except sqlite3.Error as error:
        raise ConfigError(f"registry {uri} is not an MLflow database: {error}") from error
