"""Which runs have model versions in use: those that an alias of the registry names."""

from __future__ import annotations

import logging

from modit.core.errors import ConfigError
from modit.release.registry.address import tracking_uri
from modit.release.registry.opening import existing_registry

_logger = logging.getLogger(__name__)


def runs_in_use(run_uri: str) -> set[str] | None:
    """Addresses of the runs, by the registry of a run.

    Args:
        run_uri: of any run beside them.

    Returns:
        None if it cannot be asked; empty where there is no registry yet.
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
