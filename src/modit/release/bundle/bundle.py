"""The bundle: the one unit that is promoted. `bundle.json` names every file of it with its sha256.

A bundle consists of parts, which are artifacts of its run; of files beside `bundle.json` (canary queries, a sample of
the embedding space, parameters, the model card); and of the kind of retriever that answers from the parts. What the
parts of each kind are is in `modit.release.kinds`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import with_config

from modit import __version__
from modit.core.artifacts import ArtifactStore
from modit.core.errors import ArtifactError
from modit.core.storage import digest_of, sha256_of_file
from modit.release.documents import STRICT, parse_document, read_strictly, write_document
from modit.release.kinds import SAMPLER, VERDICT, ReleaseKind, kind_of
from modit.release.verdict import VERDICT_FILE

BUNDLE_FILE = "bundle.json"
CANARIES_FILE, SPACE_FILE, PARAMS_FILE = "canaries.json", "space.json", "params.json"
CARD_FILE = "model_card.md"
_SCHEMA_VERSION = 3


@with_config(STRICT)
@dataclass(frozen=True)
class Part:
    """An artifact of the run that belongs to the bundle, with the sha256 of each file that counts."""

    artifact: str
    domain: str | None
    files: dict[str, str]

    @property
    def digest(self) -> str:
        """sha256 over the names and digests of the files."""
        return digest_of(self.files)


@with_config(STRICT)
@dataclass(frozen=True)
class Bundle:
    """The manifest of a model version.

    Attributes:
        domain: The domain that it answers for, or `next_item`.
        parts: Artifacts of the run, by the names of its kind.
        files: sha256 of each file beside `bundle.json`.
        index_digest: Digest of what is searched, over everything that decides its answers: the index, or the semantic
            IDs of all items.
        space: Version of the embedding space (`modit.release.bundle.embedding_space`); empty where no vector is asked.
        feature_service: `name` in Feast, and `digest` of the rows that were published for it; empty where no feature is
            read.
        window: Days of the data, `start` and `end` (exclusive), or None for all data.
        status: Of the domain in the verdict, PASS or FAIL.
        retriever: The kind of retriever that answers from the parts.
    """

    domain: str
    parts: dict[str, Part]
    files: dict[str, str]
    index_digest: str
    space: str
    feature_service: dict[str, str]
    window: dict[str, str] | None
    status: str
    retriever: str = SAMPLER
    modit_version: str = __version__
    schema_version: int = _SCHEMA_VERSION

    @property
    def digest(self) -> str:
        """sha256 over all fields."""
        return digest_of(asdict(self))

    @property
    def verdict_digest(self) -> str:
        """sha256 of `verdict.json`, which an approval names."""
        return self.parts[VERDICT].files[VERDICT_FILE]

    @property
    def kind(self) -> ReleaseKind:
        """The kind of its domain."""
        return kind_of(self.domain)

    @property
    def model_digest(self) -> str:
        """sha256 of the model's file, such as `sampler.onnx`."""
        part, file = self.kind.model
        return self.parts[part].files[file]

    def save(self, folder: Path) -> None:
        """Writes `bundle.json` into an existing folder."""
        write_document(folder / BUNDLE_FILE, asdict(self) | {"digest": self.digest})

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Reads `bundle.json`, and compares it and the files beside it with their digests.

        Raises:
            ArtifactError: It is missing, of another schema, or a digest differs; the file is named.
        """
        place = folder / BUNDLE_FILE
        content = read_strictly(place, _SCHEMA_VERSION)
        stated = content.pop("digest", None)
        bundle = parse_document(content, cls, str(place))
        if bundle.digest != stated:
            raise ArtifactError(f"{place} was edited: its digest is {bundle.digest}, it states {stated}")
        for name, sha256 in bundle.files.items():
            found = sha256_of_file(folder / name) if (folder / name).is_file() else "missing"
            if found != sha256:
                raise ArtifactError(f"{folder / name} was edited: its sha256 is {found}, the bundle has {sha256}")
        return bundle


def expect_part(store: ArtifactStore, part: Part) -> Path:
    """The folder of an artifact whose files are those of the bundle; of a remote run, this makes a copy.

    Raises:
        ArtifactError: A file is missing, damaged, or differs from the bundle's; it is named.
    """
    listed = {entry.name: entry.sha256 for entry in store.get(part.artifact, part.domain).files}
    place = store.at(part.artifact, part.domain).uri
    for name, sha256 in part.files.items():
        if listed.get(name) != sha256:
            found = listed.get(name, "missing")
            raise ArtifactError(f"{place}/{name} is not that of the bundle: it is {found}, the bundle has {sha256}")
    return store.read(part.artifact, part.domain, part.files)
