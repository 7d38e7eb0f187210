"""Where the registry of a run is: the server that MLFLOW_TRACKING_URI names, else a SQLite file beside the run."""

from __future__ import annotations

import os
from pathlib import Path

from modit.core.errors import ConfigError
from modit.core.services import REGISTRY, expect_declared
from modit.core.storage import Storage

TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
_FOLDER = ".registry"


def tracking_uri(run_uri: str) -> str:
    """Where MLflow keeps its records: MLFLOW_TRACKING_URI, else SQLite beside the run, for all runs of the folder.

    Raises:
        ConfigError: the run is remote and the variable is not set; SQLite needs a local folder.
        GraphError: a step asks that does not declare the registry.
    """
    expect_declared(REGISTRY)
    return os.environ.get(TRACKING_VARIABLE) or local_registry(run_uri)


def local_registry(run_uri: str) -> str:
    """The SQLite registry beside a run.

    Raises:
        ConfigError: the run is remote.
    """
    return f"sqlite:///{registry_folder(run_uri)}/mlflow.db"


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


def registry_folder(run_uri: str) -> Path:
    """Where the SQLite registry beside a run lies.

    Raises:
        ConfigError: the run is remote.
    """
    beside = Storage(run_uri).parent.local
    if beside is None:
        raise ConfigError(
            f"{TRACKING_VARIABLE} is not set and run {run_uri} has no local folder beside it that could hold mlflow.db"
        )
    return beside / _FOLDER
