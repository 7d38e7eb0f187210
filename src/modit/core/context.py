"""What a step's `run` gets: its inputs, outputs, parameters and scratch, and nothing else of the run."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modit.core.artifacts import ArtifactStore, Manifest
from modit.core.errors import ArtifactError, ConfigError
from modit.core.params import RunParams
from modit.core.registry import Registry
from modit.core.run_config import RunConfig
from modit.core.step import WHOLE, Shard, Step
from modit.core.storage import Storage
from modit.core.window import Days, WindowLedger, files_of_days
from modit.core.workspace import Workspace

REFUSED_FOLDER = "refused"


class DeclaredParams:
    """The sections that a step declares. Another one could change the outputs without changing the key: refused."""

    def __init__(self, params: RunParams, step: Step) -> None:
        self._params, self._step = params, step

    def __getattr__(self, name: str) -> Any:
        if name.rstrip("_") not in self._step.params:
            declared = ", ".join(self._step.params) or "none"
            raise ConfigError(f"step {self._step.name!r} does not declare the section {name!r}; declared: {declared}")
        return getattr(self._params, name)


@dataclass(frozen=True)
class StepContext:
    """What a step works with.

    Attributes:
        step: the declaration.
        domains: the eligible domains that have not failed in an earlier step; empty until they are decided.
        left_out: the eligible domains that have failed -> why.
        params: the sections that the step declares, typed; any other is refused.
        seed: the run's seed.
        run_config: catalogue, domains, preset and overrides of the run.
        logger: of the step.
        key: hash of all that the outputs depend on.
        days: the days of the run's window, or None when it reads everything.
        shard: which of the items' buckets this task takes, of a step that is sharded.
        notes: of a step that is sharded: folder of the run for small files that all shards and later attempts find;
            dropped after success.
    """

    step: Step
    domains: tuple[str, ...]
    params: DeclaredParams
    seed: int
    run_config: RunConfig
    logger: logging.Logger
    key: str
    notes: Storage
    left_out: dict[str, str]
    _domain: str | None
    _registry: Registry
    _store: ArtifactStore
    _workspace: Workspace
    days: Days | None = None
    shard: Shard = WHOLE

    @property
    def domain(self) -> str:
        """The domain of this task.

        Raises:
            ArtifactError: the step runs once, for all domains.
        """
        if self._domain is None:
            raise ArtifactError(f"step {self.step.name!r} runs once and has no domain of its own: use domains")
        return self._domain

    def input(self, name: str) -> Path:
        """Folder of an input, verified; it must not be written to. A per-domain step gets its own domain's artifact.

        Raises:
            ArtifactError: the step does not declare it, it is damaged, or it exists per domain and the step runs once.
        """
        self._expect_declared(name, self.step.inputs, "input")
        per_domain = self._registry.writer[name].per_domain
        if per_domain and not self.step.per_domain:
            raise ArtifactError(f"step {self.step.name!r} runs once and {name!r} is per domain: use inputs_by_domain")
        return self._store.read(name, self.domain if per_domain else None)

    def inputs_by_domain(self, name: str) -> dict[str, Path]:
        """Folder of a per-domain input for every eligible domain, for steps that run once.

        Raises:
            ArtifactError: the step does not declare it, it is not per domain, or one is missing or damaged.
        """
        self._expect_declared(name, self.step.inputs, "input")
        if not self._registry.writer[name].per_domain or self.step.per_domain:
            raise ArtifactError(f"step {self.step.name!r}: {name!r} has one folder here: use input")
        return {domain: self._store.read(name, domain) for domain in self.domains}

    def output(self, name: str) -> Path:
        """Empty folder to write an output into; it takes its place in the run when the step succeeds.

        Raises:
            ArtifactError: the step does not declare it.
        """
        self._expect_declared(name, self.step.outputs, "output")
        return self._workspace.output(name)

    def lineage(self) -> list[Manifest]:
        """Manifests of the inputs and of all that they were made from, of every eligible domain, in pipeline order.

        Raises:
            ArtifactError: one is missing.
        """
        upstream = self._registry.upstream(self.step.inputs)
        return [
            self._store.get(name, domain)
            for step in self._registry.steps
            if step.name in upstream
            for name in step.outputs
            for domain in (self.domains if step.per_domain else (None,))
        ]

    @property
    def run_uri(self) -> str:
        """Address of the run, for records that must name it."""
        return self._store.run.uri

    @property
    def scratch(self) -> Path:
        """Local folder that survives a crash; an attempt with the same key finds it again. Dropped after success."""
        return self._workspace.scratch(self.key)

    def started_from(self, name: str) -> Path:
        """Folder of an artifact of the run that this one adds a domain to, verified; it must not be written to.

        Raises:
            ArtifactError: this run adds no domain, or the artifact is missing or damaged.
        """
        self._expect_declared(name, self.step.outputs, "output")
        if self.run_config.new_domain is None:
            raise ArtifactError(f"step {self.step.name!r}: this run adds no domain to another one")
        return self.run_config.new_domain.started_from(self._store).read(name)

    def started_from_by_domain(self, name: str) -> dict[str, Path]:
        """Folders of an artifact of the domains of the run that this one adds a domain to, of those that have it.

        Returns:
            Domain -> folder, in the order of the names; empty in a run that adds no domain.

        Raises:
            ArtifactError: the step does not declare it, or it is damaged.
        """
        self._expect_declared(name, self.step.of_started_from, "artifact of the run that it starts from")
        if (new := self.run_config.new_domain) is None:
            return {}
        found, other = new.artifacts_there(self._registry, self.step, self._store), new.started_from(self._store)
        return {domain: other.read(name, domain) for kind, domain in found if kind == name}

    def catalogue(self, table: str | None = None) -> Path:
        """The run's input as a local folder: of a remote one, a copy of the files that the run's days need.

        Args:
            table: the only one that is needed, such as `items`; None for all.

        Raises:
            ConfigError: there is no file at its address.
        """
        place = Storage(self.run_config.catalogue)
        if place.local is not None:
            return place.local
        folder = self.scratch / "input" / place.name
        for name in files_of_days(place, self.days, table):
            place.download(name, folder / name)
        return folder

    @property
    def needs_domains(self) -> bool:
        """Whether the run's pipeline has steps that run for each domain."""
        return self._registry.needs_domains(self.run_config.pipeline)

    def accepted_windows(self) -> list[dict[str, Any]]:
        """Records of the windows that were accepted last before this one, oldest first; none without a window."""
        return self._ledger.before(self.days.end, self.params.window.history_windows) if self.days else []

    def accept_window(self, record: dict[str, Any]) -> None:
        """Notes this run's window as accepted; writing it again after a crash changes nothing."""
        if self.days:
            self._ledger.accept(self.days, record)

    def held_back(self) -> str | None:
        """Why nothing of this run may be promoted, or None: it is a backfill, or not the newest accepted window."""
        if not self.run_config.promote:
            return "a backfill never promotes"
        if self.days is None or self.run_config.new_domain:  # a new domain has no newer version to displace
            return None
        newer = self._ledger.names_after(self.days.end)
        return f"its window ends {self.days.end}, one that ends {newer[-1][:10]} is accepted" if newer else None

    def keep_refused(self, folder: Path) -> str:
        """Moves what explains a refusal to `refused/STEP/` in the run, where it is no artifact; returns its address."""
        place = self._store.run.at(REFUSED_FOLDER, self.step.name)
        place.publish(folder, "facts.json")
        return place.uri

    @property
    def _ledger(self) -> WindowLedger:
        return WindowLedger(self._store.run, self.run_config.catalogue)

    def _expect_declared(self, name: str, declared: tuple[str, ...], what: str) -> None:
        if name not in declared:
            raise ArtifactError(f"step {self.step.name!r} does not declare the {what} {name!r}; declared: {declared}")
