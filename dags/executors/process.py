"""A step in a process of its own, beside the Airflow that starts it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException

from dags.executors.step_task import Command, CommandTask, PythonTask, StepTask
from dags.process_tree import end_tree
from modit.core.memory import kernel_kills
from modit.core.step import WHOLE, Shard, Step

REPOSITORY = Path(__file__).resolve().parents[2]


class ProcessTask(PythonTask, BaseOperator):
    """Runs a command as a child process."""

    def __init__(self, **kwargs: Any) -> None:
        """Takes what its base takes. A class without it gets other defaults in `partial` (3.3.2): `inlets` None."""
        super().__init__(**kwargs)

    @staticmethod
    def arguments_for(step: Step | Command) -> dict[str, Any]:
        """What the executor takes from the declaration: nothing, the process has what the worker has."""
        return {}

    def execute(self, context: Any) -> Any:
        """Runs the step and reads its last line.

        Raises:
            AirflowException: it failed; which one is told by `failure`.
        """
        self.hook, before = SubprocessHook(), kernel_kills()
        command = [sys.executable, *self.command_line()]
        done = self.hook.run_command(command, env={**os.environ, "PYTHONUNBUFFERED": "1"}, cwd=str(REPOSITORY))
        if done.exit_code:
            killed = done.exit_code == -signal.SIGKILL and kernel_kills() != before
            raise self.failure(done.exit_code, done.output, killed)
        return self.result(done.output)

    def on_kill(self) -> None:
        """Ends the step's process and all that it started."""
        if self.hook.sub_process is None or self.hook.sub_process.poll() is not None:
            return
        end_tree(self.hook.sub_process.pid)


class ProcessStep(StepTask, ProcessTask):
    """Runs a step as a child process."""

    ui_color = "#e8f0ea"

    def __init__(
        self, *, step: str, run_uri: str, conf: str, domain: str | None = None, shard: str | None = None, **kwargs: Any
    ) -> None:
        """Takes the fields of `StepTask`, and in `kwargs` what every operator takes."""
        super().__init__(**kwargs)
        self.step, self.run_uri, self.conf, self.domain, self.shard = step, run_uri, conf, domain, shard

    def failure(self, status: int, said: object, killed_for_memory: bool = False) -> AirflowException:
        """The error of a task whose step ended badly; a step that was killed is noted in the run, as it could not be.

        Args:
            status: of its process, negative for a signal.
            said: what it said last.
            killed_for_memory: whether the kernel ended it.
        """
        if status < 0:
            from modit.core.failures import note_failure
            from modit.core.storage import Storage

            shard = Shard.parse(self.shard or str(WHOLE))
            note_failure(Storage(self.run_uri), self.step, self.domain, shard, f"ended with status {status}")
        return super().failure(status, said, killed_for_memory)


class ProcessCommand(CommandTask, ProcessTask):
    """Runs `modit COMMAND` as a child process."""

    def __init__(self, *, order: dict[str, Any], returns: bool = False, **kwargs: Any) -> None:
        """Takes the fields of `CommandTask`, and in `kwargs` what every operator takes."""
        super().__init__(**kwargs)
        self.order, self.returns = order, returns


OPERATOR = ProcessStep
COMMAND_OPERATOR = ProcessCommand
