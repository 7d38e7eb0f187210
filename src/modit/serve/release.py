"""A release: what answers for a domain, loaded from the run that a model version names and checked against its tags."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from modit.core.artifacts import ArtifactStore
from modit.core.errors import ArtifactError
from modit.core.storage import Storage, sha256_of_file
from modit.release.registry import NamedVersion
from modit.release.runtime import OnnxSampler, load_sampler
from modit.serve.items import Items, load_items
from modit.serve.retrieval import Question, retrieve

_TAGS = ("run_uri", "sampler_digest", "index_digest")


@dataclass(frozen=True)
class Source:
    """What a release is loaded from.

    Attributes:
        model: registered name.
        version: number within the model.
        alias: that named it.
        domain: of the model.
        run_uri: address of the run that has sampler, index and catalogue.
        sampler_digest: sha256 of `sampler.onnx`.
        index_digest: of the index.
    """

    model: str
    version: int
    alias: str
    domain: str
    run_uri: str
    sampler_digest: str
    index_digest: str

    @classmethod
    def of(cls, named: NamedVersion) -> Source:
        """Reads the tags of a version.

        Raises:
            ArtifactError: a tag is missing.
        """
        if missing := [name for name in _TAGS if name not in named.tags]:
            raise ArtifactError(f"{named.model} version {named.version} has no tag {', '.join(missing)}")
        return cls(named.model, named.version, named.alias, named.domain, *(named.tags[name] for name in _TAGS))

    @property
    def label(self) -> str:
        """Name for people."""
        return f"{self.model} version {self.version}"


@dataclass(frozen=True, eq=False)
class Release:
    """What answers for a domain.

    Attributes:
        source: where it is from.
        sampler: seeds to query.
        items: query to items.
        loaded: when.
    """

    source: Source
    sampler: OnnxSampler
    items: Items
    loaded: datetime


def load_release(source: Source, others: Iterable[Release] = ()) -> Release:
    """Loads a release and asks it once. What is downloaded for it leaves the disk with it.

    Args:
        source: of a model version.
        others: that are loaded; index and catalogue are shared with one that has the same.

    Raises:
        ArtifactError: something is missing, damaged, or not what the version was registered with; it is named.
    """
    # A mapped file stays readable after its folder has gone.
    with tempfile.TemporaryDirectory(prefix="modit-") as folder:
        store = ArtifactStore(Storage(source.run_uri), Path(folder))
        sampler = _load_sampler(store, source)
        items = _shared_items(store, source, others) or load_items(store, source.index_digest)
    if sampler.info.dimension != items.index.meta.dimension:
        raise ArtifactError(
            f"{source.label}: dimension of the sampler is {sampler.info.dimension}, of the index "
            f"{items.index.meta.dimension}"
        )
    seed = items.embeddings[items.rows_of(items.ids_of(np.zeros(1, np.int64)))]
    retrieve(sampler, items.index, Question(seed, k=1))
    return Release(source, sampler, items, datetime.now(UTC))


def _load_sampler(store: ArtifactStore, source: Source) -> OnnxSampler:
    """The sampler, made for this index and this catalogue, on one thread: requests share the cores."""
    path = store.read("sampler", source.domain) / "sampler.onnx"
    place = f"{store.at('sampler', source.domain).uri}/{path.name}"
    _expect(f"sha256 of {place}", sha256_of_file(path), f"tag sampler_digest of {source.label}", source.sampler_digest)
    sampler = load_sampler(path, threads=1)
    _expect(f"domain of {place}", sampler.info.domain, f"domain of {source.label}", source.domain)
    made_of = store.get("sampler", source.domain).key_parts["inputs"]
    for name in ("index", "catalog"):
        _expect(
            f"artifact {name!r} of the run", store.get(name).digest, f"the one that {place} was made for", made_of[name]
        )
    return sampler


def _shared_items(store: ArtifactStore, source: Source, others: Iterable[Release]) -> Items | None:
    wanted = (source.index_digest, store.get("catalog").digest)
    return next((other.items for other in others if other.items.digests == wanted), None)


def _expect(what: str, found: str, against: str, expected: str) -> None:
    if found != expected:
        raise ArtifactError(f"{what} is {found}; {against} is {expected}")
