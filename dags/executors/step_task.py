"""What a task of a step is, wherever it runs: its command line, and what its end means."""

from __future__ import annotations

import json
from typing import Any

from airflow.sdk.exceptions import AirflowSkipException

# What a step says when there is nothing to work on (modit.core.verdict, which is too heavy to import here).
SKIPPED_NO_DATA = "SKIPPED_NO_DATA"
# Exit statuses of `python -m components` that trying again cannot change: a wrong command line, and a refusal.
FINAL = (2, 3)

TEMPLATED = ("run_uri", "conf", "domain")


class StepTask:
    """A task of a step. Its XCom is the JSON line that the step ends with: addresses and digests, never data.

    The XCom of the step that decides the domains is the list of their names, for other steps to be mapped over.

    Attributes:
        step: name of the step.
        run_uri: the run's folder (templated).
        conf: JSON of the run's fields (templated).
        domain: of a mapped task, or None.
        shard: of a task that shares the items with others, `I/N`, or None.
    """

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
