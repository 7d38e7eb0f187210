"""What the next attempt at a task must know of this one: whether it ran out of memory, and in how many parts."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from modit.core.memory import kernel_kills, least_parts, ran_out_of_memory
from modit.core.storage import Storage
from modit.core.workspace import WORK_FOLDER

FILE = "attempt.json"
# Outcomes. An attempt that a kill without a word ended, as the kernel does it for memory, stays at work for ever.
AT_WORK, OUT_OF_MEMORY, ENDED = "at work", "out of memory", "ended"


class Attempt:
    """One attempt at a task, noted in the run itself: the next may be made by another process, container or machine.

    The next attempt takes its batches in twice as many parts where this one ran out of memory: it said so, or the
    kernel of its machine has killed for memory meanwhile, or it ended without a word and nothing tells why.
    """

    def __init__(self, run: Storage, task: str, key: str, parts: int = 1) -> None:
        """Args: `run` the run; `task` step and domain; `key` hash of all that it depends on; `parts` if begun."""
        self.place, self.key, self.parts = run.at(WORK_FOLDER, task), key, parts

    def begin(self) -> int:
        """Notes that the attempt begins.

        Returns:
            In how many parts to take batches.
        """
        before = self.place.read_json(FILE)
        self.parts = least_parts()
        if before and before["key"] == self.key:
            self.parts = max(self.parts, before["parts"] * (2 if _died_of_memory(before) else 1))
        self._note(AT_WORK)
        return self.parts

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Notes how the work inside ends where it ends badly; that it was memory is never noted over."""
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
        """Forgets the attempt: the task is done."""
        with contextlib.suppress(FileNotFoundError):
            self.place.filesystem.rm_file(f"{self.place.root}/{FILE}")

    def _note(self, outcome: str) -> None:
        noted = self.place.read_json(FILE) or {}
        if outcome == ENDED and noted.get("outcome") == OUT_OF_MEMORY:
            return  # another process of the team ran out of memory, and this one ended for that
        seen = noted["kernel"] if outcome != AT_WORK and "kernel" in noted else kernel_kills()
        self.place.write_json(FILE, {"key": self.key, "parts": self.parts, "outcome": outcome, "kernel": seen})


def _died_of_memory(before: dict[str, Any]) -> bool:
    seen, now = before["kernel"], kernel_kills()
    same_machine = seen is not None and now is not None and seen[0] == now[0]
    if same_machine and now is not None and now[1] > seen[1]:
        return True
    return before["outcome"] == OUT_OF_MEMORY or (before["outcome"] == AT_WORK and not same_machine)
