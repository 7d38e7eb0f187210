"""Runs one step as `python -m components STEP` in a process of its own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

REPOSITORY = Path(__file__).resolve().parent.parent
# What a step says when there is nothing to work on (modit.core.verdict, which is too heavy to import here).
SKIPPED_NO_DATA = "SKIPPED_NO_DATA"
# Exit statuses of `python -m components` that trying again cannot change: a wrong command line, and a refusal.
FINAL = (2, 3)


class StepOperator(BaseOperator):
    """One task of a step. Its XCom is the JSON line that the step ends with: addresses and digests, never data.

    The XCom of the step that decides the domains is the list of their names, for other steps to be mapped over.
    """

    template_fields: Sequence[str] = ("run_uri", "conf", "domain")
    template_fields_renderers = {"conf": "json"}
    ui_color = "#e8f0ea"

    def __init__(self, *, step: str, run_uri: str, conf: str, domain: str | None = None, **kwargs: Any) -> None:
        """Takes what the command line takes.

        Args:
            step: name of the step.
            run_uri: the run's folder (templated).
            conf: JSON of the run's fields (templated).
            domain: of a mapped task.
            kwargs: of every operator.
        """
        super().__init__(**kwargs)
        self.step, self.run_uri, self.conf, self.domain = step, run_uri, conf, domain

    def execute(self, context: Any) -> dict[str, Any] | list[str]:
        """Runs the step and reads its last line.

        Raises:
            AirflowFailException: the step refused; trying again changes nothing.
            AirflowSkipException: there is nothing new to work on; what follows is skipped, and the run is green.
            AirflowException: it failed in another way.
        """
        self.hook = SubprocessHook()
        result = self.hook.run_command(self.command(), env={**os.environ, "PYTHONUNBUFFERED": "1"}, cwd=str(REPOSITORY))
        if result.exit_code:
            failure = AirflowFailException if result.exit_code in FINAL else AirflowException
            raise failure(f"step {self.step} ended with status {result.exit_code}: {result.output}")
        line = json.loads(result.output)
        if line.get("outcome") == SKIPPED_NO_DATA:
            raise AirflowSkipException(f"{SKIPPED_NO_DATA}: {line['reason']}")
        return line.get("domains", line)

    def command(self) -> list[str]:
        """The command line, without a shell, so that nothing in it is expanded."""
        domain = ["--domain", self.domain] if self.domain else []
        return [sys.executable, "-m", "components", self.step, "--run", self.run_uri, "--conf", self.conf, *domain]

    def on_kill(self) -> None:
        """Ends the step's process."""
        self.hook.send_sigterm()
