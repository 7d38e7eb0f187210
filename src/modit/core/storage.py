"""Files of a run, on a local folder or on any fsspec address such as `s3://bucket/prefix`."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from modit.core.errors import ArtifactError

CHUNK = 1 << 20
# What S3 answers to a conditional write: it is there already; another one is being written, ask again.
PRECONDITION_FAILED, CONFLICT = 412, 409
# Of `renameat2`: paths are absolute or relative to the working folder; exchange them.
_HERE, _RENAME_EXCHANGE = -100, 2


def canonical_json(value: object) -> bytes:
    """JSON with sorted keys and no spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(value: object) -> str:
    """sha256 of a JSON value, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def sha256_of_file(path: Path) -> str:
    """sha256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Storage:
    """A folder at an address.

    Attributes:
        uri: the address, without a slash at the end; an absolute path when local.
        local: the folder as a path, or None when it is remote.
    """

    def __init__(self, uri: str) -> None:
        # Listings must be fresh: other tasks write into the same run.
        self.filesystem, root = fsspec.core.url_to_fs(uri, use_listings_cache=False)
        self.local = Path(root).resolve() if isinstance(self.filesystem, LocalFileSystem) else None
        self.root = str(self.local) if self.local else root.rstrip("/")
        self.uri = str(self.local) if self.local else self.filesystem.unstrip_protocol(self.root)

    def at(self, *parts: str) -> Storage:
        """The folder below."""
        return Storage("/".join((self.uri, *parts)))

    @property
    def parent(self) -> Storage:
        """The folder above."""
        return Storage(self.uri.rpartition("/")[0])

    @property
    def name(self) -> str:
        """Last part of the address."""
        return self.uri.rpartition("/")[2]

    def read_json(self, name: str) -> dict[str, Any] | None:
        """The JSON object in a file, or None when there is no such file; ArtifactError if it is not JSON."""
        content = self.read_bytes(name)
        if content is None:
            return None
        try:
            return json.loads(content)
        except ValueError as error:
            raise ArtifactError(f"{self.uri}/{name} is not JSON: {error}") from error

    def read_bytes(self, name: str) -> bytes | None:
        """Returns the content of a file, or None when there is no such file."""
        try:
            return self.filesystem.cat_file(f"{self.root}/{name}")
        except FileNotFoundError:
            return None

    def write_json(self, name: str, value: object) -> None:
        """Writes a JSON file; readers see the old or the new one, never a part."""
        self.write_bytes(name, _lines_of_json(value))

    def write_bytes(self, name: str, content: bytes) -> None:
        """Writes a file; readers see the old or the new one, never a part."""
        if self.local is None:
            self.filesystem.pipe_file(f"{self.root}/{name}", content)
            return
        _write_beside(self.local / name, content).replace(self.local / name)

    def create_json(self, name: str, value: object) -> bool:
        """Writes a JSON file unless it is there; True if this call did. Of several callers at once exactly one does."""
        if self.local is None:
            return self._create_remote(name, _lines_of_json(value))
        partial = _write_beside(self.local / name, _lines_of_json(value))
        try:
            # A link, unlike a rename, fails when the name is taken.
            (self.local / name).hardlink_to(partial)
        except FileExistsError:
            return False
        finally:
            partial.unlink()
        return True

    def _create_remote(self, name: str, content: bytes) -> bool:
        for pause in (0.1, 0.5, 2.0, None):
            try:
                self.filesystem.pipe_file(f"{self.root}/{name}", content, mode="create")
            except OSError as error:
                if isinstance(error, FileExistsError) or _http_status(error) == PRECONDITION_FAILED:
                    return False
                if _http_status(error) != CONFLICT or pause is None:
                    raise
                time.sleep(pause)
            else:
                return True
        raise AssertionError("the last attempt returns or raises")

    def sizes(self) -> dict[str, int]:
        """Returns the size in bytes of each file below, by its relative name, without those that vanish meanwhile."""
        if self.local is not None:  # fsspec takes a link to a folder for a file
            found = {}
            for folder, _, names in os.walk(self.local, followlinks=True):
                for path in (Path(folder, name) for name in names):
                    with contextlib.suppress(FileNotFoundError):
                        found[path.relative_to(self.local).as_posix()] = path.stat().st_size
            return found
        found = self.filesystem.find(self.root, detail=True)
        # s3fs lists the folder itself if its first file is made while it looks.
        return {path[len(self.root) + 1 :]: entry["size"] for path, entry in found.items() if path != self.root}

    def publish(self, folder: Path, manifest_name: str) -> None:
        """Moves a finished local folder here, replacing what is there.

        Where the file system can exchange two folders, a local one replaces the old one in one step. A remote one loses
        its manifest first and gets it last: who finds a manifest finds its files, or reads again
        (`ArtifactStore.read`).
        """
        if self.local is not None:
            _swap(folder, self.local)
            return
        if self.filesystem.exists(f"{self.root}/{manifest_name}"):
            self.filesystem.rm_file(f"{self.root}/{manifest_name}")
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        for stale in set(self.sizes()) - files:
            self.filesystem.rm_file(f"{self.root}/{stale}")
        for name in sorted(files, key=lambda name: (name == manifest_name, name)):
            self.filesystem.put_file(str(folder / name), f"{self.root}/{name}")
        shutil.rmtree(folder)

    def remove(self) -> None:
        """Removes the folder with its content, if it is there."""
        if self.local is not None:
            shutil.rmtree(self.local, ignore_errors=True)
        elif self.sizes():
            self.filesystem.rm(self.root, recursive=True)

    def remove_file(self, name: str) -> None:
        """Removes one file below, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.rm_file(f"{self.root}/{name}")

    def download(self, name: str, target: Path) -> None:
        """Copies one file below to a local path; ArtifactError if it is not there."""
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.filesystem.get_file(f"{self.root}/{name}", str(target))
        except FileNotFoundError as error:
            raise ArtifactError(f"{self.uri}/{name} is missing") from error

    def sha256(self, name: str = "") -> str:
        """sha256 of a file below (or of the file at this address), streamed."""
        digest = hashlib.sha256()
        with self.filesystem.open(f"{self.root}/{name}".rstrip("/"), "rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
        return digest.hexdigest()


def partial_beside(path: Path) -> Path:
    """A path to write to before a rename; no other process, container or machine has the same."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")


def _http_status(error: OSError) -> int | None:
    """Status of the answer behind an error of a remote store; s3fs knows 412 only by AWS' own words."""
    answer = getattr(error.__cause__, "response", None) or {}
    return answer.get("ResponseMetadata", {}).get("HTTPStatusCode")


def _lines_of_json(value: object) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def _write_beside(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_beside(path)
    partial.write_bytes(content)
    return partial


def _swap(folder: Path, target: Path) -> None:
    """Moves a folder to `target`, and removes what was there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    old = folder
    if not target.exists():
        folder.rename(target)
    elif not _exchange(folder, target):
        old = folder.with_name(f"{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
        folder.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges two paths in one step; False where the file system cannot (`man renameat2`)."""
    system = ctypes.CDLL(None, use_errno=True)
    if not hasattr(system, "renameat2"):
        return False
    return system.renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _RENAME_EXCHANGE) == 0
