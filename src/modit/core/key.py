"""The key of a task: a hash of all that its outputs depend on, kept in parts so that a difference can be named."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from modit.core.artifacts import ArtifactStore
from modit.core.code_version import code_parts, folder_parts
from modit.core.params import RunParams
from modit.core.registry import Registry
from modit.core.run_config import NewDomain, RunConfig
from modit.core.step import WHOLE, Shard, Step
from modit.core.storage import Storage, digest_of
from modit.core.window import Days, WindowLedger, files_of_days

KeyParts = dict[str, Any]

# What every step works through without importing it: what its context gives it, and how parts of shards are joined.
STEP_CODE = ("modit.core.context", "modit.core.shards")

# Part of a key, and how to name it where it differs.
_COMPARED_PARTS = (
    ("catalogue", "catalogue"),
    ("history", "accepted windows"),
    ("watched", "folders beside the run"),
    ("left_out", "domains that failed"),
    ("code", "code"),
)


def key_parts(
    registry: Registry,
    step: Step,
    domain: str | None,
    store: ArtifactStore,
    config: RunConfig,
    params: RunParams,
    domains: list[str],
    left_out: dict[str, str],
) -> KeyParts:
    """Everything that the step's outputs depend on.

    Args:
        registry: where the step is from.
        step: the step.
        domain: its domain, or None.
        store: the run's artifacts; all inputs must be there.
        config: what the run is about.
        params: with preset and overrides.
        domains: those to work on, for inputs that are per domain.
        left_out: eligible domains that have failed -> why.

    Returns:
        JSON value; `digest_of` it is the key.

    Raises:
        ArtifactError: an input is missing.
        ConfigError: the catalogue is missing.
    """
    if config.new_domain and step.new_domain != "own":
        return _started_from_parts(registry, step, store, config, config.new_domain)
    parts: KeyParts = {
        "step": step.name,
        "domain": domain,
        "seed": params.seed if config.seed is None else config.seed,
        "params": params.sections(step.params),
        "inputs": {
            label: store.get(name, of).digest for label, name, of in _input_places(registry, step, domain, domains)
        },
        "code": step_code(registry, step),
    }
    if step.reads_catalogue:
        days = config.window.days(params.window) if config.window else None
        parts["catalogue"] = catalogue_parts(config.catalogue, days)
        if days:
            ledger = WindowLedger(store.run, config.catalogue)
            parts["window"] = {"start": days.start.isoformat(), "end": days.end.isoformat()}
            parts["history"] = ledger.digests_before(days.end, params.window.history_windows)
    if step.watches:
        parts["watched"] = _watched(step, domain, store.run.parent)
    if left_out and not step.per_domain:
        parts["left_out"] = left_out
    if step.decides_domains:
        parts["domains"] = config.model_dump(mode="json")["domains"]
    return parts


def _started_from_parts(
    registry: Registry, step: Step, store: ArtifactStore, config: RunConfig, new: NewDomain
) -> KeyParts:
    """What the artifacts depend on that a run of a new domain takes from another run, or makes of those."""
    other = new.started_from(store)
    taken = {name: other.get(name).digest for name in step.outputs}
    parts: KeyParts = {"step": step.name, "domain": None, "seed": None, "params": {}, "inputs": taken, "code": {}}
    if step.new_domain == "extended":
        parts |= {"domains": [new.name], "code": step_code(registry, step), "scorer": new.scorer}
        if new.entry_point:
            module = new.entry_point[0]
            parts["code"] |= code_parts((module,), (module.split(".")[0],))
        else:
            parts["catalogue"] = catalogue_parts(config.catalogue, table="items")
    return parts


def _watched(step: Step, domain: str | None, beside: Storage) -> dict[str, list[str]]:
    """The names of the files in each folder, without hidden ones, which come and go; what they hold never changes."""
    places = {name: beside.at(name, domain) if domain else beside.at(name) for name in step.watches}
    return {name: sorted(file for file in place.sizes() if file[0] != ".") for name, place in places.items()}


def step_code(registry: Registry, step: Step) -> dict[str, str]:
    """Returns hashes of all that a step imports, of what its context gives it, and of the folders that it uses."""
    imported = code_parts((registry.run_module(step), *STEP_CODE), ("modit", registry.package))
    return imported | folder_parts(registry.package, step.uses_folders)


def catalogue_parts(catalogue: str, days: Days | None = None, table: str | None = None) -> dict[str, str]:
    """sha256 of each file of the input, by its relative name; neither times nor places count.

    Args:
        catalogue: address of the input.
        days: leave out the daily partitions of other days; None for all files.
        table: leave out other tables; None for all of them.

    Raises:
        ConfigError: there is no file at this address.
    """
    storage = Storage(catalogue)
    return {name: storage.sha256(name) for name in files_of_days(storage, days, table)}


def explain(before: KeyParts, after: KeyParts) -> list[str]:
    """What differs between two keys, a line each; empty when nothing does."""
    lines = [
        f"{name} {before.get(name)!r} -> {after.get(name)!r}"
        for name in ("seed", "domains", "window", "scorer")
        if _differ(name, before, after)
    ]
    old, new = dict(_flat(before["params"], "params")), dict(_flat(after["params"], "params"))
    lines += [f"{name} {old.get(name)!r} -> {new.get(name)!r}" for name in _changed(old, new)]
    lines += [f"input {name} changed" for name in _changed(before["inputs"], after["inputs"])]
    for name, label in _COMPARED_PARTS:
        changed = _changed(before.get(name, {}), after.get(name, {}))
        lines += [f"{label} changed: {', '.join(changed)}"] if changed else []
    return lines


def _input_places(
    registry: Registry, step: Step, domain: str | None, domains: list[str]
) -> Iterator[tuple[str, str, str | None]]:
    for name in step.inputs:
        if not registry.writer[name].per_domain:
            yield name, name, None
        elif step.per_domain:
            yield name, name, domain
        else:
            yield from ((f"{name}/{each}", name, each) for each in domains)


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield name, value
        return
    for part, below in value.items():
        yield from _flat(below, f"{name}.{part}")


def _changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    missing = object()
    return [name for name in sorted({*before, *after}) if before.get(name, missing) != after.get(name, missing)]


def _differ(name: str, before: KeyParts, after: KeyParts) -> bool:
    return before.get(name) != after.get(name)


@dataclass(frozen=True)
class Task:
    """What is to be done.

    Attributes:
        step: the declaration.
        domain: of a step that runs per domain, or None.
        shard: which share of the items; it is no part of the key.
        parts: what the key is made of.
        force: do it even if nothing has changed.
    """

    step: Step
    domain: str | None
    shard: Shard = WHOLE
    parts: KeyParts = field(default_factory=dict)
    force: bool = False

    @cached_property
    def key(self) -> str:
        """Hash of all that the outputs depend on."""
        return digest_of(self.parts)

    @property
    def logger(self) -> logging.Logger:
        """Of the step and its domain."""
        return logging.getLogger(".".join(filter(None, ("modit", self.step.name, self.domain))))
