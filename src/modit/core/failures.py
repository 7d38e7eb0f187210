"""Which tasks of a run have failed: `.failed/STEP[.DOMAIN][.SHARD].json`. One domain's failure leaves out that domain.

A failed task is noted when it fails, and the note goes when the task starts again or its step succeeds. Later tasks of
the same domain do not run; steps that run once work on the domains that are left.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property

from modit.core.errors import ModitError, UpstreamFailedError
from modit.core.registry import Registry
from modit.core.step import WHOLE, Shard, Step
from modit.core.storage import Storage

FAILED_FOLDER = ".failed"
_LONGEST_REASON = 1000


@dataclass(frozen=True)
class Failure:
    """A task that failed.

    Attributes:
        step: name of its step.
        domain: its domain, or None.
        reason: what the error said.
    """

    step: str
    domain: str | None
    reason: str

    def __str__(self) -> str:
        return f"step {self.step} failed: {self.reason}"


class Failures:
    """The failed tasks of a run, as one task finds them when it starts."""

    def __init__(self, run: Storage, registry: Registry, step: Step, domain: str | None, shard: Shard = WHOLE) -> None:
        """Reads nothing yet.

        Args:
            run: the run's folder.
            registry: the steps.
            step: of the task.
            domain: of the task, or None.
            shard: of the task.
        """
        self.place, self.registry = run.at(FAILED_FOLDER), registry
        self.step, self.domain, self.shard = step, domain, shard

    def start(self) -> None:
        """Forgets that this task failed before.

        Raises:
            UpstreamFailedError: the task cannot run, because one that it depends on failed, or every domain has.
        """
        self._remove(self._name)
        for failure in self._upstream:
            if failure.domain is None or failure.domain == self.domain:
                raise UpstreamFailedError(f"not run, because {failure}")

    def left_out(self) -> dict[str, str]:
        """Returns the domains that the step must do without -> why."""
        failed = reversed(self._upstream)  # the earliest failure of a domain is the last to be set
        return {each.domain: f"{each.step}: {each.reason}" for each in failed if each.domain}

    def note(self, error: BaseException) -> None:
        """Notes that the task failed.

        Args:
            error: what ended it.
        """
        said = str(error) if isinstance(error, ModitError) else f"{type(error).__name__}: {error}"
        failure = Failure(self.step.name, self.domain, said[:_LONGEST_REASON])
        self.place.write_json(self._name, asdict(failure))

    def succeeded(self) -> None:
        """Forgets every failure of the step's tasks for this domain, those of other shards too."""
        for name, failure in self._all.items():
            if (failure.step, failure.domain) == (self.step.name, self.domain):
                self._remove(name)

    @property
    def _name(self) -> str:
        shard = "" if self.shard == WHOLE else self.shard.name
        return ".".join(filter(None, (self.step.name, self.domain, shard, "json")))

    @cached_property
    def _all(self) -> dict[str, Failure]:
        found = {name: self.place.read_json(name) for name in sorted(self.place.sizes()) if name[0] != "."}
        return {name: Failure(**content) for name, content in found.items() if content}

    @cached_property
    def _upstream(self) -> list[Failure]:
        """Those that the task depends on, in the order of the steps."""
        order = {step.name: number for number, step in enumerate(self.registry.steps)}
        upstream = self.registry.upstream(self.step.inputs)
        found = [failure for failure in self._all.values() if failure.step in upstream]
        return sorted(found, key=lambda failure: (order[failure.step], failure.domain or ""))

    def _remove(self, name: str) -> None:
        if name in self._all:
            self.place.remove_file(name)
