"""DVC by its command line, the interface that it keeps stable; importing it would cost the same second.

The repository is one of its own without git (`no_scm`), so that a nightly run commits to nobody's code (docs/adr/0015).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from modit.core.errors import ConfigError, LockedError, VersionError
from modit.core.storage import Storage, partial_beside

REMOTE_FOLDER = "remote"
_REMOTE = "versions"
_BUSY = re.compile(r"Unable to acquire lock|is being blocked by", re.IGNORECASE)
_PAUSE = 0.5
# Where DVC 3 keeps contents, in a cache as in a remote.
_OBJECTS = ("files", "md5")


@dataclass(frozen=True)
class DatasetVersion:
    """A version of a dataset.

    Attributes:
        path: its folder in the repository, `DATASET/` and 16 digits of a hash over names and contents.
        md5: DVC's hash of the folder, with the suffix `.dir`.
        files: number of files.
        bytes: their size.
    """

    path: str
    md5: str
    files: int
    bytes: int

    def as_json(self) -> dict[str, Any]:
        """For records."""
        return asdict(self)


class DvcRepository:
    """A folder with `.dvc/`, and its remote."""

    def __init__(self, folder: Path, remote: str, wait: float, command: Sequence[str] | None = None) -> None:
        """Describes it; nothing is made yet.

        Args:
            folder: of the repository.
            remote: an absolute folder or an address.
            wait: seconds to wait for DVC's own lock.
            command: how DVC is started; None for that of this environment.
        """
        self.folder, self.remote, self.wait = folder, remote, wait
        self.command = command or (sys.executable, "-m", "dvc")

    def configure(self) -> None:
        """Makes the repository, or gives it the remote."""
        # A remote within the folder moves with it.
        remote = f"../{REMOTE_FOLDER}" if self.remote == str(self.folder / REMOTE_FOLDER) else self.remote
        text = (
            "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n"
            f"    remote = {_REMOTE}\n['remote \"{_REMOTE}\"']\n    url = {remote}\n"
        )
        for name, content in ((".dvc/config", text), (".dvcignore", f"/{REMOTE_FOLDER}\n")):
            path = self.folder / name
            if not path.is_file() or path.read_text(encoding="utf-8") != content:
                path.parent.mkdir(parents=True, exist_ok=True)
                partial = partial_beside(path)
                partial.write_text(content, encoding="utf-8")
                partial.replace(path)

    def add(self, paths: list[str]) -> None:
        """Takes folders into the cache and writes `PATH.dvc` beside each."""
        self._run("add", *paths)

    def push(self, paths: list[str]) -> None:
        """Pushes versions that the cache has, and looks whether everything is in the remote.

        `dvc push` takes the remote's word: where the list of a folder's files is there it checks none of them, and what
        neither cache nor remote has is a warning to it. So a list whose files are not all there is taken away first.

        Raises:
            VersionError: DVC failed, or did not and yet something is not in the remote, which may not be readable.
        """
        place = Storage(self.remote).at(*_OBJECTS)
        for path in paths:
            if self._not_in_remote(place, path):
                with suppress(FileNotFoundError):
                    place.filesystem.rm_file(f"{place.root}/{_object(self.version(path).md5)}")
        self._run("push", *(f"{path}.dvc" for path in paths))
        lost = [name for path in paths for name in self._not_in_remote(place, path)]
        if lost:
            raise VersionError(f"dvc push succeeded, but {place.uri} lacks {', '.join(lost)}; take the snapshot again")

    def pull(self, version: DatasetVersion) -> None:
        """Gets a version from the remote, whether this repository has seen it or not.

        Raises:
            VersionError: the remote does not have it, or DVC failed.
        """
        path = self.folder / f"{version.path}.dvc"
        out = {"md5": version.md5, "size": version.bytes, "nfiles": version.files, "hash": "md5", "path": path.stem}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({"outs": [out]}, sort_keys=False), encoding="utf-8")
        self._run("pull", f"{version.path}.dvc")

    def version(self, path: str) -> DatasetVersion:
        """What `PATH.dvc` says."""
        (out,) = yaml.safe_load((self.folder / f"{path}.dvc").read_text(encoding="utf-8"))["outs"]
        return DatasetVersion(path, out["md5"], out["nfiles"], out["size"])

    def is_cached(self, path: str) -> bool:
        """Whether `PATH.dvc` is there and the cache has all of it."""
        try:
            return all(found.is_file() for found in self._objects(path))
        except FileNotFoundError:
            return False

    def _objects(self, path: str) -> Iterator[Path]:
        """DVC's files of a version, in its cache: the contents, then the list of them."""
        cache, listed = self.folder.joinpath(".dvc", "cache", *_OBJECTS), _object(self.version(path).md5)
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
        deadline = time.monotonic() + self.wait
        while True:
            done = subprocess.run(
                [*self.command, *arguments],
                cwd=self.folder,
                env=others | own,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode == 0:
                return
            # `--quiet` would keep DVC's errors to itself.
            said = (done.stderr or done.stdout).strip()
            if "No module named dvc" in said:
                raise ConfigError("DVC is not installed: install modit[versioning], or set snapshot.enabled to false")
            if not _BUSY.search(said):
                raise VersionError(f"dvc {arguments[0]} in {self.folder} (remote {self.remote}) failed: {said}")
            if time.monotonic() > deadline:
                raise LockedError(f"another dvc command holds {self.folder}; waited {self.wait:g} s: {said}")
            time.sleep(_PAUSE)


def _object(md5: str) -> str:
    return f"{md5[:2]}/{md5[2:]}"
