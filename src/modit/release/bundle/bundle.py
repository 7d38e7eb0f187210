"""The bundle: the one unit that is promoted. `bundle.json` names every file of it with its sha256.

A bundle consists of parts, which are artifacts of its run; of files beside `bundle.json` (canary queries, a sample of
the embedding space, parameters, the model card); and of the kind of retriever that answers from the parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import with_config

from modit import __version__
from modit.core.artifacts import ArtifactStore
from modit.core.errors import ArtifactError
from modit.core.storage import digest_of, sha256_of_file
from modit.inference.sampler_file import SAMPLER_FILE
from modit.release.documents import STRICT, parse_document, read_strictly, write_document
from modit.release.verdict import VERDICT_FILE

BUNDLE, BUNDLE_FILE = "bundle", "bundle.json"
CANARIES_FILE, SPACE_FILE, PARAMS_FILE = "canaries.json", "space.json", "params.json"
CARD_FILE = "model_card.md"
# Kinds of retrievers that a bundle may name.
SAMPLER = "sampler"
# Artifacts of the run that belong to the bundle of a sampler, and the files that count; None: all. Index and catalogue
# are shared by the domains of a run, so they are named, not copied.
PARTS: Mapping[str, tuple[str, ...] | None] = {
    "sampler": None,
    "index": None,
    "catalog": ("items.parquet", "embeddings.npy"),
    "cases": None,
    "report": None,
    "verdict": None,
    "second_stage": None,
}
# Parts that bundles of earlier versions lack; a release answers without them.
OPTIONAL_PARTS = ("second_stage",)
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
        domain: The domain that it answers for.
        parts: Artifacts of the run, by name.
        files: sha256 of each file beside `bundle.json`.
        index_digest: Digest of the index, over everything that decides its answers.
        space: Version of the embedding space (`modit.release.bundle.embedding_space`).
        feature_service: `name` in Feast, and `digest` of the rows that were published for it.
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
        return self.parts["verdict"].files[VERDICT_FILE]

    @property
    def sampler_digest(self) -> str:
        """sha256 of `sampler.onnx`."""
        return self.parts["sampler"].files[SAMPLER_FILE]

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
