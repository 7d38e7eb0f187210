"""Which runs have model versions in use: those that an alias of the registry names."""

from __future__ import annotations

import logging
import os

from modit.release.registry import TRACKING_VARIABLE, MlflowRegistry

_logger = logging.getLogger(__name__)


def runs_in_use() -> set[str] | None:
    """Addresses of the runs, by the registry that MLFLOW_TRACKING_URI names.

    Returns:
        None if it cannot be asked; empty where the variable is not set, since each run has a registry of its own then.
    """
    uri = os.environ.get(TRACKING_VARIABLE)
    if not uri:
        return set()
    from mlflow.exceptions import MlflowException

    try:
        return MlflowRegistry(uri).runs_with_alias()
    except MlflowException as error:
        _logger.warning("%s %s cannot be asked which versions are in use: %s", TRACKING_VARIABLE, uri, error)
        return None
