"""`python -m infra.compose_env --data FOLDER`: writes infra/compose/.env, its settings with fresh secrets."""

from __future__ import annotations

import argparse
import base64
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

FILE = Path(__file__).resolve().parent / "compose" / ".env"
_SOCKET = Path("/var/run/docker.sock")
_SECRETS = (
    "AIRFLOW_DATABASE_PASSWORD",
    "AIRFLOW_JWT_SECRET",
    "AIRFLOW_PASSWORD",
    "GRAFANA_PASSWORD",
    "MLFLOW_DATABASE_PASSWORD",
    "MODIT_API_KEYS",
    "OBJECTS_ACCESS_KEY",
    "OBJECTS_SECRET_KEY",
    "POSTGRES_PASSWORD",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the file, readable by its owner only. One that is there stays: its databases know its passwords.

    Args:
        arguments: the command line without the program's name; that of the process if None.

    Returns:
        0, or 1 if the file is there already.
    """
    parser = argparse.ArgumentParser(prog="python -m infra.compose_env", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="of catalogues; steps read it only")
    parser.add_argument("--file", type=Path, default=FILE, help="default: %(default)s")
    chosen = parser.parse_args(arguments)
    if not chosen.data.is_dir():
        parser.error(f"--data {chosen.data}: no such folder")
    try:
        descriptor = os.open(chosen.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        print(f"{chosen.file} is there already and stays as it is", file=sys.stderr)
        return 1
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.writelines(f"{name}={value}\n" for name, value in settings(chosen.data.resolve()).items())
    print(chosen.file)
    return 0


def settings(data: Path) -> dict[str, str]:
    """The variables that compose.yaml demands.

    Args:
        data: absolute path of the catalogues' folder on the engine's host.
    """
    return {
        "MODIT_DATA": str(data),
        "MODIT_IMAGES": "modit/{image}:dev",
        "DOCKER_GROUP": str(_SOCKET.stat().st_gid if _SOCKET.exists() else 0),
        "AIRFLOW_FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        **{name: secrets.token_hex(24) for name in _SECRETS},
    }


if __name__ == "__main__":
    sys.exit(main())
