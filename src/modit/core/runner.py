"""Runs one step of a run: skips it when nothing that it depends on has changed, publishes what it wrote as a whole."""

from __future__ import annotations

import logging
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from modit.core.artifacts import ArtifactStore, Manifest, digest_of_files, list_files
from modit.core.attempt import Attempt
from modit.core.cache import CrossRunCache
from modit.core.context import DeclaredParams, StepContext
from modit.core.errors import ArtifactError, ConfigError, ContractError, InsufficientDataError
from modit.core.key import KeyParts, explain, key_parts
from modit.core.lease import NightLease
from modit.core.memory import batch_parts, in_parts
from modit.core.params import Params, load_params
from modit.core.registry import Registry
from modit.core.run_config import open_run
from modit.core.step import Step
from modit.core.storage import Storage, canonical_json, digest_of
from modit.core.team import Team
from modit.core.verdict import SKIPPED_NO_DATA
from modit.core.workspace import Workspace, cache_folder

__all__ = ["StepContext", "StepResult", "StepRunner"]

DOMAINS_FILE = "domains.json"
DOMAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

Status = Literal["ran", "cached", "reused", "helped"]


@dataclass(frozen=True)
class StepResult:
    """What became of a task; small, because orchestrators keep it.

    Attributes:
        step: name of the step.
        domain: of the task, or None.
        status: "ran"; "cached": this run had it; "reused": copied from another run;
            "helped": another process of the team published.
        outputs: address and digest of each output.
        domains: the eligible domains, from the step that decides them.
        outcome: one word of the step on its work, such as `SKIPPED_NO_DATA`, from its first output's summary.
        reason: why.
    """

    step: str
    domain: str | None
    status: Status
    outputs: dict[str, dict[str, str]]
    domains: list[str] | None = None
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
        """Opens the run.

        Args:
            registry: the steps.
            run_uri: the run's folder, a path or an fsspec address.
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
        self.params = load_params(params_path, self.config.preset, self.config.overrides)
        self.seed = self.params.seed if self.config.seed is None else self.config.seed

    def execute(self, name: str, domain: str | None = None, *, force: bool = False) -> StepResult:
        """Runs a step, or finds that it need not run.

        Args:
            name: the step.
            domain: for a step that runs per domain.
            force: run it even if nothing has changed.

        Raises:
            GraphError: no such step.
            ConfigError: a domain is missing, or must not be given, or is not eligible.
            ArtifactError: an input is missing or damaged, or the step wrote no file into an output.
            RunBusyError: another process is running the same task, or another night of the catalogue is not over.
            ContractError: the input is refused.
        """
        step = self.registry.get(name)
        logger = logging.getLogger(f"modit.{name}" + (f".{domain}" if domain else ""))
        if self.team.rank:
            return self._help(step, domain, logger)
        if self.config.window is None:
            return self._execute(step, domain, force, logger)
        lease = NightLease(self.run, self.config.catalogue, 60 * self.params.runner.lease_minutes)
        try:
            with lease.held():
                result = self._execute(step, domain, force, logger)
        except ContractError:
            lease.release()  # refused: the night is over, and a repaired one need not wait
            raise
        if step == self.registry.steps[-1] or result.outcome == SKIPPED_NO_DATA:
            lease.release()  # the night is over
        return result

    def _execute(self, step: Step, domain: str | None, force: bool, logger: logging.Logger) -> StepResult:
        workspace = Workspace(self.run, step.name, domain)
        with workspace.locked():
            parts = self._key_parts(step, domain)
            reasons = ["forced"] if force else self._reasons(step, domain, parts)
            manifests = self._reuse(step, domain, parts, workspace) if reasons and not force else None
            attempt = Attempt(self.run, workspace.task, digest_of(parts))
            at_work = attempt.begin() if reasons and not manifests else 0
            # Only steps that can use an accelerator compute as a team.
            self.team.share(at_work if step.resources.gpus > 0 else 0)
            if not reasons:
                logger.info("cached: nothing that it depends on has changed")
                return self._result(step, domain, "cached", self._present(step, domain))
            if manifests:
                logger.info("reused from %s", manifests[0].origin)
                workspace.finish()
                return self._result(step, domain, "reused", manifests)
            logger.info("runs because %s%s", "; ".join(reasons), _in_how_many(at_work))
            with attempt.watched(), in_parts(at_work):
                manifests = self._work(step, domain, parts, workspace, logger)
            workspace.finish()
            attempt.finish()
            return self._result(step, domain, "ran", manifests)

    def _help(self, step: Step, domain: str | None, logger: logging.Logger) -> StepResult:
        """Computes along with the first process where it asks for that; what comes out here is thrown away."""
        if parts := self.team.share(0):
            with tempfile.TemporaryDirectory(prefix="modit-") as folder:
                workspace = Workspace(self.run, step.name, domain, Path(folder))
                attempt = Attempt(self.run, workspace.task, digest_of(self._key_parts(step, domain)), parts)
                with attempt.watched(), in_parts(parts):
                    self.registry.load_run(step)(self._context(step, domain, "helper", workspace, logger))
        return StepResult(step.name, domain, "helped", {})

    def why(self, name: str, domain: str | None = None, *, force: bool = False) -> list[str]:
        """Says whether `execute` would run the step, and why; a line each."""
        step = self.registry.get(name)
        parts = self._key_parts(step, domain)
        reasons = ["forced"] if force else self._reasons(step, domain, parts)
        if reasons:
            return [f"{name} would run because {reason}" for reason in reasons]
        return [f"{name}: cached since {manifest.created}: {manifest.kind}" for manifest in self._present(step, domain)]

    def domains(self) -> list[str]:
        """The eligible domains; empty while they are not decided."""
        return self._domains_and_reasons()[0]

    def _domains_and_reasons(self) -> tuple[list[str], dict[str, str]]:
        deciding = self.registry.domain_step
        if deciding is None or self.store.find(deciding.outputs[0]) is None:
            return [], {}
        content = self.store.read_json(deciding.outputs[0], DOMAINS_FILE)
        return content["domains"], content.get("skipped", {})

    def _key_parts(self, step: Step, domain: str | None) -> KeyParts:
        domains, skipped = self._domains_and_reasons()
        self._check_domain(step, domain, domains, skipped)
        return key_parts(self.registry, step, domain, self.store, self.config, self.params, domains)

    def _check_domain(self, step: Step, domain: str | None, domains: list[str], skipped: dict[str, str]) -> None:
        if not step.per_domain:
            if domain is not None:
                raise ConfigError(f"--domain {domain!r}: step {step.name!r} runs once, for all domains")
            return
        if domain is None:
            raise ConfigError(f"step {step.name!r} runs per domain: give --domain, one of {domains}")
        if domain not in domains:
            reason = f"; skipped: {skipped[domain]}" if domain in skipped else ""
            raise ConfigError(f"--domain {domain!r} is not eligible in this run; eligible: {domains}{reason}")

    def _reasons(self, step: Step, domain: str | None, parts: KeyParts) -> list[str]:
        key, reasons = digest_of(parts), []
        for name in step.outputs:
            manifest = self.store.find(name, domain)
            if manifest is None:
                reasons.append(f"no output yet: {name}")
            elif manifest.key != key:
                reasons += explain(manifest.key_parts, parts) or [f"the key of {name} changed"]
            elif not self.store.is_complete(manifest):
                reasons.append(f"output {name} lacks files that its manifest lists")
        return list(dict.fromkeys(reasons))

    def _present(self, step: Step, domain: str | None) -> list[Manifest]:
        return [self.store.get(name, domain) for name in step.outputs]

    def _reuse(self, step: Step, domain: str | None, parts: KeyParts, workspace: Workspace) -> list[Manifest] | None:
        if not (self.params.runner.cross_run_cache and step.reusable):
            return None
        return CrossRunCache(self.store).reuse(step, domain, digest_of(parts), workspace)

    def _work(
        self, step: Step, domain: str | None, parts: KeyParts, workspace: Workspace, logger: logging.Logger
    ) -> list[Manifest]:
        key = digest_of(parts)
        context = self._context(step, domain, key, workspace, logger)
        workspace.start_outputs()
        summary = self.registry.load_run(step)(context) or {}
        if batch_parts() > 1:
            summary = {**summary, "batch_parts": batch_parts()}
        manifests = [self._describe(step, name, domain, workspace, parts, summary) for name in step.outputs]
        if step.decides_domains:
            _check_domains(workspace.output(step.outputs[0]) / DOMAINS_FILE)
        for manifest in manifests:
            self.store.write(workspace.output(manifest.kind), manifest)
        CrossRunCache(self.store).record(key)
        return manifests

    def _context(
        self, step: Step, domain: str | None, key: str, workspace: Workspace, logger: logging.Logger
    ) -> StepContext:
        return StepContext(
            step=step,
            domains=tuple(self.domains()),
            params=cast(Params, DeclaredParams(self.params, step)),
            seed=self.seed,
            run_config=self.config,
            logger=logger,
            key=key,
            days=self.config.window.days(self.params.window) if self.config.window else None,
            _domain=domain,
            _registry=self.registry,
            _store=self.store,
            _workspace=workspace,
        )

    def _describe(
        self, step: Step, name: str, domain: str | None, workspace: Workspace, parts: KeyParts, summary: dict[str, Any]
    ) -> Manifest:
        files = list_files(workspace.output(name))
        return Manifest(name, domain, files, digest_of_files(files), summary, step.name, digest_of(parts), parts)

    def _result(self, step: Step, domain: str | None, status: Status, manifests: list[Manifest]) -> StepResult:
        outputs = {
            manifest.kind: {"uri": self.store.at(manifest.kind, domain).uri, "digest": manifest.digest}
            for manifest in manifests
        }
        domains = self.domains() if step.decides_domains else None
        said = manifests[0].summary
        return StepResult(step.name, domain, status, outputs, domains, said.get("outcome"), said.get("reason"))


def _in_how_many(parts: int) -> str:
    return "" if parts == 1 else f"; batches in {parts} parts"


def _check_domains(path: Path) -> None:
    content = Storage(str(path.parent)).read_json(path.name)
    domains = (content or {}).get("domains")
    if not isinstance(domains, list) or any(not DOMAIN_NAME.fullmatch(str(name)) for name in domains):
        raise ArtifactError(f"{path}: field domains is {domains!r}; allowed: a list of names {DOMAIN_NAME.pattern}")
    if not domains:
        skipped = "; ".join(f"{name}: {reason}" for name, reason in (content or {}).get("skipped", {}).items())
        raise InsufficientDataError(f"no domain is eligible ({skipped or 'the catalogue has none'})")
