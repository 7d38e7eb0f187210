"""Loads a release: what answers for a domain, from the bundle that a model version names, verified against it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from modit.core.artifacts import ArtifactStore
from modit.core.errors import ArtifactError
from modit.core.storage import Storage
from modit.index.params import RetrievalParams
from modit.inference.items import Items, load_items
from modit.inference.retrieval import SamplerRetriever, retriever_over
from modit.inference.runtime import OnnxSampler, QuerySampler, load_sampler
from modit.inference.sampler_file import SAMPLER_FILE
from modit.inference.second_stage import ServedSecondStage, served_second_stage
from modit.metric.calibration import probability
from modit.metric.second_stage import SecondStage
from modit.release.bundle.bundle import (
    BUNDLE,
    CANARIES_FILE,
    OPTIONAL_PARTS,
    PARAMS_FILE,
    PARTS,
    SAMPLER,
    SPACE_FILE,
    Bundle,
    expect_part,
)
from modit.release.bundle.canaries import expect_answers, load_canaries
from modit.release.bundle.embedding_space import Space
from modit.release.documents import read_strictly
from modit.release.model_registry.model_version import NamedVersion

_TAGS = ("run_uri", "bundle_digest", "sampler_digest", "index_digest")
_SHARED = ("index", "catalog")


@dataclass(frozen=True)
class ReleaseSource:
    """A model version, the address of the run that has its bundle, and the digests that it was registered with."""

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
            ArtifactError: A tag is missing.
        """
        if missing := [name for name in _TAGS if name not in named.tags]:
            raise ArtifactError(f"{named.model} version {named.version} has no tag {', '.join(missing)}")
        return cls(named.model, named.version, named.alias, named.domain, *(named.tags[name] for name in _TAGS))

    @property
    def label(self) -> str:
        """Name for people."""
        return f"{self.model} version {self.version}"


class UntrainedFacts(NamedTuple):
    """What is known of a domain that nothing is trained for.

    Attributes:
        positives: Number of its positive verdicts.
        negatives: Number of its negative verdicts.
    """

    positives: int
    negatives: int


@dataclass(frozen=True, eq=False)
class Release:
    """What answers for a domain.

    Attributes:
        source: The version that it is.
        bundle: Its manifest.
        sampler: Turns seeds into a query.
        retriever: The sampler with the index: turns a query into rows.
        items: Turns ids into rows, and rows into items.
        space: Of the embeddings that it understands.
        loaded: When.
        depth: K of its run, the number of results that its lists were judged by.
        second_stage: Reranks its lists; None in a bundle of an earlier version.
        untrained: Of a domain that nothing is trained for; else None. Bundle and space are then those of the release
            whose catalogue and index it shares.
    """

    source: ReleaseSource
    bundle: Bundle
    sampler: QuerySampler
    retriever: SamplerRetriever
    items: Items
    space: Space
    loaded: datetime
    depth: int
    second_stage: ServedSecondStage | None = None
    untrained: UntrainedFacts | None = None

    @property
    def label(self) -> str:
        """Name for people."""
        return self.source.label if self.untrained is None else f"{self.source.domain} before training"

    def probabilities(self, rows: np.ndarray) -> list[float] | None:
        """The probabilities that items have the attribute, in [0, 1], of rows [n]; None where nothing tells."""
        stage = self.second_stage
        return None if stage is None else probability(stage.log_odds[rows]).tolist()


def load_release(source: ReleaseSource, others: Iterable[Release] = ()) -> Release:
    """Loads a bundle, verifies every digest and asks the canaries. Downloaded files are deleted afterwards.

    Args:
        source: Of a model version.
        others: Loaded releases; the index and catalogue of one that has the same digests are shared.

    Raises:
        ArtifactError: Something is missing, damaged, edited, or not what the version was registered with; it is named.
    """
    # A mapped file stays readable after its folder is deleted.
    with tempfile.TemporaryDirectory(prefix="modit-") as folder:
        store = ArtifactStore(Storage(source.run_uri), Path(folder))
        own, bundle = open_bundle(store, source)
        digests = bundle.index_digest, bundle.parts["catalog"].digest
        shared = next((other.items for other in others if other.items.digests == digests), None)
        skipped = _SHARED if shared else ()
        missing = [name for name in OPTIONAL_PARTS if name not in bundle.parts]
        wanted = [name for name in PARTS if name not in (*skipped, *missing)]
        folders = {name: expect_part(store, bundle.parts[name]) for name in wanted}
        sampler = load_domain_sampler(folders["sampler"], source.domain)
        items = shared or load_items(folders["index"], folders["catalog"], digests)
        space = _expect_space(own, sampler, items, source)
        stage = None
        if "second_stage" in folders:
            stage = SecondStage.load(folders["second_stage"], *items.embeddings.shape)
        retriever = retriever_over(sampler, items, stage.patterns if stage else None)
        expect_answers(load_canaries(own / CANARIES_FILE), retriever, items, source.label)
        served = served_second_stage(stage, retriever, items, source.domain) if stage else None
        sections = read_strictly(own / PARAMS_FILE)
    depth = RetrievalParams.model_validate(sections.get("retrieval", {})).depth(len(items.index))
    return Release(source, bundle, sampler, retriever, items, space, datetime.now(UTC), depth, served)


def open_bundle(store: ArtifactStore, source: ReleaseSource) -> tuple[Path, Bundle]:
    """The folder and the manifest of a version's bundle, without the artifacts that it names.

    Raises:
        ArtifactError: The bundle is missing, edited, not the one that was registered, or of an unknown retriever.
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
    if bundle.retriever != SAMPLER:
        raise ArtifactError(f"{place}: retriever is {bundle.retriever!r}; allowed: {SAMPLER!r}")
    return folder, bundle


def load_domain_sampler(folder: Path, domain: str) -> OnnxSampler:
    """Loads the sampler of a folder with one thread, since requests share the cores.

    Raises:
        ArtifactError: It is missing, damaged or of another domain.
    """
    sampler = load_sampler(folder / SAMPLER_FILE, threads=1)
    if sampler.info.domain != domain:
        raise ArtifactError(f"{folder / SAMPLER_FILE} is of domain {sampler.info.domain}; needed is {domain}")
    return sampler


def _expect_space(own: Path, sampler: OnnxSampler, items: Items, source: ReleaseSource) -> Space:
    space, dimension = Space.load(own / SPACE_FILE), sampler.info.dimension
    if dimension != space.dimension:
        raise ArtifactError(f"{source.label}: dimension of the sampler is {dimension}, of its space {space.dimension}")
    rows = items.rows_of(list(space.items))
    if (rows < 0).any():
        raise ArtifactError(f"{source.label}: the catalogue lacks items of the sample of its embedding space")
    if difference := space.difference(Space.at(list(space.items), items.embeddings[rows])):
        raise ArtifactError(f"{source.label}: the catalogue is of another embedding space: {difference}")
    return space
