"""Versions of datasets beside the runs: content is added once, pushed to the remote, and fetched again by its hash.

DVC is started by its command line, the interface that it keeps stable. Its repository is one of its own without git
(`no_scm`), so that a nightly run commits to nobody's code (docs/adr/0015).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from modit.core.errors import ArtifactError, ConfigError, LockedError, VersionError
from modit.core.locks import locked
from modit.core.storage import Storage, digest_of, partial_beside, sha256_of_file

_REMOTE_FOLDER, _REMOTE = "remote", "versions"
_BUSY = re.compile(r"Unable to acquire lock|is being blocked by", re.IGNORECASE)
_PAUSE = 0.5
# Where DVC 3 keeps contents, in a cache as in a remote.
_OBJECTS = ("files", "md5")
_CONFIG = """\
[core]
    no_scm = true
    analytics = false
    check_update = false
    remote = {name}
['remote "{name}"']
    url = {url}
"""


@dataclass(frozen=True)
class TrackedFile:
    """A file to version: where it is, and the sha256 that it must have."""

    place: Storage
    name: str
    sha256: str


Dataset = Mapping[str, TrackedFile]
"""Files of a dataset by their names in it."""


@dataclass(frozen=True)
class DatasetVersion:
    """A version of a dataset.

    Attributes:
        path: Its folder in the repository, `DATASET/` and 16 digits of a hash over names and contents.
        md5: DVC's hash of the folder, with the suffix `.dir`.
        files: Number of files; `bytes` is their size.
    """

    path: str
    md5: str
    files: int
    bytes: int


class VersionStore:
    """A DVC repository in a folder, and its remote; for one process at a time."""

    def __init__(
        self,
        folder: Path,
        remote: str = "",
        wait: float = 600.0,
        holder: str = "",
        command: Sequence[str] | None = None,
    ) -> None:
        """Describes the store; nothing is made yet.

        Args:
            folder: Of the repository.
            remote: An absolute folder or an address; empty for a folder in the repository's.
            wait: Seconds to wait for a lock, this store's and DVC's own.
            holder: How others who wait name this one.
            command: How DVC is started; None for that of this environment.
        """
        self.folder, self.wait, self.holder = folder, wait, holder
        self.remote = remote or str(folder / _REMOTE_FOLDER)
        self.command = command or (sys.executable, "-m", "dvc")

    def track(self, datasets: Mapping[str, Dataset]) -> dict[str, DatasetVersion]:
        """Adds and pushes datasets; content that is there is not added again, and only what is missing is pushed.

        Raises:
            ArtifactError: A file is missing, or has changed.
            VersionError: DVC failed, or something is not in the remote although it did not.
            LockedError: Another process held the repository longer than `wait`.
            ConfigError: DVC is not installed.
        """
        paths = {name: f"{name}/{_content_digest(dataset)[:16]}" for name, dataset in datasets.items()}
        with self._locked():
            self._configure()
            missing = [name for name in datasets if not self._is_cached(paths[name])]
            for name in missing:
                self._stage(paths[name], datasets[name])
            if missing:
                self._run("add", *(paths[name] for name in missing))
            self._push(list(paths.values()))
            for path in paths.values():
                # The run has these files, and so has DVC's cache; a third copy serves nobody.
                shutil.rmtree(self.folder / path, ignore_errors=True)
            return {name: self._version(path) for name, path in paths.items()}

    def fetch(self, version: DatasetVersion) -> Path:
        """Gets a version from the remote, whether this repository has seen it or not; gives the folder with its files.

        Raises:
            VersionError: The remote does not have it, or DVC failed.
            LockedError: Another process held the repository longer than `wait`.
        """
        note = self.folder / f"{version.path}.dvc"
        out = {"md5": version.md5, "size": version.bytes, "nfiles": version.files, "hash": "md5", "path": note.stem}
        with self._locked():
            self._configure()
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(yaml.safe_dump({"outs": [out]}, sort_keys=False), encoding="utf-8")
            self._run("pull", f"{version.path}.dvc")
        return self.folder / version.path

    def _locked(self) -> AbstractContextManager[None]:
        def busy(who: str) -> LockedError:
            return LockedError(f"{self.folder} is held by {who}; waited {self.wait:g} s (snapshot.lock_wait)")

        return locked(self.folder, busy, self.wait, self.holder)

    def _configure(self) -> None:
        """Makes the repository, or gives it the remote."""
        # A remote within the folder moves with it.
        url = f"../{_REMOTE_FOLDER}" if self.remote == str(self.folder / _REMOTE_FOLDER) else self.remote
        config = _CONFIG.format(name=_REMOTE, url=url)
        for name, content in ((".dvc/config", config), (".dvcignore", f"/{_REMOTE_FOLDER}\n")):
            path = self.folder / name
            if not path.is_file() or path.read_text(encoding="utf-8") != content:
                path.parent.mkdir(parents=True, exist_ok=True)
                partial = partial_beside(path)
                partial.write_text(content, encoding="utf-8")
                partial.replace(path)

    def _stage(self, path: str, dataset: Dataset) -> None:
        """Copies files to where DVC adds them from; a copy that an earlier attempt left is not trusted."""
        folder = self.folder / path
        shutil.rmtree(folder, ignore_errors=True)
        for name, source in dataset.items():
            source.place.download(source.name, folder / name)
            found = sha256_of_file(folder / name)
            if found != source.sha256:
                raise ArtifactError(
                    f"{source.place.uri}/{source.name} changed while the run went on: sha256 {found}, the run read "
                    f"{source.sha256}; run the step that reads it again"
                )

    def _push(self, paths: Sequence[str]) -> None:
        """Pushes versions that the cache has, and looks whether everything is in the remote.

        `dvc push` takes the remote's word: where the list of a folder's files is there it checks none of them, and what
        neither cache nor remote has is a warning to it. So a list whose files are not all there is taken away first.
        """
        place = Storage(self.remote).at(*_OBJECTS)
        for path in paths:
            if self._not_in_remote(place, path):
                with suppress(FileNotFoundError):
                    place.filesystem.rm_file(f"{place.root}/{_object(self._version(path).md5)}")
        self._run("push", *(f"{path}.dvc" for path in paths))
        if lost := [name for path in paths for name in self._not_in_remote(place, path)]:
            raise VersionError(f"dvc push succeeded, but {place.uri} lacks {', '.join(lost)}; take the snapshot again")

    def _version(self, path: str) -> DatasetVersion:
        """What `PATH.dvc` says."""
        (out,) = yaml.safe_load((self.folder / f"{path}.dvc").read_text(encoding="utf-8"))["outs"]
        return DatasetVersion(path, out["md5"], out["nfiles"], out["size"])

    def _is_cached(self, path: str) -> bool:
        """Whether `PATH.dvc` is there and the cache has all of it."""
        try:
            return all(found.is_file() for found in self._objects(path))
        except FileNotFoundError:
            return False

    def _objects(self, path: str) -> Iterator[Path]:
        """DVC's files of a version, in its cache: the contents, then the list of them."""
        cache, listed = self.folder.joinpath(".dvc", "cache", *_OBJECTS), _object(self._version(path).md5)
        entries = json.loads((cache / listed).read_text(encoding="utf-8"))
        yield from (cache / _object(entry["md5"]) for entry in entries)
        yield cache / listed

    def _not_in_remote(self, place: Storage, path: str) -> list[str]:
        missing = []
        for found in self._objects(path):
            name = f"{found.parent.name}/{found.name}"
            try:
                size = place.filesystem.info(f"{place.root}/{name}")["size"]
            except FileNotFoundError:
                size = None
            except OSError as error:
                raise VersionError(f"remote {self.remote} cannot be read: {error}") from error
            if size != found.stat().st_size:
                missing.append(name)
        return missing

    def _run(self, *arguments: str) -> None:
        """Runs DVC; waits while a command given by hand, or one that outlived its step, has DVC's own lock."""
        # The settings of a `dvc repro` that this step may run under are not for this repository.
        others = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
        own = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(self.folder / ".dvc" / "site")}
        command, deadline = [*self.command, *arguments], time.monotonic() + self.wait
        while True:
            done = subprocess.run(
                command, cwd=self.folder, env=others | own, capture_output=True, text=True, check=False
            )
            if done.returncode == 0:
                return
            said = (done.stderr or done.stdout).strip()  # `--quiet` would keep DVC's errors to itself
            if "No module named dvc" in said:
                raise ConfigError("DVC is not installed: install modit[versioning], or set snapshot.enabled to false")
            if not _BUSY.search(said):
                raise VersionError(f"dvc {arguments[0]} in {self.folder} (remote {self.remote}) failed: {said}")
            if time.monotonic() > deadline:
                raise LockedError(f"another dvc command holds {self.folder}; waited {self.wait:g} s: {said}")
            time.sleep(_PAUSE)


def _object(md5: str) -> str:
    return f"{md5[:2]}/{md5[2:]}"


def _content_digest(dataset: Dataset) -> str:
    return digest_of(sorted((name, source.sha256) for name, source in dataset.items()))
