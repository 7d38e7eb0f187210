"""Runs a registered version again, with its code, data and parameters, and compares digests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from modit.core.artifacts import ArtifactStore
from modit.core.errors import ConfigError, ModitError
from modit.core.key import step_code
from modit.core.registry import Registry
from modit.core.storage import Storage
from modit.core.window import WindowLedger
from modit.core.workspace import cache_folder
from modit.release.versioning.code_state import COMMIT_VARIABLE, CodeState, code_state, git, parse_code_state
from modit.release.versioning.record import THREADS_VARIABLE, Record, RecordedArtifact, environment
from modit.release.versioning.snapshot import (
    CHAMPION,
    CHAMPIONS_VARIABLE,
    HISTORY,
    RAW,
    STARTING_POINT,
    STARTING_POINT_VARIABLE,
    VERSIONED,
)
from modit.release.versioning.version_store import DatasetVersion, VersionStore

_MARKER = ".reproduction"


@dataclass(frozen=True)
class Comparison:
    """A recorded artifact, and the names of the files that are missing, new or different in the new run's."""

    recorded: RecordedArtifact
    differing: tuple[str, ...]


@dataclass(frozen=True)
class Reproduction:
    """The result of running a version again.

    Attributes:
        code: Which code ran, for people.
        run: Folder of the new run.
        comparisons: In pipeline order.
        environment: Name -> recorded and present value, where they differ.
    """

    code: str
    run: Path
    comparisons: tuple[Comparison, ...]
    environment: dict[str, tuple[str, str]]

    @property
    def first_difference(self) -> Comparison | None:
        """The first artifact in pipeline order that differs."""
        return next((each for each in self.comparisons if each.differing), None)


def reproduce(record: Record, registry: Registry, repository: Path, folder: Path) -> Reproduction:
    """Fetches the recorded data, runs the recorded steps with the recorded code and parameters, and compares.

    Args:
        record: Of the version.
        registry: The present steps.
        repository: Root of the present checkout.
        folder: For the data and the new run; an earlier reproduction in it is deleted.

    Raises:
        ConfigError: The run was not versioned, its code cannot be found, or the folder holds something else.
        VersionError: The remote does not have the data.
        ModitError: A step failed; the log has the reason.
    """
    if record.versions["status"] != VERSIONED:
        raise ConfigError(f"run {record.run} cannot be reproduced: {record.versions['reason']}")
    marker = folder / _MARKER
    if folder.is_dir() and any(folder.iterdir()) and not marker.is_file():
        raise ConfigError(f"{folder} holds something that no reproduction put there; take an empty folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    marker.touch()
    with checkout(record, registry, repository, folder / "code") as (root, words):
        run = folder / "runs" / "run"
        catalogue, champions = _fetch(record, folder, run)
        _replay(record, registry.package, root, catalogue, run, champions)
    # The threads are set to what they were.
    here = environment() | {THREADS_VARIABLE: record.environment[THREADS_VARIABLE]}
    changes = {name: (was, here.get(name, "")) for name, was in record.environment.items() if here.get(name, "") != was}
    return Reproduction(words, run, tuple(compare(record, run)), changes)


def compare(record: Record, run: Path) -> Iterator[Comparison]:
    """Compares the artifacts of a run with the recorded ones, in pipeline order."""
    store = ArtifactStore(Storage(str(run)), cache_folder())
    for recorded in record.artifacts:
        found = store.find(recorded.kind, recorded.domain)
        files = {file.name: file.sha256 for file in found.files} if found else {}
        names = sorted(name for name in {*files, *recorded.files} if files.get(name) != recorded.files.get(name))
        yield Comparison(recorded, tuple(names))


def reproduction_text(found: Reproduction) -> str:
    """Lines for a terminal: each artifact, then the conclusion."""
    width = max(len(each.recorded.label) for each in found.comparisons)
    lines = [f"code: {found.code}", f"run:  {found.run}", ""]
    for each in found.comparisons:
        verdict = f"DIFFERS in {', '.join(each.differing)}" if each.differing else f"equal  {each.recorded.digest[:16]}"
        lines.append(f"{each.recorded.label:<{width}}  {verdict}")
    differing, first = sum(bool(each.differing) for each in found.comparisons), found.first_difference
    if first is None:
        lines += ["", f"REPRODUCED: all {len(found.comparisons)} artifacts have the recorded digests"]
    else:
        lines += ["", f"NOT REPRODUCED: {differing} of {len(found.comparisons)} artifacts differ"]
        lines.append(f"first: {first.recorded.label}, {first.differing[0]}, written by {first.recorded.step}")
    changes = [f"  {name}: recorded {was}, here {now}" for name, (was, now) in found.environment.items()]
    return "\n".join([*lines, *(["the environment differs:", *changes] if changes else [])])


@contextmanager
def checkout(record: Record, registry: Registry, repository: Path, folder: Path) -> Iterator[tuple[Path, str]]:
    """The code of the record: this checkout where its code is the same, else a git worktree of the commit in `folder`.

    Yields:
        The root of the code, and its name for people.

    Raises:
        ConfigError: The recorded code was changed or unknown, or its commit is not in the repository.
    """
    here, recorded = code_state(repository), parse_code_state(record.code)
    if here.is_known and recorded == here:
        yield repository, f"commit {recorded.commit}, this checkout"
        return
    changed = changed_steps(record, registry)
    if not changed:
        yield repository, f"this checkout ({here}): its steps' code has the digests of the recorded {recorded}"
        return
    commit, differs = recorded.commit, f"the present code of {', '.join(changed)} differs from what ran"
    if not recorded.is_known:
        raise ConfigError(f"the version was made by code that git does not have ({recorded}), and {differs}")
    if git(repository, "cat-file", "-e", f"{commit}^{{commit}}") is None:
        raise ConfigError(f"commit {commit} is not in {repository}, and {differs}; fetch it")
    if git(repository, "worktree", "add", "--force", "--detach", str(folder), commit) is None:
        raise ConfigError(f"git cannot check out commit {commit} of {repository} into {folder}")
    try:
        yield folder, f"commit {commit}, checked out, because {differs}"
    finally:
        git(repository, "worktree", "remove", "--force", str(folder))


def changed_steps(record: Record, registry: Registry) -> list[str]:
    """Recorded steps whose code differs now, or that no longer exist."""
    return [
        name
        for name, parts in record.code_parts.items()
        if name not in registry.by_name or step_code(registry, registry.get(name)) != parts
    ]


def _fetch(record: Record, folder: Path, run: Path) -> tuple[Path, dict[str, str]]:
    """Fetches the input, under the name that reports show; gives its folder, and what names champions and a start.

    The windows that it was compared with are put beside the new run.
    """
    store = VersionStore(folder / "data", record.remote, holder="reproduce")
    versions = {name: DatasetVersion(**entry) for name, entry in record.versions["datasets"].items()}
    fetched = store.fetch(versions[RAW])
    catalogue = fetched.rename(fetched.parent / record.conf["catalogue"].rstrip("/").rpartition("/")[2])
    if HISTORY in versions:
        place = WindowLedger(Storage(str(run)), str(catalogue)).place
        shutil.copytree(store.fetch(versions[HISTORY]), place.uri)
    variables = {CHAMPIONS_VARIABLE: CHAMPION, STARTING_POINT_VARIABLE: STARTING_POINT}
    return catalogue, {name: str(store.fetch(versions[kept])) for name, kept in variables.items() if kept in versions}


def _replay(record: Record, package: str, root: Path, catalogue: Path, run: Path, variables: Mapping[str, str]) -> None:
    params = run.parent / "params.yaml"
    params.parent.mkdir(parents=True, exist_ok=True)
    content = {"seed": record.seed, **record.params, "presets": {record.conf["preset"]: {}}}
    params.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    conf = record.conf | {"catalogue": str(catalogue)}
    steps = ",".join(dict.fromkeys(each.step for each in record.artifacts))
    command = [sys.executable, "-m", "modit.release.replay", "--package", package, "--run", str(run)]
    command += ["--params", str(params), "--conf", json.dumps(conf), "--steps", steps]
    done = subprocess.run(command, cwd=root, env=_environment(record, root) | dict(variables), check=False)
    if done.returncode:
        raise ModitError(f"the run failed (status {done.returncode}); it is in {run}, its log above")


def _environment(record: Record, root: Path) -> dict[str, str]:
    # MODIT_ variables name what is shared with others, such as the store that production serves features from.
    others = {name: value for name, value in os.environ.items() if not name.startswith("MODIT_")}
    others.pop(THREADS_VARIABLE, None)
    threads = record.environment.get(THREADS_VARIABLE)
    paths = (str(root / "src"), str(root), others.get("PYTHONPATH", ""))
    return others | {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        # The snapshot records the code, which is the recorded one whatever checkout it lies in.
        COMMIT_VARIABLE: str(CodeState(**record.versions["code"])),
        **({THREADS_VARIABLE: threads} if threads else {}),
    }
