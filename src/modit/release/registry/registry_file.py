"""SQLite registries, looked at before MLflow opens them.

MLflow would make a file that is not there, and make tables while another process is making them.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from modit.core.errors import ConfigError

_SQLITE = "sqlite:///"


def has_models(uri: str) -> bool:
    """Whether a registry may have models: False for a SQLite file that is not there or has none.

    Args:
        uri: of the registry; a server's is not asked.

    Raises:
        ConfigError: there is a file, and it is no MLflow database.
    """
    path = _file_of(uri)
    return path is None or (path.exists() and _has_model(uri, path))


def expect_models(uri: str) -> None:
    """Looks whether a registry has models; a server's is not asked.

    Raises:
        ConfigError: there is no SQLite database, or no model in it.
    """
    path = _file_of(uri)
    if path is not None and not _has_model(uri, path):
        raise ConfigError(f"registry {uri} has no model yet")


def _file_of(uri: str) -> Path | None:
    return Path(uri.removeprefix(_SQLITE)).resolve() if uri.startswith(_SQLITE) else None


def _has_model(uri: str, path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            return database.execute("SELECT 1 FROM registered_models LIMIT 1").fetchone() is not None
    except sqlite3.Error as error:
        raise ConfigError(f"registry {uri} is no MLflow database: {error}") from error
