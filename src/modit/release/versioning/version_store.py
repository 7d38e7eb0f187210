"""Versions of datasets beside the runs: content is added once, pushed to the remote, and fetched again by its hash."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from modit.core.errors import ArtifactError, LockedError
from modit.core.locks import locked
from modit.core.storage import Storage, digest_of, sha256_of_file
from modit.release.versioning.dvc_repository import REMOTE_FOLDER, DatasetVersion, DvcRepository


@dataclass(frozen=True)
class TrackedFile:
    """A file to version: where it is, and the sha256 that it must have."""

    place: Storage
    name: str
    sha256: str


Dataset = Mapping[str, TrackedFile]
"""Files of a dataset by their names in it."""


class VersionStore:
    """Versions in a folder, for one process at a time."""

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
            folder: of the repository.
            remote: an absolute folder or an address; empty for a folder in the repository's.
            wait: seconds to wait for a lock.
            holder: how others who wait name this one.
            command: how DVC is started; None for that of this environment.
        """
        self.folder, self.wait, self.holder = folder, wait, holder
        self._repository = DvcRepository(folder, remote or str(folder / REMOTE_FOLDER), wait, command)

    def track(self, datasets: Mapping[str, Dataset]) -> dict[str, DatasetVersion]:
        """Adds and pushes datasets; content that is there is not added again, and only what is missing is pushed.

        Raises:
            ArtifactError: a file is missing, or has changed.
            VersionError: DVC failed.
            LockedError: another process held the repository longer than `wait`.
            ConfigError: DVC is not installed.
        """
        paths = {name: f"{name}/{_content_digest(dataset)[:16]}" for name, dataset in datasets.items()}
        with self._locked():
            self._repository.configure()
            missing = [name for name in datasets if not self._repository.is_cached(paths[name])]
            for name in missing:
                self._stage(paths[name], datasets[name])
            if missing:
                self._repository.add([paths[name] for name in missing])
            self._repository.push(list(paths.values()))
            for path in paths.values():
                # The run has these files, and so has DVC's cache; a third copy serves nobody.
                shutil.rmtree(self.folder / path, ignore_errors=True)
            return {name: self._repository.version(path) for name, path in paths.items()}

    def fetch(self, version: DatasetVersion) -> Path:
        """Gets a version from the remote.

        Returns:
            The folder with its files.

        Raises:
            VersionError: the remote does not have it, or DVC failed.
            LockedError: another process held the repository longer than `wait`.
        """
        with self._locked():
            self._repository.configure()
            self._repository.pull(version)
        return self.folder / version.path

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self.folder, self._busy, self.wait, self.holder)

    def _busy(self, who: str) -> LockedError:
        return LockedError(f"{self.folder} is held by {who}; waited {self.wait:g} s (snapshot.lock_wait)")

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


def _content_digest(dataset: Dataset) -> str:
    return digest_of(sorted((name, source.sha256) for name, source in dataset.items()))
