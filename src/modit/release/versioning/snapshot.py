"""The snapshot of a run: which files make a dataset, and the record of their versions, `versions.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from modit.core.artifacts import Manifest
from modit.core.errors import ArtifactError
from modit.core.storage import Storage, digest_of
from modit.core.window import WindowLedger
from modit.core.workspace import cache_folder
from modit.release.documents import Json, read_strictly, write_document
from modit.release.versioning.code_state import CodeState
from modit.release.versioning.version_store import Dataset, DatasetVersion, TrackedFile

VERSIONS_FILE = "versions.json"
VERSIONED, DISABLED = "versioned", "disabled"
RAW, HISTORY, CHAMPION, STARTING_POINT = "raw", "history", "champion", "starting_point"
# Name folders that are taken instead of what the registry has today: with DOMAIN/champion.json (of the next item,
# champion.json), and with a starting point.
CHAMPIONS_VARIABLE, STARTING_POINT_VARIABLE = "MODIT_CHAMPIONS", "MODIT_STARTING_POINT"
REPOSITORY_FOLDER = ".versions"
_SCHEMA_VERSION = 1


def repository_place(run_uri: str, remote: str) -> tuple[Path, str]:
    """Where versions of the runs beside a run are kept: the folder of the DVC repository, and the remote's address.

    The folder is local for remote runs too. An empty `remote` stands for a folder beside the runs.
    """
    beside = Storage(run_uri).parent.at(REPOSITORY_FOLDER)
    folder = beside.local or cache_folder() / "versions" / digest_of(beside.uri)[:16]
    return folder, remote or beside.at("remote").uri


def input_datasets(run_uri: str, catalogue: str, lineage: Sequence[Manifest]) -> dict[str, Dataset]:
    """What a run read from outside, by the hashes that its steps noted in their manifests when they read it.

    Returns:
        `raw`, the input files; and `history`, the records of accepted windows that a window was compared with.

    Raises:
        ArtifactError: No step read the input, or two steps read different content.
    """
    raw = _noted("catalogue", Storage(catalogue), lineage)
    if not raw:
        raise ArtifactError(f"no step of this run noted which files of {catalogue} it read")
    history = _noted("history", WindowLedger(Storage(run_uri), catalogue).place, lineage)
    return {RAW: raw} | ({HISTORY: history} if history else {})


def _noted(part: str, place: Storage, lineage: Sequence[Manifest]) -> Dataset:
    files: dict[str, str] = {}
    for manifest in lineage:
        for name, sha256 in manifest.key_parts.get(part, {}).items():
            if files.setdefault(name, sha256) != sha256:
                raise ArtifactError(f"{place.uri}/{name} changed between steps of this run; run the first again")
    return {name: TrackedFile(place, name, sha256) for name, sha256 in sorted(files.items())}


def artifact_dataset(names: Sequence[str], lineage: Sequence[Manifest], folders: Mapping[str, Path]) -> Dataset:
    """The files of some artifacts as `ARTIFACT/DOMAIN/file`; a part that is the same for all is left out.

    `folders` has the folder of each `ARTIFACT` or `ARTIFACT/DOMAIN`; `lineage`, their manifests and others.
    """
    dataset = {}
    for manifest in lineage:
        if manifest.kind not in names:
            continue
        domain = [manifest.domain] if manifest.domain else []
        place = Storage(str(folders["/".join([manifest.kind, *domain])]))
        parts = [manifest.kind, *domain] if len(names) > 1 else domain
        for entry in manifest.files:
            dataset["/".join([*parts, entry.name])] = TrackedFile(place, entry.name, entry.sha256)
    return dataset


def versions_record(versions: Mapping[str, DatasetVersion] | None, code: CodeState) -> Json:
    """The content of `versions.json`; `versions` is None when the parameters ask for no snapshot.

    Equal content and code give equal bytes wherever the run is.
    """
    record: Json = {"schema_version": _SCHEMA_VERSION, "code": asdict(code)}
    if versions is None:
        reason = "snapshot.enabled is false: the data of this run was not versioned, it cannot be reproduced"
        return record | {"status": DISABLED, "reason": reason, "datasets": {}}
    return record | {"status": VERSIONED, "datasets": {name: asdict(entry) for name, entry in versions.items()}}


def version_tags(record: Json) -> dict[str, str]:
    """Tags of a model version: `data_versions`, and `DATASET_version` with DVC's hash of each dataset."""
    hashes = {f"{name}_version": version["md5"] for name, version in record["datasets"].items()}
    return hashes | {"data_versions": record["status"]}


def save_versions(folder: Path, record: Json) -> None:
    """Writes `versions.json` into an existing folder."""
    write_document(folder / VERSIONS_FILE, record)


def load_versions(folder: Path) -> Json:
    """Reads `versions.json`.

    Raises:
        ArtifactError: It is missing or of another schema.
    """
    return read_strictly(folder / VERSIONS_FILE, _SCHEMA_VERSION)
