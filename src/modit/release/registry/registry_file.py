"""SQLite registries, looked at before MLflow opens them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from modit.core.errors import ConfigError

_SQLITE = "sqlite:///"


def has_models(uri: str) -> bool:
    """Whether a registry may have models: False for a SQLite file that is not there or has none.

    MLflow would make the file, and make tables while another process is making them.

    Args:
        uri: of the registry; a server's is not asked.

    Raises:
        ConfigError: there is a file, and it is no MLflow database.
    """
    if not uri.startswith(_SQLITE):
        return True
    path = Path(uri.removeprefix(_SQLITE)).resolve()
    if not path.exists():
        return False
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            return database.execute("SELECT 1 FROM registered_models LIMIT 1").fetchone() is not None
    except sqlite3.Error as error:
        raise ConfigError(f"registry {uri} is no MLflow database: {error}") from error
