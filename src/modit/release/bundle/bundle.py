"""The bundle: the one unit that is promoted. `bundle.json` names every file of it with its sha256."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modit import __version__
from modit.core.artifacts import ArtifactStore
from modit.core.errors import ArtifactError
from modit.core.storage import Storage, digest_of, sha256_of_file
from modit.inference.sampler_file import FLOAT32, sampler_file

Json = dict[str, Any]

BUNDLE, BUNDLE_FILE = "bundle", "bundle.json"
CANARIES_FILE, SPACE_FILE, PARAMS_FILE = "canaries.json", "space.json", "params.json"
CARD_FILE, LICENCES_FILE = "model_card.md", "licences.json"
# Artifacts of the run that belong to the bundle, and the files that count; None: all. Index and catalogue are shared
# by the domains of a run, so they are named, not copied.
PARTS: Mapping[str, tuple[str, ...] | None] = {
    "sampler": None,
    "index": None,
    "catalog": ("items.parquet", "embeddings.npy"),
    "cases": None,
    "report": None,
    "verdict": None,
}
_SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Part:
    """An artifact of the run that belongs to the bundle.

    Attributes:
        artifact: its name.
        domain: its domain, or None.
        files: sha256 of each file that counts.
    """

    artifact: str
    domain: str | None
    files: dict[str, str]

    @property
    def digest(self) -> str:
        """sha256 over the names and digests of the files."""
        return digest_of(self.files)


@dataclass(frozen=True)
class Bundle:
    """What a model version is.

    Attributes:
        domain: whose sampler it is.
        parts: artifacts of the run, by name.
        files: sha256 of each file beside `bundle.json`.
        index_digest: of the index, over what decides its answers.
        space: version of the embedding space (`modit.release.bundle.embedding_space`).
        feature_service: `name` in Feast, and `digest` of the rows that were published for it.
        window: first and last day of the data, `start` and `end` (not included), or None: everything.
        status: of the domain in the verdict, PASS or FAIL.
        precisions: files of the sampler beside that of float32, and whether the verdict offers them: `offered`,
            `words`, `findings`.
        modit_version: that made it.
    """

    domain: str
    parts: dict[str, Part]
    files: dict[str, str]
    index_digest: str
    space: str
    feature_service: dict[str, str]
    window: dict[str, str] | None
    status: str
    precisions: dict[str, Json]
    modit_version: str = __version__

    @property
    def content(self) -> Json:
        """As JSON, without the digest."""
        return {"schema_version": _SCHEMA_VERSION, **asdict(self)}

    @property
    def digest(self) -> str:
        """sha256 over all of it."""
        return digest_of(self.content)

    @property
    def verdict_digest(self) -> str:
        """sha256 of `verdict.json`, which an approval names."""
        return self.parts["verdict"].files["verdict.json"]

    @property
    def sampler_digest(self) -> str:
        """sha256 of `sampler.onnx`."""
        return self.parts["sampler"].files["sampler.onnx"]

    def expect_offered(self, precision: str) -> None:
        """Refuses a precision that this may not be served in.

        Raises:
            ArtifactError: there is no such file, or the verdict does not offer it; it says why.
        """
        if precision == FLOAT32:
            return
        if precision not in self.precisions or sampler_file(precision) not in self.parts["sampler"].files:
            there = ", ".join([FLOAT32, *self.precisions])
            raise ArtifactError(f"the bundle of {self.domain} has no precision {precision}; it has {there}")
        if not self.precisions[precision]["offered"]:
            raise ArtifactError(f"the bundle of {self.domain}: {self.precisions[precision]['words']}")

    def save(self, folder: Path) -> None:
        """Writes `bundle.json` into an existing folder."""
        text = json.dumps(self.content | {"digest": self.digest}, indent=1, sort_keys=True) + "\n"
        (folder / BUNDLE_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Reads `bundle.json`, and compares it and the files beside it with their digests.

        Raises:
            ArtifactError: it is missing, of another schema, or a digest differs; the file is named.
        """
        place = folder / BUNDLE_FILE
        content = Storage(str(folder)).read_json(BUNDLE_FILE)
        if content is None or content.pop("schema_version", None) != _SCHEMA_VERSION:
            raise ArtifactError(
                f"{place} is missing or of another schema; this version of modit reads {_SCHEMA_VERSION}"
            )
        stated = content.pop("digest", None)
        try:
            parts = {name: Part(**part) for name, part in content.pop("parts").items()}
            bundle = cls(**content, parts=parts)
        except (KeyError, TypeError) as error:
            raise ArtifactError(f"{place} is no bundle: {error}") from error
        if bundle.digest != stated:
            raise ArtifactError(f"{place} was edited: its digest is {bundle.digest}, it says {stated}")
        _expect_files(folder, bundle.files)
        return bundle


def canaries_file(precision: str) -> str:
    """Name of the canaries that a sampler's file of a precision answers."""
    return CANARIES_FILE if precision == FLOAT32 else f"canaries.{precision}.json"


def expect_part(store: ArtifactStore, part: Part) -> Path:
    """The folder of an artifact whose files are those of the bundle; of a remote run, a copy.

    Raises:
        ArtifactError: a file is missing, damaged, or another one; it is named.
    """
    listed = {entry.name: entry.sha256 for entry in store.get(part.artifact, part.domain).files}
    place = store.at(part.artifact, part.domain).uri
    for name, sha256 in part.files.items():
        if listed.get(name) != sha256:
            found = listed.get(name, "missing")
            raise ArtifactError(f"{place}/{name} is not that of the bundle: it is {found}, the bundle has {sha256}")
    return store.read(part.artifact, part.domain, part.files)


def read_part(store: ArtifactStore, bundle: Bundle, name: str, file: str) -> Json:
    """A JSON file of an artifact that a bundle names.

    Raises:
        ArtifactError: as `expect_part`.
    """
    return Storage(str(expect_part(store, bundle.parts[name]))).read_json(file) or {}


def _expect_files(folder: Path, files: Mapping[str, str]) -> None:
    for name, sha256 in files.items():
        if not (folder / name).is_file():
            raise ArtifactError(f"{folder / name} is missing, though the bundle lists it")
        if (found := sha256_of_file(folder / name)) != sha256:
            raise ArtifactError(f"{folder / name} was edited: its sha256 is {found}, the bundle has {sha256}")
