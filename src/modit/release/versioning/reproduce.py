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
from modit.release.versioning.code_state import COMMIT_VARIABLE, CodeState, code_state, git
from modit.release.versioning.dvc_repository import DatasetVersion
from modit.release.versioning.record import THREADS_VARIABLE, Record, RecordedArtifact, environment
from modit.release.versioning.snapshot import CHAMPION, CHAMPIONS_VARIABLE, HISTORY, RAW, VERSIONED
from modit.release.versioning.version_store import VersionStore


@dataclass(frozen=True)
class Comparison:
    """An artifact of the recorded run beside that of the new run.

    Attributes:
        entry: what was recorded.
        differing: names of files that are missing, new or of another content; empty when the digests are equal.
    """

    entry: RecordedArtifact
    differing: tuple[str, ...]


@dataclass(frozen=True)
class Reproduction:
    """What came out.

    Attributes:
        code: which code ran, for people.
        run: folder of the new run.
        comparisons: in pipeline order.
        environment: name -> recorded and present value, where they differ.
    """

    code: str
    run: Path
    comparisons: tuple[Comparison, ...]
    environment: dict[str, tuple[str, str]]

    @property
    def first_difference(self) -> Comparison | None:
        """The first artifact in pipeline order that came out differently."""
        return next((each for each in self.comparisons if each.differing), None)


def compare(record: Record, run: Path) -> Iterator[Comparison]:
    """Compares the artifacts of a run with the recorded ones, in pipeline order."""
    store = ArtifactStore(Storage(str(run)), cache_folder())
    for entry in record.artifacts:
        found = store.find(entry.kind, entry.domain)
        files = {file.name: file.sha256 for file in found.files} if found else {}
        names = sorted(name for name in {*files, *entry.files} if files.get(name) != entry.files.get(name))
        yield Comparison(entry, tuple(names))


def environment_changes(record: Record) -> dict[str, tuple[str, str]]:
    """What is not as it was when the version was registered, without the threads, which are set to what they were."""
    here = environment() | {THREADS_VARIABLE: record.environment[THREADS_VARIABLE]}
    return {name: (was, here.get(name, "")) for name, was in record.environment.items() if here.get(name, "") != was}


def reproduction_text(found: Reproduction) -> str:
    """Lines for a terminal: each artifact, then what it comes to."""
    width = max(len(each.entry.label) for each in found.comparisons)
    lines = [f"code: {found.code}", f"run:  {found.run}", ""]
    for each in found.comparisons:
        verdict = f"DIFFERS in {', '.join(each.differing)}" if each.differing else f"equal  {each.entry.digest[:16]}"
        lines.append(f"{each.entry.label:<{width}}  {verdict}")
    differing = sum(bool(each.differing) for each in found.comparisons)
    first = found.first_difference
    lines.append("")
    if first is None:
        lines.append(f"REPRODUCED: all {len(found.comparisons)} artifacts have the recorded digests")
    else:
        lines.append(f"NOT REPRODUCED: {differing} of {len(found.comparisons)} artifacts differ")
        lines.append(f"first: {first.entry.label}, {first.differing[0]}, written by {first.entry.step}")
    changes = [f"  {name}: recorded {was}, here {now}" for name, (was, now) in found.environment.items()]
    return "\n".join([*lines, *(["what is not as it was:", *changes] if changes else [])])


MARKER = ".reproduction"


def reproduce(record: Record, registry: Registry, repository: Path, folder: Path) -> Reproduction:
    """Fetches the recorded data, runs the recorded steps with the recorded code and parameters, and compares.

    Args:
        record: of the version.
        registry: the present steps.
        repository: root of the present checkout.
        folder: where data and the new run go; an earlier reproduction there is dropped.

    Raises:
        ConfigError: the run was not versioned, its code cannot be had, or the folder holds something else.
        VersionError: the remote does not have the data.
        ModitError: a step failed; the log says why.
    """
    if record.versions["status"] != VERSIONED:
        raise ConfigError(f"run {record.run} cannot be reproduced: {record.versions['reason']}")
    _start_folder(folder)
    with checkout(record, registry, repository, folder / "code") as (root, words):
        run = folder / "runs" / "run"
        catalogue, champions = _fetch(record, folder, run)
        _replay(record, registry.package, root, catalogue, run, champions)
    return Reproduction(words, run, tuple(compare(record, run)), environment_changes(record))


def _start_folder(folder: Path) -> None:
    marker = folder / MARKER
    if folder.is_dir() and any(folder.iterdir()) and not marker.is_file():
        raise ConfigError(f"{folder} holds something that no reproduction put there; take an empty folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    marker.touch()


@contextmanager
def checkout(record: Record, registry: Registry, repository: Path, folder: Path) -> Iterator[tuple[Path, str]]:
    """The code of the record: this checkout where its code is the same, else a git worktree of the commit.

    Args:
        record: of the version.
        registry: the present steps.
        repository: root of the present checkout.
        folder: for the worktree, which is removed afterwards.

    Yields:
        The root of the code, and how to name it.

    Raises:
        ConfigError: the code was changed or unknown when it ran, or its commit is not in the repository.
    """
    here, commit = code_state(repository), record.code.commit
    if here.is_known and record.code == here:
        yield repository, f"commit {commit}, this checkout"
        return
    changed = changed_steps(record, registry)
    if not changed:
        yield repository, f"this checkout ({here}): its steps' code has the digests of the recorded {record.code}"
        return
    differs = f"the present code of {', '.join(changed)} differs from what ran"
    if not record.code.is_known:
        raise ConfigError(f"the version was made by code that git does not have ({record.code}), and {differs}")
    if git(repository, "cat-file", "-e", f"{commit}^{{commit}}") is None:
        raise ConfigError(f"commit {commit} is not in {repository}, and {differs}; fetch it")
    if git(repository, "worktree", "add", "--force", "--detach", str(folder), commit) is None:
        raise ConfigError(f"git cannot check out commit {commit} of {repository} into {folder}")
    try:
        yield folder, f"commit {commit}, checked out, because {differs}"
    finally:
        git(repository, "worktree", "remove", "--force", str(folder))


def changed_steps(record: Record, registry: Registry) -> list[str]:
    """Recorded steps whose code is another now, or that there are no more."""
    return [
        name
        for name, parts in record.code_parts.items()
        if name not in registry.by_name or step_code(registry, registry.get(name)) != parts
    ]


def _fetch(record: Record, folder: Path, run: Path) -> tuple[Path, dict[str, str]]:
    """The recorded input, from the remote, under its name, which reports show; and the windows it was compared with.

    Beside the input's folder: variables that name the champions of that day.
    """
    store = VersionStore(folder / "data", record.remote, holder="reproduce")
    versions = {name: DatasetVersion(**entry) for name, entry in record.versions["datasets"].items()}
    fetched = store.fetch(versions[RAW])
    catalogue = fetched.rename(fetched.parent / record.conf["catalogue"].rstrip("/").rpartition("/")[2])
    if HISTORY in versions:
        place = WindowLedger(Storage(str(run)), str(catalogue)).place
        shutil.copytree(store.fetch(versions[HISTORY]), place.uri)
    return catalogue, {CHAMPIONS_VARIABLE: str(store.fetch(versions[CHAMPION]))} if CHAMPION in versions else {}


def _replay(record: Record, package: str, root: Path, catalogue: Path, run: Path, variables: Mapping[str, str]) -> None:
    params = run.parent / "params.yaml"
    params.parent.mkdir(parents=True, exist_ok=True)
    content = {"seed": record.seed, **record.params, "presets": {record.conf["preset"]: {}}}
    params.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    conf = record.conf | {"catalogue": str(catalogue)}
    steps = ",".join(dict.fromkeys(entry.step for entry in record.artifacts))
    command = [sys.executable, "-m", "modit.release.replay", "--package", package, "--run", str(run)]
    command += ["--params", str(params), "--conf", json.dumps(conf), "--steps", steps]
    done = subprocess.run(command, cwd=root, env=_environment(record, root) | dict(variables), check=False)
    if done.returncode:
        raise ModitError(f"the run did not succeed (status {done.returncode}); it is in {run}, its log above")


def _environment(record: Record, root: Path) -> dict[str, str]:
    # MODIT_ variables name what is shared with others, such as the store that production serves features from.
    others = {name: value for name, value in os.environ.items() if not name.startswith("MODIT_")}
    others.pop(THREADS_VARIABLE, None)
    threads = record.environment.get(THREADS_VARIABLE)
    paths = (str(root / "src"), str(root), others.get("PYTHONPATH", ""))
    return others | {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        # The snapshot notes the code, which is the recorded one whatever checkout it lies in.
        COMMIT_VARIABLE: str(CodeState(**record.versions["code"])),
        **({THREADS_VARIABLE: threads} if threads else {}),
    }
