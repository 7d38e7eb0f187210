"""The key of a task: a hash of all that its outputs depend on, kept in parts so that a difference can be named.

The code of a step is a part of it: a hash of each module that the step imports, found without importing any.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from modit.core.artifacts import ArtifactStore
from modit.core.errors import ConfigError
from modit.core.params import RunParams
from modit.core.parsed_code import parsed_code
from modit.core.registry import Registry
from modit.core.run_config import NewDomain, RunConfig
from modit.core.step import WHOLE, Shard, Step
from modit.core.storage import Storage, digest_of
from modit.core.window import Days, WindowLedger, files_of_days

KeyParts = dict[str, Any]

# What every step works through without importing it: what its context gives it, and how parts of shards are joined.
STEP_CODE = ("modit.core.context", "modit.core.shards")

# Part of a key, and how to name it where it differs.
_COMPARED_PARTS = {
    "catalogue": "catalogue",
    "verdicts": "file of verdicts",
    "history": "accepted windows",
    "watched": "folders beside the run",
    "left_out": "domains that failed",
    "code": "code",
}


@dataclass(frozen=True)
class Task:
    """What is to be done.

    Attributes:
        step: the declaration.
        domain: of a step that runs per domain, or None.
        shard: which share of the items; it is no part of the key.
        domains: the eligible domains that have not failed.
        left_out: the eligible domains that have failed -> why.
        force: do it even if nothing has changed.
        parts: what the key is made of.
    """

    step: Step
    domain: str | None
    shard: Shard = WHOLE
    domains: tuple[str, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)
    force: bool = False
    parts: KeyParts = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """Hash of all that the outputs depend on."""
        return digest_of(self.parts)

    @property
    def logger(self) -> logging.Logger:
        """Of the step and its domain."""
        return logging.getLogger(".".join(filter(None, ("modit", self.step.name, self.domain))))


def key_parts(registry: Registry, task: Task, store: ArtifactStore, config: RunConfig, params: RunParams) -> KeyParts:
    """Everything that the outputs of a task depend on: a JSON value, whose `digest_of` is the key.

    Raises:
        ArtifactError: an input is missing.
        ConfigError: the catalogue is missing.
    """
    step = task.step
    if config.new_domain and step.new_domain != "own":
        return _started_from_parts(registry, step, store, config, config.new_domain)
    parts: KeyParts = {
        "step": step.name,
        "domain": task.domain,
        "seed": params.seed if config.seed is None else config.seed,
        "params": params.sections(step.params),
        "inputs": {label: store.get(name, of).digest for label, name, of in _input_places(registry, task)},
        "code": step_code(registry, step),
    }
    if config.new_domain:
        found = config.new_domain.artifacts_there(registry, step, store)
        parts["inputs"] |= {f"{name}/{domain} there": made.digest for (name, domain), made in found.items()}
    if step.reads_catalogue:
        days = config.window.days(params.window) if config.window else None
        parts["catalogue"] = catalogue_parts(config.catalogue, days)
        if not registry.needs_domains(config.pipeline):
            parts["needs_domains"] = False  # such a catalogue may lack what other pipelines need
        if days:
            ledger = WindowLedger(store.run, config.catalogue)
            parts["window"] = {"start": days.start.isoformat(), "end": days.end.isoformat()}
            parts["history"] = ledger.digests_before(days.end, params.window.history_windows)
    if step.watches:
        parts["watched"] = _watched(step, task.domain, store.run.parent)
    if task.left_out and not step.per_domain:
        parts["left_out"] = task.left_out
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
            parts["label_budget"] = new.label_budget
        elif new.file:
            parts["verdicts"] = {new.file: _sha256_of(new.file)}
        else:
            parts["catalogue"] = catalogue_parts(config.catalogue, table="items")
    return parts


def _sha256_of(file: str) -> str:
    try:
        return Storage(file).sha256()
    except OSError as error:
        raise ConfigError(f"scorer {file!r} cannot be read: {error}; allowed: a file that is there") from error


def _watched(step: Step, domain: str | None, beside: Storage) -> dict[str, list[str]]:
    """The names of the files in each folder, without hidden ones, which come and go; what they hold never changes."""
    places = {name: beside.at(name, domain) if domain else beside.at(name) for name in step.watches}
    return {name: sorted(file for file in place.sizes() if file[0] != ".") for name, place in places.items()}


def catalogue_parts(catalogue: str, days: Days | None = None, table: str | None = None) -> dict[str, str]:
    """sha256 of each file of the input, by its relative name; arguments and errors as of `files_of_days`."""
    storage = Storage(catalogue)
    return {name: storage.sha256(name) for name in files_of_days(storage, days, table)}


def explain(before: KeyParts, after: KeyParts) -> list[str]:
    """What differs between two keys, a line each; empty when nothing does."""
    old, new = (
        {name: parts.get(name) for name in ("seed", "domains", "window", "scorer", "label_budget")}
        | dict(_flat(parts["params"], "params"))
        for parts in (before, after)
    )
    lines = [f"{name} {old.get(name)!r} -> {new.get(name)!r}" for name in _changed(old, new)]
    lines += [f"input {name} changed" for name in _changed(before["inputs"], after["inputs"])]
    for name, label in _COMPARED_PARTS.items():
        changed = _changed(before.get(name, {}), after.get(name, {}))
        lines += [f"{label} changed: {', '.join(changed)}"] if changed else []
    return lines


def _input_places(registry: Registry, task: Task) -> Iterator[tuple[str, str, str | None]]:
    """Of each input: its label in the key, its name and its domain."""
    for name in task.step.inputs:
        if not registry.writer[name].per_domain:
            yield name, name, None
        elif task.step.per_domain:
            yield name, name, task.domain
        else:
            yield from ((f"{name}/{each}", name, each) for each in task.domains)


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield name, value
        return
    for part, below in value.items():
        yield from _flat(below, f"{name}.{part}")


def _changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    missing = object()
    return [name for name in sorted({*before, *after}) if before.get(name, missing) != after.get(name, missing)]


def step_code(registry: Registry, step: Step) -> dict[str, str]:
    """Returns hashes of all that a step imports, of what its context gives it, and of the folders that it uses."""
    imported = code_parts((registry.run_module(step), *STEP_CODE), ("modit", registry.package))
    return imported | folder_parts(registry.package, step.uses_folders)


def code_parts(modules: Sequence[str], packages: tuple[str, ...]) -> dict[str, str]:
    """Returns hashes of some modules and of all that they import, directly or not.

    Imports inside functions count, imports under `TYPE_CHECKING` do not. Files beside the modules, and in folders below
    that are no packages, such as templates, count. Comments and layout do not, nor do docstrings unless a module reads
    `__doc__`.

    Args:
        modules: names of the first modules, such as `components.pretrain.run`.
        packages: top-level packages to follow; others are taken as given by the environment.

    Returns:
        Module (or file beside modules, such as a template) -> 16 hexadecimal digits.
    """
    found: dict[str, str] = {}
    sources: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in sources:
            continue
        path = _source_of(name)
        if path is None:
            continue
        sources[name] = path
        found.update(_hashes_of_data_files(path.parent, name if path.stem == "__init__" else name.rpartition(".")[0]))
        waiting.extend(_imports(path, name, packages))
    docstrings = any(b"__doc__" in path.read_bytes() for path in sources.values())
    hashes = {name: parsed_code().hash(path.read_bytes(), docstrings) for name, path in sources.items()}
    parsed_code().save()
    return dict(sorted((found | hashes).items()))


def folder_parts(package: str, folders: tuple[str, ...]) -> dict[str, str]:
    """Returns the hash of each file in some folders next to a package, such as `feature_repo/sources.py`."""
    source = _source_of(package)
    root = source.parent.parent if source else Path()
    paths = [path for folder in folders for path in (root / folder).iterdir() if path.is_file()]
    found = {path.relative_to(root).as_posix(): path for path in paths if not path.name.startswith(".")}
    return {
        name: parsed_code().hash(path.read_bytes()) if path.suffix == ".py" else _hash_of_bytes(path)
        for name, path in sorted(found.items())
    }


@cache
def _source_of(module: str) -> Path | None:
    # Parents are located by path, so that nothing is executed.
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top) if top not in sys.modules else sys.modules[top].__spec__
    if spec is None or spec.submodule_search_locations is None:
        return Path(spec.origin) if spec and spec.origin and not rest else None
    for location in spec.submodule_search_locations:
        base = Path(location).joinpath(*rest)
        for candidate in (base / "__init__.py", base.with_suffix(".py")):
            if candidate.is_file() and (rest or candidate.name == "__init__.py"):
                return candidate
    return None


def _imports(path: Path, module: str, packages: tuple[str, ...]) -> Iterator[str]:
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    for name in parsed_code().imports(path.read_bytes(), package):
        if name.split(".")[0] in packages:
            parts = name.split(".")
            yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _hashes_of_data_files(folder: Path, package: str) -> dict[str, str]:
    """Of the files beside a module, and of those in folders below that hold no modules."""
    found: dict[str, str] = {}
    for path in folder.iterdir():
        if path.name[0] == "." or path.name == "__pycache__":
            continue
        if path.is_file() and path.suffix != ".py":
            found[f"{package}/{path.name}"] = _hash_of_bytes(path)
        elif path.is_dir() and not any(path.glob("*.py")):
            found |= _hashes_of_data_files(path, f"{package}/{path.name}")
    return found


def _hash_of_bytes(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
