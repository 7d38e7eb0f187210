"""A step in a process of its own, beside the Airflow that starts it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from dags.executors.step_task import FINAL, TEMPLATED, StepTask
from modit.core.step import Step

REPOSITORY = Path(__file__).resolve().parents[2]


class ProcessStep(StepTask, BaseOperator):
    """Runs a step as a child process."""

    template_fields: Sequence[str] = TEMPLATED
    template_fields_renderers = {"conf": "json"}
    ui_color = "#e8f0ea"

    def __init__(
        self, *, step: str, run_uri: str, conf: str, domain: str | None = None, shard: str | None = None, **kwargs: Any
    ) -> None:
        """Takes the fields of `StepTask`, and in `kwargs` what every operator takes."""
        super().__init__(**kwargs)
        self.step, self.run_uri, self.conf, self.domain, self.shard = step, run_uri, conf, domain, shard

    @staticmethod
    def arguments_for(step: Step) -> dict[str, Any]:
        """What the executor takes from the declaration: nothing, the process has what the worker has."""
        return {}

    def execute(self, context: Any) -> dict[str, Any] | list[str]:
        """Runs the step and reads its last line.

        Raises:
            AirflowFailException: the step refused; trying again changes nothing.
            AirflowException: it failed in another way.
        """
        self.hook = SubprocessHook()
        command = [sys.executable, *self.command_line()]
        done = self.hook.run_command(command, env={**os.environ, "PYTHONUNBUFFERED": "1"}, cwd=str(REPOSITORY))
        if done.exit_code:
            failure = AirflowFailException if done.exit_code in FINAL else AirflowException
            raise failure(f"step {self.step} ended with status {done.exit_code}: {done.output}")
        return self.result(done.output)

    def on_kill(self) -> None:
        """Ends the step's process."""
        self.hook.send_sigterm()


OPERATOR = ProcessStep
