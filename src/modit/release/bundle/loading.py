"""A release: what answers for a domain, loaded from the bundle that a model version names and checked against it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from modit.core.artifacts import ArtifactStore
from modit.core.errors import ArtifactError
from modit.core.storage import Storage
from modit.index.params import RetrievalParams
from modit.inference.items import Items, load_items
from modit.inference.runtime import OnnxSampler, load_sampler
from modit.inference.sampler_file import FLOAT32, sampler_file
from modit.release.bundle.bundle import BUNDLE, PARAMS_FILE, PARTS, SPACE_FILE, Bundle, canaries_file, expect_part
from modit.release.bundle.canaries import expect_answers, load_canaries
from modit.release.bundle.embedding_space import Space
from modit.release.promotion.model_version import NamedVersion

_TAGS = ("run_uri", "bundle_digest", "sampler_digest", "index_digest")
_SHARED = ("index", "catalog")


@dataclass(frozen=True)
class ReleaseSource:
    """What a release is loaded from.

    Attributes:
        model: registered name.
        version: number within the model.
        alias: that named it.
        domain: of the model.
        run_uri: address of the run that has the bundle.
        bundle_digest: of the bundle.
        sampler_digest: sha256 of `sampler.onnx`.
        index_digest: of the index.
    """

    model: str
    version: int
    alias: str
    domain: str
    run_uri: str
    bundle_digest: str
    sampler_digest: str
    index_digest: str

    @classmethod
    def of(cls, named: NamedVersion) -> ReleaseSource:
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
        bundle: that it was loaded from.
        sampler: seeds to query.
        items: query to items.
        space: of the embeddings that it understands.
        loaded: when.
        depth: K of its run: how many results its lists were judged by.
        precision: of the sampler's file.
    """

    source: ReleaseSource
    bundle: Bundle
    sampler: OnnxSampler
    items: Items
    space: Space
    loaded: datetime
    depth: int
    precision: str = FLOAT32


def load_release(source: ReleaseSource, others: Iterable[Release] = (), precision: str = FLOAT32) -> Release:
    """Loads a bundle, verifies every digest and asks the canaries. What is downloaded for it leaves the disk with it.

    Args:
        source: of a model version.
        others: that are loaded; index and catalogue are shared with one that has the same.
        precision: of the sampler's file.

    Raises:
        ArtifactError: something is missing, damaged, edited, or not what the version was registered with, or the
            bundle does not offer the precision; it is named.
    """
    # A mapped file stays readable after its folder has gone.
    with tempfile.TemporaryDirectory(prefix="modit-") as folder:
        store = ArtifactStore(Storage(source.run_uri), Path(folder))
        own, bundle = open_bundle(store, source)
        bundle.expect_offered(precision)
        shared = next((other.items for other in others if other.items.digests == _items_digests(bundle)), None)
        skipped = _SHARED if shared else ()
        folders = {name: expect_part(store, bundle.parts[name]) for name in PARTS if name not in skipped}
        sampler = _load_sampler(folders["sampler"] / sampler_file(precision), source)
        items = shared or load_items(folders["index"], folders["catalog"], _items_digests(bundle))
        space = _expect_space(own, bundle, sampler, items, source)
        expect_answers(load_canaries(own / canaries_file(precision)), sampler, items, source.label)
        depth = _depth(own, len(items.index))
    return Release(source, bundle, sampler, items, space, datetime.now(UTC), depth, precision)


def _depth(own: Path, items: int) -> int:
    """K of the run, from the parameters that the bundle keeps."""
    params = Storage(str(own)).read_json(PARAMS_FILE) or {}
    return RetrievalParams.model_validate(params.get("retrieval", {})).depth(items)


def open_bundle(store: ArtifactStore, source: ReleaseSource) -> tuple[Path, Bundle]:
    """The folder and the manifest of a version's bundle, without the artifacts that it names.

    Raises:
        ArtifactError: it is missing, edited, or not the one that was registered.
    """
    place = store.at(BUNDLE, source.domain).uri
    folder = store.read(BUNDLE, source.domain)
    bundle = Bundle.load(folder)
    for name, found in (
        ("domain", bundle.domain),
        ("bundle_digest", bundle.digest),
        ("sampler_digest", bundle.sampler_digest),
        ("index_digest", bundle.index_digest),
    ):
        expected = getattr(source, name)
        if found != expected:
            raise ArtifactError(f"{name} of {place} is {found}; {source.label} was registered with {expected}")
    return folder, bundle


def _items_digests(bundle: Bundle) -> tuple[str, str]:
    return bundle.index_digest, bundle.parts["catalog"].digest


def _load_sampler(file: Path, source: ReleaseSource) -> OnnxSampler:
    """On one thread: requests share the cores."""
    sampler = load_sampler(file, threads=1)
    if sampler.info.domain != source.domain:
        raise ArtifactError(f"{file} is of domain {sampler.info.domain}; {source.label} needs {source.domain}")
    return sampler


def _expect_space(own: Path, bundle: Bundle, sampler: OnnxSampler, items: Items, source: ReleaseSource) -> Space:
    space = Space.load(own / SPACE_FILE)
    if space.version != bundle.space:
        raise ArtifactError(f"{own / SPACE_FILE} is space {space.version}; the bundle has {bundle.space}")
    for what, dimension in (("sampler", sampler.info.dimension), ("index", items.index.meta.dimension)):
        if dimension != space.dimension:
            raise ArtifactError(
                f"{source.label}: dimension of the {what} is {dimension}, of its space {space.dimension}"
            )
    rows = items.rows_of(list(space.items))
    if (rows < 0).any():
        raise ArtifactError(f"{source.label}: the catalogue lacks items of the sample of its embedding space")
    if difference := space.difference(Space.at(list(space.items), items.embeddings[rows])):
        raise ArtifactError(f"{source.label}: the catalogue is of another embedding space: {difference}")
    return space
