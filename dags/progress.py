"""What a person sees of a run under Airflow: a line for each task when it ends, and each refusal once."""

from __future__ import annotations

import ast
import json
import re
import time
from collections.abc import Callable
from typing import TextIO

AIRFLOW_LINE = re.compile(r"\S+Z \[(?P<level>\w+) *\] (?P<message>.*?) \[(?P<logger>[\w.]+)\] ")
STARTED = "Running command: "
ENDED = re.compile(r"Command exited with return code (-?\d+)")
# `command.py` ends a refused step with STEP: KIND: MESSAGE, whose message may have several lines.
REFUSAL = re.compile(r"(?P<step>\w+): (?P<kind>\w+Error): (?P<message>.*)")
# What a log line says before its message.
LOG_LINE = re.compile(r"^\d\d:\d\d:\d\d \w+ [\w.]+: ")
REFUSED, UPSTREAM_FAILED = 3, 5
# What is shown of the log of a task that crashed.
LAST_LINES = 5


class Progress:
    """Reads the log of `airflow dags test`, whose tasks run one after the other."""

    def __init__(self, out: TextIO, err: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts before the first line.

        Args:
            out: where lines about tasks go. A terminal also shows what the running task logs, in one line.
            err: where failures go.
            clock: seconds that only grow.
        """
        self.out, self.err, self.clock = out, err, clock
        self._task: str | None = None
        self._started = 0.0
        self._said: list[str] = []

    def read(self, line: str) -> None:
        """Takes the next line of the log.

        Args:
            line: without its end.
        """
        parsed = AIRFLOW_LINE.match(line)
        if parsed is None or not parsed["logger"].endswith("SubprocessHook"):
            return
        message = parsed["message"].rstrip()
        if message.startswith(STARTED):
            self._start(message.removeprefix(STARTED))
        elif found := ENDED.match(message):
            self._end_task(int(found[1]))
        elif message not in ("Output:", "") and self._task:
            self._said.append(message)
            self._show_now(LOG_LINE.sub("", message))

    def end(self) -> None:
        """Takes the end of the log. A task that has not ended was killed with Airflow."""
        if self._task:
            self._line("stopped")

    def _start(self, command: str) -> None:
        self._task, self._started, self._said = task_of(command), self.clock(), []
        self._show_now("")

    def _end_task(self, status: int) -> None:
        if status == 0:
            self._line(self._status())
        elif status == UPSTREAM_FAILED:
            self._line("not run")
        else:
            self._line("refused" if status == REFUSED else "failed")
            print(self._why(), file=self.err, flush=True)
        self._task = None

    def _status(self) -> str:
        try:
            return json.loads(self._said[-1])["status"]
        except (IndexError, ValueError, KeyError, TypeError):
            return "done"

    def _why(self) -> str:
        """The refusal in its own words, or the end of what a crashed task printed."""
        for number in reversed(range(len(self._said))):
            if found := REFUSAL.match(self._said[number]):
                return "\n".join([f"  {found['message']}", *self._said[number + 1 :]])
        return "\n".join(f"  {line}" for line in self._said[-LAST_LINES:])

    def _line(self, status: str) -> None:
        clear = "\r\x1b[K" if self.out.isatty() else ""
        print(f"{clear}  {self._task:<36} {status:<8} {took(self.clock() - self._started)}", file=self.out, flush=True)

    def _show_now(self, message: str) -> None:
        if self.out.isatty():
            self.out.write(f"\r\x1b[K  {self._task:<36} {message}"[:78])
            self.out.flush()


def task_of(command: str) -> str:
    """Returns how a person names a task: the step with its domain and shard, or the command of `modit`.

    Args:
        command: as Airflow logs it, a list in Python's syntax.
    """
    try:
        words = ast.literal_eval(command)
    except (ValueError, SyntaxError):
        return command[:36]
    name = words[3] if len(words) > 3 else words[-1]
    axes = [words[words.index(option) + 1] for option in ("--domain", "--shard") if option in words]
    return " ".join([name, *axes])


def took(seconds: float) -> str:
    """Returns a time as people read it, such as `12.3 s` or `4 min 05 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{seconds:6.1f} s" if seconds < 60 else f"{minutes:3d} min {rest:02d} s"
