"""Runs one step of a run: skips it when nothing that it depends on has changed, publishes what it wrote as a whole."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from modit.core.artifacts import (
    ArtifactStore,
    Manifest,
    copy_artifacts,
    digest_of_files,
    expect_unsealed,
    list_files,
    record_key,
    reuse,
    seals_of,
)
from modit.core.context import DeclaredParams, StepContext
from modit.core.errors import (
    ArtifactError,
    ConfigError,
    ContractError,
    InsufficientDataError,
    UpstreamFailedError,
)
from modit.core.failures import Failures
from modit.core.key import Task, explain, key_parts
from modit.core.locks import night_lease
from modit.core.memory import in_parts
from modit.core.names import DOMAIN_NAME, SKIPPED_NO_DATA
from modit.core.registry import DOMAINS_FILE, Registry
from modit.core.run_config import open_run
from modit.core.services import reaching
from modit.core.shards import ShardParts, Work
from modit.core.step import WHOLE, Shard, Step
from modit.core.storage import Storage, canonical_json
from modit.core.workspace import Attempt, Workspace, cache_folder

__all__ = ["StepContext", "StepResult", "StepRunner", "Team"]

# Seconds that a shard waits while another one looks for parts or merges them.
JOIN_WAIT = 600.0


@dataclass(frozen=True)
class Team:
    """Where this process stands among those that run a task.

    Attributes:
        rank: its number; 0 is the first.
        share: gives every process the first one's value; all must call it together.
    """

    rank: int = 0
    share: Callable[[int], int] = lambda value: value


Status = Literal["ran", "cached", "reused", "helped", "part"]


@dataclass(frozen=True)
class StepResult:
    """Result of a task; small, because orchestrators store it.

    Attributes:
        step: name of the step.
        domain: of the task, or None.
        status: "ran"; "cached": this run had it; "reused": copied from another run;
            "helped": another process of the team published; "part": other shards are not done yet.
        outputs: address and digest of each output, or of its part.
        domains: the eligible domains, from the step that decides them.
        left_out: domains that a step that runs once did without, because they had failed -> why.
        outcome: one word of the step on its work, such as `SKIPPED_NO_DATA`, from its first output's summary.
        reason: why.
    """

    step: str
    domain: str | None
    status: Status
    outputs: dict[str, dict[str, str]]
    domains: list[str] | None = None
    left_out: dict[str, str] | None = None
    outcome: str | None = None
    reason: str | None = None

    def as_json(self) -> str:
        """One line of JSON, without the fields that this step has not."""
        fields = {name: value for name, value in vars(self).items() if name == "domain" or value is not None}
        return canonical_json(fields).decode()


class StepRunner:
    """Runs steps of one registry in one run."""

    def __init__(
        self,
        registry: Registry,
        run_uri: str,
        params_path: Path,
        conf: dict[str, Any] | None = None,
        team: Team | None = None,
    ) -> None:
        """Opens the run at `run_uri`, a path or an fsspec address.

        Args:
            registry: the steps.
            run_uri: the run's folder.
            params_path: params.yaml.
            conf: fields of `run.json`; needed when it is not there yet.
            team: the processes that run the step together; None for this one alone.

        Raises:
            ConfigError: conf, run.json or params.yaml hold something that is not allowed.
        """
        self.registry, self.team = registry, team or Team()
        self.run = Storage(run_uri)
        self.store = ArtifactStore(self.run, cache_folder())
        self.config = open_run(self.run, conf)
        self.pipeline = registry.pipeline(self.config.pipeline) if registry.pipelines else None
        self.params = registry.load_params(params_path, self.config.preset, self.config.overrides)
        self.seed = self.params.seed if self.config.seed is None else self.config.seed

    def execute(self, name: str, domain: str | None = None, shard: Shard = WHOLE, *, force: bool = False) -> StepResult:
        """Runs a step, or finds that it need not run.

        Args:
            name: the step.
            domain: for a step that runs per domain.
            shard: for a step that is sharded; the shard that ends last joins the parts of all.
            force: run it even if nothing has changed.

        Raises:
            GraphError: no such step.
            ConfigError: a domain is missing, or must not be given, or is not eligible; or the step is not sharded.
            ArtifactError: an input is missing or damaged, or the step wrote no file into an output.
            RunBusyError: another process is running the same task, or another night of the catalogue is not over.
            ContractError: the input is refused.
            UpstreamFailedError: a task that this one depends on has failed, or every domain has.
        """
        step = self.registry.get(name)
        if shard != WHOLE and not step.sharded:
            raise ConfigError(f"--shard {shard}: step {name!r} is not sharded, one task does all of it")
        if self.team.rank:
            return self._help(step, domain)
        if self.config.window is None or self.config.new_domain:
            return self._execute(step, domain, shard, force)
        lease = night_lease(self.run, self.config.catalogue, 60 * self.params.runner.lease_minutes)
        try:
            with lease.held():
                result = self._execute(step, domain, shard, force)
        except ContractError:
            lease.release()  # refused: the night is over, and a repaired one need not wait
            raise
        if self._is_over(step) or result.outcome == SKIPPED_NO_DATA:
            lease.release()
        return result

    def _is_over(self, step: Step) -> bool:
        """Whether the run has all that its pipeline ends with, after this step."""
        ends = self.pipeline.ends if self.pipeline else ()
        return not set(ends).isdisjoint(step.outputs) and all(
            self.store.find(name, domain)
            for name in ends
            for domain in (self.domains() if self.registry.writer[name].per_domain else (None,))
        )

    def _execute(self, step: Step, domain: str | None, shard: Shard, force: bool) -> StepResult:
        workspace = Workspace(self.run, step.name, domain, shard)
        with workspace.locked():
            self._check_domain(step, domain)
            failures = Failures(self.run, self.registry, step, domain, shard)
            with failures.noted():
                task = self._task(step, domain, shard, force)
                if shard != WHOLE:
                    result = self._execute_shard(task, workspace)
                else:
                    result = self._found(task, workspace) or self._publish(task, workspace, self._work(task, workspace))
            if result.status != "part":
                failures.succeeded()
            return result

    def _execute_shard(self, task: Task, own: Workspace) -> StepResult:
        """Makes the part of one shard, unless it is there. The last shard to finish merges all parts."""
        whole = Workspace(self.run, task.step.name, task.domain)
        with whole.locked(JOIN_WAIT):
            found = self._found(task, whole)
        if found:
            return found
        left = ShardParts(self.store, task)
        if task.force or not left.find(task.shard):
            left.put(own, self._described(task, own, self._work(task, own)))
            own.finish()
        with whole.locked(JOIN_WAIT):
            return self._join(task, left, whole)

    def _join(self, task: Task, left: ShardParts, whole: Workspace) -> StepResult:
        found = left.find_all()
        if all(found.values()):
            # Locks are of one machine: on another one a shard may have joined and removed the parts meanwhile.
            try:
                left.join(whole)
            except ArtifactError:
                if self._reasons(task):
                    raise
            else:
                if task.force or self._reasons(task):
                    return self._publish(task, whole, Work.of_shards(task.step, [each[0] for each in found.values()]))
        if not self._reasons(task):
            return self._result(task, "ran", self._present(task))
        missing = [str(shard) for shard, manifests in found.items() if not manifests]
        task.logger.info("shard %s is done; waits for %s", task.shard, ", ".join(missing))
        return self._result(task, "part", found[task.shard])

    def _found(self, task: Task, workspace: Workspace) -> StepResult | None:
        """Returns the artifacts that this run or another one has; None if the step must run."""
        reasons = ["forced"] if task.force else self._reasons(task)
        if not reasons:
            self.team.share(0)
            task.logger.info("cached: nothing that it depends on has changed")
            return self._result(task, "cached", self._present(task))
        expect_unsealed(self.run, task.domain, reasons)
        if manifests := self._of_other_runs(task, workspace):
            self.team.share(0)
            task.logger.info("reused from %s", manifests[0].origin)
            workspace.finish()
            return self._result(task, "reused", manifests)
        task.logger.info("runs because %s", "; ".join(reasons))
        return None

    def _help(self, step: Step, domain: str | None) -> StepResult:
        """Computes together with the first process if that asks for it; the output of this process is discarded."""
        if parts := self.team.share(0):
            task = self._task(step, domain)
            with tempfile.TemporaryDirectory(prefix="modit-") as folder:
                workspace = Workspace(self.run, step.name, domain, folder=Path(folder))
                with Attempt(self.run, workspace.task, task.key, parts).watched(), in_parts(parts):
                    self._call(task, workspace)
        return StepResult(step.name, domain, "helped", {})

    def why(self, name: str, domain: str | None = None, *, force: bool = False) -> list[str]:
        """Says whether `execute` would run the step, and why; a line each."""
        step = self.registry.get(name)
        self._check_domain(step, domain)
        task = self._task(step, domain)
        reasons = ["forced"] if force else self._reasons(task)
        if reasons:
            return [f"{name} would run because {reason}" for reason in reasons]
        return [f"{name}: cached since {manifest.created}: {manifest.kind}" for manifest in self._present(task)]

    def is_cached(self, name: str, domain: str | None = None) -> bool:
        """Whether `execute` would find everything there; an error says what is missing for knowing it."""
        return not self._reasons(self._task(self.registry.get(name), domain))

    def domains(self) -> list[str]:
        """The eligible domains; empty while they are not decided."""
        return self._domains_and_skipped()[0]

    def _domains_and_skipped(self) -> tuple[list[str], dict[str, str]]:
        deciding = self.registry.domain_step
        if deciding is None or self.store.find(deciding.outputs[0]) is None:
            return [], {}
        content = self.store.read_json(deciding.outputs[0], DOMAINS_FILE)
        return content["domains"], content.get("skipped", {})

    def _task(self, step: Step, domain: str | None, shard: Shard = WHOLE, force: bool = False) -> Task:
        """A task with the parts of its key.

        Raises:
            UpstreamFailedError: no domain is left that it could work on.
        """
        eligible = self.domains()
        failed = Failures(self.run, self.registry, step, domain).left_out()
        left_out = {name: reason for name, reason in failed.items() if name in eligible}
        if eligible and len(left_out) == len(eligible):
            raise UpstreamFailedError(f"not run, because every domain failed: {next(iter(left_out.values()))}")
        domains = tuple(name for name in eligible if name not in left_out)
        task = Task(step, domain, shard, domains, left_out, force)
        parts = key_parts(self.registry, task, self.store, self.config, self.params)
        if step.watches and domain in seals_of(self.run) and (made := self.store.find(step.outputs[0], domain)):
            parts["watched"] = made.key_parts.get("watched")  # what came later does not concern what is sealed
        return replace(task, parts=parts)

    def _check_domain(self, step: Step, domain: str | None) -> None:
        domains, skipped = self._domains_and_skipped()
        if not step.per_domain:
            if domain is not None:
                raise ConfigError(f"--domain {domain!r}: step {step.name!r} runs once, for all domains")
            return
        if domain is None:
            raise ConfigError(f"step {step.name!r} runs per domain: give --domain, one of {domains}")
        if domain not in domains:
            reason = f"; skipped: {skipped[domain]}" if domain in skipped else ""
            raise ConfigError(f"--domain {domain!r} is not eligible in this run; eligible: {domains}{reason}")

    def _reasons(self, task: Task) -> list[str]:
        reasons = []
        for name in task.step.outputs:
            manifest = self.store.find(name, task.domain)
            if manifest is None:
                reasons.append(f"no output yet: {name}")
            elif manifest.key != task.key:
                reasons += explain(manifest.key_parts, task.parts) or [f"the key of {name} changed"]
            elif not self.store.is_complete(manifest):
                reasons.append(f"output {name} lacks files that its manifest lists")
        return list(dict.fromkeys(reasons))

    def _present(self, task: Task) -> list[Manifest]:
        return [self.store.get(name, task.domain) for name in task.step.outputs]

    def _of_other_runs(self, task: Task, workspace: Workspace) -> list[Manifest] | None:
        """Copies artifacts of the run that this one adds a domain to, or of the cache; None if the step must run."""
        if self.config.new_domain and task.step.new_domain == "taken":
            other = self.config.new_domain.started_from(self.store)
            found = [other.get(name) for name in task.step.outputs]
            return copy_artifacts(other, found, self.store, workspace, key=task.key, key_parts=task.parts)
        if task.force or not (self.params.runner.cross_run_cache and task.step.reusable):
            return None
        return reuse(self.store, task.step, task.domain, task.key, workspace)

    def _work(self, task: Task, workspace: Workspace) -> Work:
        """Calls the step's `run`, which writes into the workspace."""
        attempt = Attempt(self.run, workspace.task, task.key)
        parts = attempt.begin()
        # Only steps that can use an accelerator compute as a team.
        self.team.share(parts if task.step.resources.gpus > 0 else 0)
        if parts > 1:
            task.logger.info("batches in %d parts", parts)
        workspace.start_outputs()
        started = time.monotonic()
        with attempt.watched(), in_parts(parts):
            summary = self._call(task, workspace) or {}
        attempt.finish()
        if parts > 1:
            summary = {**summary, "batch_parts": parts}
        return Work(summary, round(time.monotonic() - started, 3))

    def _call(self, task: Task, workspace: Workspace) -> dict[str, object] | None:
        run = self.registry.load_run(task.step)
        with reaching(task.step.name, task.step.needs):
            return run(self._context(task, workspace))

    def _publish(self, task: Task, workspace: Workspace, work: Work) -> StepResult:
        manifests = self._described(task, workspace, work)
        if task.step.decides_domains:
            _check_domains(workspace.output(task.step.outputs[0]) / DOMAINS_FILE)
        for manifest in manifests:
            self.store.write(workspace.output(manifest.kind), manifest)
        record_key(self.store, task.key)
        if task.step.sharded:
            ShardParts(self.store, task).drop()
        workspace.finish()
        return self._result(task, "ran", manifests)

    def _context(self, task: Task, workspace: Workspace) -> StepContext:
        return StepContext(
            step=task.step,
            domains=task.domains,
            left_out=task.left_out,
            params=DeclaredParams(self.params, task.step),
            seed=self.seed,
            run_config=self.config,
            logger=task.logger,
            key=task.key,
            days=self.config.window.days(self.params.window) if self.config.window else None,
            shard=task.shard,
            notes=ShardParts(self.store, task).notes,
            _domain=task.domain,
            _registry=self.registry,
            _store=self.store,
            _workspace=workspace,
        )

    def _described(self, task: Task, workspace: Workspace, work: Work) -> list[Manifest]:
        made = (work.summary, task.step.name, task.key, task.parts)
        files = {name: list_files(workspace.output(name)) for name in task.step.outputs}
        return [
            Manifest(name, task.domain, found, digest_of_files(found), *made, seconds=work.seconds)
            for name, found in files.items()
        ]

    def _result(self, task: Task, status: Status, manifests: list[Manifest]) -> StepResult:
        place = self.store if status != "part" else ShardParts(self.store, task).store(task.shard)
        outputs = {
            manifest.kind: {"uri": place.at(manifest.kind, task.domain).uri, "digest": manifest.digest}
            for manifest in manifests
        }
        domains = self.domains() if task.step.decides_domains else None
        left_out = (None if task.step.per_domain else task.parts.get("left_out")) or None
        outcome, reason = (manifests[0].summary.get(name) for name in ("outcome", "reason"))
        return StepResult(task.step.name, task.domain, status, outputs, domains, left_out, outcome, reason)


def _check_domains(path: Path) -> None:
    content = Storage(str(path.parent)).read_json(path.name)
    domains = (content or {}).get("domains")
    if not isinstance(domains, list) or any(not DOMAIN_NAME.fullmatch(str(name)) for name in domains):
        raise ArtifactError(f"{path}: field domains is {domains!r}; allowed: a list of names {DOMAIN_NAME.pattern}")
    if not domains:
        skipped = "; ".join(f"{name}: {reason}" for name, reason in (content or {}).get("skipped", {}).items())
        raise InsufficientDataError(f"no domain is eligible ({skipped or 'the catalogue has none'})")
