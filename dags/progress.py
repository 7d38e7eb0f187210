"""What a person sees of a run under Airflow: a line for each task when it ends, and each refusal once."""

from __future__ import annotations

import ast
import json
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TextIO

from modit.core.step import Step

STARTED = "Running command: "
ENDED = re.compile(r"Command exited with return code (-?\d+)")
# `command.py` ends a refused step with STEP: KIND: MESSAGE, whose message may have several lines.
REFUSAL = re.compile(r"(?P<step>\w+): (?P<kind>\w+Error): (?P<message>.*)")
# What a log line says before its message.
LOG_LINE = re.compile(r"^\d\d:\d\d:\d\d \w+ [\w.]+: ")
REFUSED, UPSTREAM_FAILED = 3, 5
# What is shown of the log of a task that crashed.
LAST_LINES = 5
# Share of a run's effort that must have run before what is left is estimated.
ENOUGH = 0.1


@dataclass
class Running:
    """A task that has started.

    Attributes:
        name: as a person names it.
        started: when, in seconds of the clock.
        said: what it printed.
    """

    name: str
    started: float
    said: list[str]


class Progress:
    """Reads what tasks say, several at a time, and prints a line for each that ends."""

    def __init__(
        self,
        out: TextIO,
        err: TextIO,
        clock: Callable[[], float] = time.monotonic,
        steps: Iterable[Step] = (),
    ) -> None:
        """Starts before the first line.

        Args:
            out: where lines about tasks go. A terminal also shows what a running task logs, in one line.
            err: where failures go.
            clock: seconds that only grow.
            steps: of the pipeline, to say how many of its tasks have ended and about how long the others take; empty:
                that is not said.
        """
        self.out, self.err, self.clock = out, err, clock
        self._steps = {step.name: step for step in steps}
        self._running: dict[str, Running] = {}
        self._started: float | None = None
        self._ended = 0
        self._effort_ended = self._effort_ran = 0.0
        self._domains: int | None = None

    def read(self, source: str, message: str) -> None:
        """Takes the next thing that a task says.

        Args:
            source: which task, such as the name of its log.
            message: of the hook that runs its command: that it starts or has ended, or a line that it printed.
        """
        message = message.rstrip()
        task = self._running.get(source)
        if message.startswith(STARTED):
            name = task_of(message.removeprefix(STARTED))
            self._started = self.clock() if self._started is None else self._started
            self._running[source] = Running(name, self.clock(), [])
            self._show_now(self._running[source], "")
        elif task is None:
            return
        elif found := ENDED.match(message):
            del self._running[source]
            self._end_task(task, int(found[1]))
        elif message not in ("Output:", ""):
            task.said.append(message)
            self._show_now(task, LOG_LINE.sub("", message))

    def end(self) -> None:
        """Takes the end of the logs. A task that has not ended was killed with Airflow."""
        for task in self._running.values():
            self._line(task, "stopped")
        self._running.clear()

    def _end_task(self, task: Running, status: int) -> None:
        if status == 0:
            self._line(task, self._status(task))
        elif status == UPSTREAM_FAILED:
            self._line(task, "not run")
        else:
            self._line(task, "refused" if status == REFUSED else "failed")
            print(_why(task), file=self.err, flush=True)

    def _status(self, task: Running) -> str:
        try:
            result = json.loads(task.said[-1])
            if "domains" in result:
                self._domains = len(result["domains"])
            return result["status"]
        except (IndexError, ValueError, KeyError, TypeError):
            return "done"

    def _line(self, task: Running, status: str) -> None:
        step = self._steps.get(task.name.split()[0])
        if step:
            self._ended += 1
            self._effort_ended += step.effort
            self._effort_ran += step.effort if status == "ran" else 0.0
        count = self._count() if step else " " * len(self._count())
        clear = "\r\x1b[K" if self.out.isatty() else ""
        line = f"{count}  {task.name:<36} {status:<8} {took(self.clock() - task.started):<14}{self._left()}"
        print(f"{clear}{line.rstrip()}", file=self.out, flush=True)

    def _count(self) -> str:
        """How many tasks have ended, and of how many as soon as the domains are known."""
        if not self._steps:
            return ""
        whole = "?" if self._domains is None else str(sum(self._tasks(step) for step in self._steps.values()))
        return f"{self._ended:>3}/{whole}"

    def _left(self) -> str:
        """About how long the other tasks take, if they need as long for their effort as those that ran."""
        if self._domains is None or self._started is None:
            return ""
        whole = sum(step.effort * self._tasks(step) for step in self._steps.values())
        left = whole - self._effort_ended
        if self._effort_ran < ENOUGH * whole or left <= 0:
            return ""
        minutes = (self.clock() - self._started) * left / self._effort_ran / 60
        return f"about {minutes:.0f} min left" if minutes >= 1.5 else "about a minute left"

    def _tasks(self, step: Step) -> int:
        """How many tasks a step has once the domains are known."""
        return (self._domains or 0) if step.per_domain else 1

    def _show_now(self, task: Running, message: str) -> None:
        if self.out.isatty():
            others = len(self._running) - 1
            self.out.write(f"\r\x1b[K  {task.name}{f' (+{others})' if others else ''}: {message}"[:82])
            self.out.flush()


def _why(task: Running) -> str:
    """The refusal in its own words, or the end of what a crashed task printed."""
    for number in reversed(range(len(task.said))):
        if found := REFUSAL.match(task.said[number]):
            return "\n".join([f"  {found['message']}", *task.said[number + 1 :]])
    return "\n".join(f"  {line}" for line in task.said[-LAST_LINES:])


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
