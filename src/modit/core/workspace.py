"""The local folder of one task: outputs in the making, scratch that survives a crash, and a lock."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import AbstractContextManager
from pathlib import Path

from modit.core.errors import RunBusyError
from modit.core.lock import locked
from modit.core.shards import WHOLE, Shard
from modit.core.storage import Storage

WORK_FOLDER = ".work"


def cache_folder() -> Path:
    """Where copies of remote artifacts live: MODIT_CACHE, else `~/.cache/modit`."""
    return Path(os.environ.get("MODIT_CACHE", Path.home() / ".cache" / "modit"))


class Workspace:
    """The folder of a (run, step, domain), or of a shard of that.

    A local run holds it itself, so that outputs are renamed, not copied.
    """

    def __init__(
        self, run: Storage, step: str, domain: str | None, shard: Shard = WHOLE, folder: Path | None = None
    ) -> None:
        """Args: `run` the run; `step`, `domain` and `shard` of the task; `folder` to use instead of the task's own."""
        remote = cache_folder() / "work" / hashlib.sha256(run.uri.encode()).hexdigest()[:16]
        base = run.local / WORK_FOLDER if run.local else remote
        self.task = ".".join(filter(None, (step, domain, "" if shard == WHOLE else shard.name)))
        self.folder = folder or base / self.task

    def locked(self, wait: float = 0.0) -> AbstractContextManager[None]:
        """Holds the task for this process; the lock goes when the process does, however it ends.

        Args:
            wait: seconds to wait for it; 0 tries once.

        Raises:
            RunBusyError: another process holds it.
        """
        return locked(self.folder, lambda who: RunBusyError(f"{self.task} ({self.folder}) is being run by {who}"), wait)

    def start_outputs(self) -> None:
        """Drops outputs that an earlier attempt left unfinished."""
        shutil.rmtree(self.folder / "out", ignore_errors=True)

    def output(self, name: str) -> Path:
        """Folder of an output in the making."""
        folder = self.folder / "out" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def scratch(self, key: str) -> Path:
        """Folder that a later attempt with the same key finds again."""
        folder = self.folder / "scratch" / key[:16]
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def finish(self) -> None:
        """Drops outputs and scratch after success; the lock file stays, since others may wait on it."""
        for name in ("out", "scratch"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
