"""The artifact store: folders `ARTIFACT[/DOMAIN]/` of a run, each with a manifest of what it is and who made it.

Artifacts of other runs are found by key: `<parent of the run>/.cache/KEY.json` says which run has them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from modit.core.errors import ArtifactChangedError, ArtifactError, SealedError
from modit.core.step import Step
from modit.core.storage import Storage, digest_of, partial_beside, sha256_of_file
from modit.core.workspace import Workspace

MANIFEST = "manifest.json"
CACHE_FOLDER = ".cache"
# Seconds between attempts to read what is published meanwhile; None after the last.
_PAUSES = (0.1, 0.5, 2.0, 5.0, None)
_HASHED: dict[tuple[str, int, int, int], str] = {}
Result = TypeVar("Result")
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class FileEntry:
    """A file of an artifact: its name below the folder, sha256 and size in bytes."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """What an artifact is, and who made it from what.

    Attributes:
        kind: the artifact's name, such as `trajectories`.
        domain: its domain, or None.
        files: its files, sorted by name.
        digest: hash over the sorted pairs (name, sha256); times and machines do not enter it.
        summary: what the step says of it, such as counts of rows.
        step: who made it.
        key: hash of all that it depends on.
        key_parts: what went into the key, so that a difference can be named.
        created: when, UTC; enters no hash.
        origin: address of the artifact that this one was copied from, or None when it was computed here.
        seconds: how long the step worked on its outputs; enters no hash; None in manifests of earlier versions.
        schema_version: of this manifest.
    """

    kind: str
    domain: str | None
    files: tuple[FileEntry, ...]
    digest: str
    summary: dict[str, Any]
    step: str
    key: str
    key_parts: dict[str, Any]
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    origin: str | None = None
    seconds: float | None = None
    schema_version: int = SCHEMA_VERSION

    def only(self, names: Collection[str]) -> Manifest:
        """The same of some of its files; ArtifactError if one is not among them."""
        if missing := sorted(set(names) - {entry.name for entry in self.files}):
            raise ArtifactError(f"artifact {self.kind!r} has no file {', '.join(missing)}")
        files = tuple(entry for entry in self.files if entry.name in names)
        return replace(self, files=files, digest=digest_of_files(files))

    @classmethod
    def from_json(cls, value: dict[str, Any], source: str) -> Manifest:
        """Reads a manifest; ArtifactError if it is of another schema version, or has other fields."""
        if value.get("schema_version") != SCHEMA_VERSION:
            found = value.get("schema_version")
            raise ArtifactError(f"{source}: schema_version is {found!r}; this version of modit reads {SCHEMA_VERSION}")
        try:
            files = tuple(FileEntry(**entry) for entry in value["files"])
            return cls(**{**value, "files": files})
        except (KeyError, TypeError) as error:
            raise ArtifactError(f"{source} is not a manifest: {error}") from error


def list_files(folder: Path) -> tuple[FileEntry, ...]:
    """All files below a folder but its manifest, sorted by name; ArtifactError if there is none."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST]
    if not paths:
        raise ArtifactError(f"{folder} holds no file; a step writes at least one into each output")
    entries = (FileEntry(p.relative_to(folder).as_posix(), sha256_of_file(p), p.stat().st_size) for p in paths)
    return tuple(sorted(entries, key=lambda entry: entry.name))


def digest_of_files(files: tuple[FileEntry, ...]) -> str:
    """The artifact's digest: sha256 over the sorted pairs (name, sha256)."""
    return digest_of(sorted((entry.name, entry.sha256) for entry in files))


class ArtifactStore:
    """The artifacts of one run."""

    def __init__(self, run: Storage, cache: Path) -> None:
        """Opens the store of the folder of a run; `cache` is a local folder for copies of remote artifacts."""
        self.run, self.cache = run, cache

    def at(self, name: str, domain: str | None = None) -> Storage:
        """Where an artifact is or will be."""
        return self.run.at(name, domain) if domain else self.run.at(name)

    def find(self, name: str, domain: str | None = None) -> Manifest | None:
        """The manifest of an artifact, or None while there is none."""
        place = self.at(name, domain)
        content = place.read_json(MANIFEST)
        return None if content is None else Manifest.from_json(content, f"{place.uri}/{MANIFEST}")

    def get(self, name: str, domain: str | None = None) -> Manifest:
        """Returns the manifest of an artifact that must be there.

        Raises:
            ArtifactError: it is not there.
            ArtifactChangedError: its files are there without a manifest: it is being published.
        """
        manifest = self.find(name, domain)
        if manifest is None:
            place = self.at(name, domain)
            if place.local is None and place.sizes():
                raise ArtifactChangedError(
                    f"{place.uri} has files and no manifest: it is being published, or who published it died; "
                    f"then run the step that writes {name!r} again"
                )
            raise ArtifactError(f"no artifact at {place.uri}; the step that writes {name!r} must run first")
        return manifest

    def is_complete(self, manifest: Manifest) -> bool:
        """Whether all its files are there at their sizes (their content is verified when they are read)."""
        sizes = self.at(manifest.kind, manifest.domain).sizes()
        return all(sizes.get(entry.name) == entry.size for entry in manifest.files)

    def read(self, name: str, domain: str | None = None, files: Collection[str] | None = None) -> Path:
        """A local folder with the artifact's files, verified; it must not be written to.

        It is the artifact's own folder in a local run; a remote one is downloaded once per digest.

        Args:
            name: of the artifact.
            domain: whose, or None.
            files: that are wanted, when not all are: only these are verified and downloaded.

        Raises:
            ArtifactError: it is missing, or a file differs from its manifest; the message names the file.
            ArtifactChangedError: it was published again and again while it was read.
        """
        place = self.at(name, domain)

        def read(manifest: Manifest) -> Path:
            wanted = manifest if files is None else manifest.only(files)
            if place.local is None:
                return self._download(place, wanted)
            verify(place.local, wanted)
            return place.local

        return self._unchanged(name, domain, read)

    def _unchanged(self, name: str, domain: str | None, read: Callable[[Manifest], Result]) -> Result:
        """Reads by a manifest, and again by the new one if the artifact is published meanwhile."""
        for pause in _PAUSES:
            manifest = None
            try:
                manifest = self.get(name, domain)
                return read(manifest)
            except ArtifactChangedError:
                if pause is None:
                    raise
            except ArtifactError as error:
                if manifest is None or manifest == self.find(name, domain):
                    raise  # missing, or damaged
                if pause is None:
                    uri = self.at(name, domain).uri
                    raise ArtifactChangedError(f"{uri} was published again while it was read") from error
            time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def read_json(self, name: str, file: str) -> dict[str, Any]:
        """One small JSON file of an artifact that is not per domain, verified, without reading the rest.

        Raises:
            ArtifactError: the artifact or file is missing, or the file differs from the manifest.
        """
        place = self.at(name)

        def read(manifest: Manifest) -> dict[str, Any]:
            listed = {entry.name: entry.sha256 for entry in manifest.files}
            content = place.read_bytes(file)
            if content is None or listed.get(file) != hashlib.sha256(content).hexdigest():
                raise ArtifactError(f"{place.uri}/{file} is missing or differs from the manifest beside it")
            return json.loads(content)

        return self._unchanged(name, None, read)

    def write(self, folder: Path, manifest: Manifest) -> None:
        """Publishes a finished local folder; it is moved away from where it was."""
        Storage(str(folder)).write_json(MANIFEST, asdict(manifest))
        self.at(manifest.kind, manifest.domain).publish(folder, MANIFEST)

    def _download(self, place: Storage, manifest: Manifest) -> Path:
        target = self.cache / "artifacts" / manifest.digest
        if not target.exists():
            partial = partial_beside(target)
            for entry in manifest.files:
                place.download(entry.name, partial / entry.name)
            verify(partial, manifest, place.uri)
            _rename_unless_there(partial, target)
        return target


def verify(folder: Path, manifest: Manifest, source: str | None = None) -> None:
    """Compares every file in a folder with its manifest.

    Raises:
        ArtifactError: a file is missing or differs; the message names the file in `source` where that is given.
    """
    for entry in manifest.files:
        path = folder / entry.name
        shown = f"{source or folder}/{entry.name}"
        remedy = f"run step {manifest.step!r} again with --no-cache"
        try:
            found = _sha256_once(path)
        except (FileNotFoundError, IsADirectoryError) as error:
            raise ArtifactError(f"{shown} is missing, though the manifest lists it; {remedy}") from error
        if found != entry.sha256:
            raise ArtifactError(f"{shown} is damaged: sha256 {found}, the manifest says {entry.sha256}; {remedy}")


def _sha256_once(path: Path) -> str:
    """The file's sha256, computed once in this process for each state of the file."""
    found = path.stat()
    state = (str(path), found.st_ino, found.st_size, found.st_mtime_ns)
    if state not in _HASHED:
        _HASHED[state] = sha256_of_file(path)
    return _HASHED[state]


def _rename_unless_there(partial: Path, target: Path) -> None:
    try:
        partial.rename(target)
    except OSError:
        # Another task downloaded the same bytes first.
        if not target.is_dir():
            raise
        shutil.rmtree(partial)


SEALS = ".sealed"


def seal(run: Storage, domain: str, reason: str) -> None:
    """Seals a domain of a run; the first reason stays."""
    run.at(SEALS).create_json(f"{domain}.json", {"reason": reason})


def seals_of(run: Storage) -> dict[str, str]:
    """The domains of a run that are sealed, and why."""
    place = run.at(SEALS)
    names = sorted(name for name in place.sizes() if name.endswith(".json") and name[0] != ".")
    return {name.removesuffix(".json"): (place.read_json(name) or {})["reason"] for name in names}


def expect_unsealed(run: Storage, domain: str | None, reasons: list[str]) -> None:
    """Refuses to run a task, which would write into the run for some `reasons`, where its domain is sealed.

    Raises:
        SealedError: the domain is sealed; or any domain is, and the task writes for all domains (None).
    """
    for name, reason in seals_of(run).items():
        if domain in (None, name):
            raise SealedError(
                f"{run.uri} is sealed: {reason}. A step would run in it because {'; '.join(reasons)}: "
                "take another run, or what this one was made with"
            )


def record_key(store: ArtifactStore, key: str) -> None:
    """Notes for other runs that this one has the artifacts of a key; an earlier note stays while it is true."""
    store.run.parent.at(CACHE_FOLDER).create_json(f"{key}.json", {"run": store.run.uri})


def reuse(
    store: ArtifactStore, step: Step, domain: str | None, key: str, workspace: Workspace
) -> list[Manifest] | None:
    """Copies all outputs of a step from the run that has this key.

    Returns:
        Their manifests, which name their origin; None when no other run has them whole.
    """
    notes = store.run.parent.at(CACHE_FOLDER)
    entry = notes.read_json(f"{key}.json")
    if entry is None or entry["run"] == store.run.uri:
        return None
    other = ArtifactStore(Storage(entry["run"]), store.cache)
    found = [other.find(name, domain) for name in step.outputs]
    manifests = [manifest for manifest in found if manifest is not None and manifest.key == key]
    if len(manifests) < len(step.outputs):
        # The other run has gone or moved on: the note is no longer true.
        notes.write_json(f"{key}.json", {"run": store.run.uri})
        return None
    try:
        return copy_artifacts(other, manifests, store, workspace)
    except ArtifactError as error:
        logging.getLogger(__name__).warning("not reused: %s", error)
        return None


def copy_artifacts(
    source: ArtifactStore, manifests: list[Manifest], target: ArtifactStore, workspace: Workspace, **changes: Any
) -> list[Manifest]:
    """Copies artifacts of one run into another, byte for byte, by the workspace of the task that wants them.

    Returns:
        The new manifests: with the fields of `changes`, and the address that each artifact comes from.

    Raises:
        ArtifactError: one is damaged.
    """
    workspace.start_outputs()
    created = datetime.now(UTC).isoformat(timespec="seconds")
    copies = []
    for manifest in manifests:
        folder = source.read(manifest.kind, manifest.domain)
        shutil.copytree(folder, workspace.output(manifest.kind), dirs_exist_ok=True)
        origin = manifest.origin or source.at(manifest.kind, manifest.domain).uri
        copies.append(replace(manifest, origin=origin, created=created, **changes))
    for copy in copies:
        target.write(workspace.output(copy.kind), copy)
    return copies
