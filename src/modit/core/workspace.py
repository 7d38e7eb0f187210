"""The folder of a running task: unfinished outputs, scratch, a lock, and a note for the next attempt."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from modit.core.errors import RunBusyError
from modit.core.locks import locked
from modit.core.memory import kernel_kills, least_parts, ran_out_of_memory
from modit.core.step import WHOLE, Shard
from modit.core.storage import Storage

WORK_FOLDER = ".work"


def cache_folder() -> Path:
    """Where copies of remote artifacts live: MODIT_CACHE, else `~/.cache/modit`."""
    return Path(os.environ.get("MODIT_CACHE", Path.home() / ".cache" / "modit"))


class Workspace:
    """The folder of a (run, step, domain), or of a shard of that; in a local run, so that outputs are only renamed."""

    def __init__(
        self, run: Storage, step: str, domain: str | None, shard: Shard = WHOLE, folder: Path | None = None
    ) -> None:
        """Names the folder of a task of `step`; `folder` takes the place of the task's own."""
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


ATTEMPT_FILE = "attempt.json"
# States. An attempt killed by SIGKILL, as the kernel does when memory runs out, stays in state RUNNING.
RUNNING, OUT_OF_MEMORY, ENDED = "running", "out of memory", "ended"


class Attempt:
    """One attempt at a task, noted in the run itself: the next may be made by another process, container or machine.

    The next attempt takes its batches in twice as many parts if this one ran out of memory: it reported that, or the
    kernel of its machine has killed processes for memory since, or it was killed and the cause is unknown.

    Attributes:
        parts: number of parts that batches are taken in; given for an attempt that another process has begun.
    """

    def __init__(self, run: Storage, task: str, key: str, parts: int = 1) -> None:
        self.place, self.key, self.parts = run.at(WORK_FOLDER, task), key, parts

    def begin(self) -> int:
        """Notes that the attempt begins; returns in how many parts to take batches."""
        before = self.place.read_json(ATTEMPT_FILE)
        self.parts = least_parts()
        if before and before["key"] == self.key:
            self.parts = max(self.parts, before["parts"] * (2 if _died_of_memory(before) else 1))
        self._note(RUNNING)
        return self.parts

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Notes how the work inside fails. A note that memory ran out is not overwritten."""
        try:
            yield
        except BaseException as error:
            try:
                self._note(OUT_OF_MEMORY if ran_out_of_memory(error) else ENDED)
            except Exception:
                # The store may be what failed; the error of the work must not be lost for that.
                logging.getLogger("modit.attempt").warning("%s: not noted", self.place.uri, exc_info=True)
            raise

    def finish(self) -> None:
        """Removes the note: the task is done."""
        self.place.remove_file(ATTEMPT_FILE)

    def _note(self, outcome: str) -> None:
        noted = self.place.read_json(ATTEMPT_FILE) or {}
        if outcome == ENDED and noted.get("outcome") == OUT_OF_MEMORY:
            return  # another process of the team ran out of memory, and this one ended for that
        seen = noted["kernel"] if outcome != RUNNING and "kernel" in noted else kernel_kills()
        self.place.write_json(ATTEMPT_FILE, {"key": self.key, "parts": self.parts, "outcome": outcome, "kernel": seen})


def _died_of_memory(before: dict[str, Any]) -> bool:
    seen, now = before["kernel"], kernel_kills()
    if seen and now and seen[0] == now[0]:  # the same boot of the same machine
        return now[1] > seen[1] or before["outcome"] == OUT_OF_MEMORY
    return before["outcome"] in (OUT_OF_MEMORY, RUNNING)
