"""What a task of a step or of a command is, wherever it runs: its command line, and what its end means."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from modit.core.names import SKIPPED_NO_DATA
from modit.core.step import Resources

# Exit statuses of `python -m components` that trying again cannot change: a wrong command line, and a refusal.
FINAL = (2, 3)
# It ran out of memory; it was not run, because a task that it depends on has failed (modit.core.command).
OUT_OF_MEMORY, UPSTREAM_FAILED = 4, 5


class OutOfMemoryException(AirflowException):
    """A step needed more memory than there was; the next try holds half as much at once (docs/adr/0021)."""


class UpstreamFailedException(AirflowFailException):
    """A task that this one depends on has failed: nothing was run, and nobody is told again."""


MORE_PARTS = RetryRule(
    OutOfMemoryException,
    RetryAction.RETRY,
    retry_delay=timedelta(seconds=5),
    reason="out of memory: the next try takes its batches in twice as many parts",
)
RETRY_POLICY = ExceptionRetryPolicy([MORE_PARTS])


@dataclass(frozen=True)
class Command:
    """What a task of `modit COMMAND` needs; of a step, its declaration says it.

    Attributes:
        name: of the task.
        needs: the services that it reaches, as of a step.
        image: the container image that it runs in.
        resources: what it needs.
        timeout_minutes: the longest that it may take.
    """

    name: str
    needs: frozenset[str]
    image: str = "release"
    resources: Resources = field(default_factory=lambda: Resources(cpus=2, memory_gb=8))
    timeout_minutes: float = 60.0


class PythonTask(ABC):
    """A task that runs `python ...` and ends as that says."""

    # Whether its last line is JSON that other tasks read.
    returns: bool = True

    @abstractmethod
    def command_line(self, *more: str) -> list[str]:
        """The arguments of `python`, as a list, so that no shell expands anything in it.

        Args:
            more: where the last line is to be written, for tasks that return one.
        """

    @abstractmethod
    def failure(self, status: int, said: object, killed_for_memory: bool = False) -> AirflowException:
        """The error of a task whose command ended badly."""

    @staticmethod
    @abstractmethod
    def result(line: Any) -> Any:
        """The XCom that the last line makes."""


class StepTask(PythonTask):
    """A task of a step. Its XCom is the JSON line that the step ends with: addresses and digests, never data.

    The XCom of the step that decides the domains is the list of their names, for other steps to be mapped over.

    Attributes:
        step: name of the step.
        run_uri: the run's folder (templated).
        conf: JSON of the run's fields (templated).
        domain: of a mapped task, or None.
        shard: of a task that shares the items with others, `I/N`, or None.
    """

    template_fields: Sequence[str] = ("run_uri", "conf", "domain")
    template_fields_renderers: ClassVar = {"conf": "json"}

    step: str
    run_uri: str
    conf: str
    domain: str | None
    shard: str | None

    def command_line(self, *more: str) -> list[str]:
        """The arguments of `python -m components`, as a list, so that no shell expands anything in it."""
        domain = ["--domain", self.domain] if self.domain else []
        shard = ["--shard", self.shard] if self.shard else []
        return ["-m", "components", self.step, "--run", self.run_uri, "--conf", self.conf, *domain, *shard, *more]

    def failure(self, status: int, said: object, killed_for_memory: bool = False) -> AirflowException:
        """The error of a task whose step ended badly.

        Args:
            status: of its process.
            said: what it said last.
            killed_for_memory: whether the kernel ended it, as far as the executor can see.

        Returns:
            AirflowFailException for a refusal, which is not retried; OutOfMemoryException; UpstreamFailedException;
            AirflowException else.
        """
        if status in FINAL:
            return AirflowFailException(f"step {self.step} refused: {said}")
        if status == UPSTREAM_FAILED:
            return UpstreamFailedException(f"step {self.step}: {said}")
        if status == OUT_OF_MEMORY or killed_for_memory:
            return OutOfMemoryException(f"step {self.step} ran out of memory (status {status}): {said}")
        return AirflowException(f"step {self.step} ended with status {status}: {said}")

    @staticmethod
    def result(line: str | dict[str, Any]) -> dict[str, Any] | list[str]:
        """The XCom that the step's last line makes.

        Raises:
            AirflowSkipException: there is nothing new to work on; what follows is skipped, and the run is green.
        """
        found = json.loads(line) if isinstance(line, str) else line
        if found.get("outcome") == SKIPPED_NO_DATA:
            raise AirflowSkipException(f"{SKIPPED_NO_DATA}: {found['reason']}")
        return found.get("domains", found)


class CommandTask(PythonTask):
    """A task of `modit COMMAND`, in the same places as steps. It is not tried again: a refusal stays one.

    Attributes:
        order: `command`, `of` (what it is about, such as modit-popular/3, or none) and `options` (name -> value; empty
            ones are left out) (templated).
        returns: whether its last line is JSON for other tasks.
    """

    template_fields: Sequence[str] = ("order",)
    template_fields_renderers: ClassVar = {"order": "json"}

    order: dict[str, Any]

    def command_line(self, *more: str) -> list[str]:
        """The arguments of `python -m modit.cli`.

        Raises:
            AirflowFailException: the task before has ordered nothing, as where a person marked it a success.
        """
        if not self.order:
            raise AirflowFailException("there is no order: the task before this one gave none")
        options = [f"--{name}={value}" for name, value in self.order["options"].items() if value]
        about = [self.order["of"]] if self.order.get("of") else []
        return ["-m", "modit.cli", self.order["command"], *about, *options, *(more if self.returns else ())]

    def failure(self, status: int, said: object, killed_for_memory: bool = False) -> AirflowException:
        """The error of a command that was refused."""
        return AirflowFailException(f"modit {self.order['command']} ended with status {status}: {said}")

    @staticmethod
    def result(line: Any) -> Any:
        """What the command returns; the words that it said last, if it returns nothing."""
        try:
            return json.loads(line) if isinstance(line, str) else line
        except ValueError:
            return line
