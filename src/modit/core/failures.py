"""Which tasks of a run have failed: `.failed/STEP[.DOMAIN][.SHARD].json`. One domain's failure leaves out that domain.

A failed task is noted when it fails, and the note goes when the task starts again or its step succeeds. Later tasks of
the same domain do not run; steps that run once work on the domains that are left.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from modit.core.errors import ModitError, RunBusyError, SealedError, UpstreamFailedError
from modit.core.registry import Registry
from modit.core.step import WHOLE, Shard, Step
from modit.core.storage import Storage

FAILED_FOLDER = ".failed"
_LONGEST_REASON = 1000
# A task that ended with one of these did not begin to work: it says nothing of the domain.
_NOTHING_RAN = (RunBusyError, SealedError, UpstreamFailedError)


def note_failure(run: Storage, step: str, domain: str | None, shard: Shard, reason: str) -> None:
    """Notes that a task failed, unless it is noted: what the task itself said stays.

    Args:
        run: the run's folder.
        step: name of the step.
        domain: of the task, or None.
        shard: of the task.
        reason: what happened.
    """
    failure = {"step": step, "domain": domain, "reason": reason[:_LONGEST_REASON]}
    run.at(FAILED_FOLDER).create_json(_file_name(step, domain, shard), failure)


def _file_name(step: str, domain: str | None, shard: Shard) -> str:
    return ".".join(filter(None, (step, domain, "" if shard == WHOLE else shard.name, "json")))


class Failures:
    """The failed tasks of a run, as one of its tasks finds them when it starts. Each has `step`, `domain`, `reason`."""

    def __init__(self, run: Storage, registry: Registry, step: Step, domain: str | None, shard: Shard = WHOLE) -> None:
        self.run, self.place, self.registry = run, run.at(FAILED_FOLDER), registry
        self.step, self.domain, self.shard = step, domain, shard

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Forgets that this task failed before, and notes it if it fails now.

        Raises:
            UpstreamFailedError: the task cannot run, because one that it depends on failed.
        """
        self._remove(_file_name(self.step.name, self.domain, self.shard))
        for failed in self._upstream:
            if failed["domain"] in (None, self.domain):
                raise UpstreamFailedError(f"not run, because step {failed['step']} failed: {failed['reason']}")
        try:
            yield
        except BaseException as error:
            if not isinstance(error, _NOTHING_RAN):
                reason = str(error) if isinstance(error, ModitError) else f"{type(error).__name__}: {error}"
                note_failure(self.run, self.step.name, self.domain, self.shard, reason)
            raise

    def left_out(self) -> dict[str, str]:
        """Returns the domains that the step must do without -> why."""
        failed = reversed(self._upstream)  # the earliest failure of a domain is the last to be set
        return {each["domain"]: f"{each['step']}: {each['reason']}" for each in failed if each["domain"]}

    def succeeded(self) -> None:
        """Forgets every failure of the step's tasks for this domain, those of other shards too."""
        for name, failed in self._all.items():
            if (failed["step"], failed["domain"]) == (self.step.name, self.domain):
                self._remove(name)

    @cached_property
    def _all(self) -> dict[str, dict[str, Any]]:
        found = {name: self.place.read_json(name) for name in sorted(self.place.sizes()) if name[0] != "."}
        return {name: content for name, content in found.items() if content}

    @cached_property
    def _upstream(self) -> list[dict[str, Any]]:
        """Those that the task depends on, in the order of the steps."""
        upstream = self.registry.upstream(self.step.inputs)
        order = [step.name for step in self.registry.steps if step.name in upstream]
        found = [failed for failed in self._all.values() if failed["step"] in order]
        return sorted(found, key=lambda failed: (order.index(failed["step"]), failed["domain"] or ""))

    def _remove(self, name: str) -> None:
        if name in self._all:
            self.place.remove_file(name)
