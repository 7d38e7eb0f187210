"""Loads a release: what answers for a domain, from the bundle that a model version names, verified against it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from modit.core.artifacts import ArtifactStore
from modit.core.errors import ArtifactError
from modit.core.storage import Storage
from modit.index.engines.collection import EngineAddress
from modit.index.engines.staging import ENGINE_FILE, StagedCollection
from modit.index.params import RetrievalParams
from modit.inference.items import Items, load_items, load_items_of_engine
from modit.inference.retrieval import SamplerRetriever, retriever_over
from modit.inference.runtime import OnnxSampler, load_sampler
from modit.inference.sampler_file import SAMPLER_FILE
from modit.inference.second_stage import served_second_stage
from modit.inference.simple_row import MoveRetriever
from modit.inference.vote_file import load_vote
from modit.metric.predictor import DomainGeometry
from modit.metric.second_stage import SecondStage
from modit.release.bundle.bundle import CANARIES_FILE, PARAMS_FILE, SPACE_FILE, Bundle, expect_part
from modit.release.bundle.canaries import Canary, K, expect_answers, expect_lists, load_canaries, share_found
from modit.release.bundle.embedding_space import Space
from modit.release.bundle.examples import WorkedExamples
from modit.release.bundle.judged_once import HOW
from modit.release.bundle.release import (
    FanOutRelease,
    NextItemRelease,
    Release,
    ReleaseSource,
    SearchRelease,
    SeedsRelease,
)
from modit.release.documents import read_strictly
from modit.release.kinds import (
    CATALOG,
    REPORT,
    RETRIEVER,
    SAMPLER,
    SEMANTIC_IDS,
    SET_DIFFUSION,
    TOWERS,
)

_logger = logging.getLogger(__name__)
_SHARED = ("index", CATALOG)
_LEAST_FOUND = 0.5  # of the items of canary queries, by an engine


def load_release(source: ReleaseSource, others: Iterable[Release] = (), engine: EngineAddress | None = None) -> Release:
    """Loads a bundle, verifies every digest and asks the canaries. Downloaded files are deleted afterwards.

    Args:
        source: Of a model version.
        others: Loaded releases; the index and catalogue of one that has the same digests are shared.
        engine: Where seeds' lists are searched in place of the bundle's index: a collection of the site, or the
            generation beside it that the bundle's index was staged into.

    Raises:
        ArtifactError: Something is missing, damaged, edited, or not what the version was registered with; it is named.
        EngineError: The engine does not answer, or has no such collection.
    """
    # A mapped file stays readable after its folder is deleted.
    with tempfile.TemporaryDirectory(prefix="modit-") as folder:
        store = ArtifactStore(Storage(source.run_uri), Path(folder))
        own, bundle = open_bundle(store, source)
        digests = bundle.index_digest, bundle.parts[CATALOG].digest
        shared = next((x.items for x in others if isinstance(x, SeedsRelease) and x.items.digests == digests), None)
        left_out = {*(_SHARED if shared else ()), *(("index",) if engine else ())}
        left_out |= {name for name in source.kind.optional if name not in bundle.parts}
        folders = {name: expect_part(store, bundle.parts[name]) for name in source.kind.parts if name not in left_out}
        searched = _searched(store, bundle, engine)
        return _LOADERS[source.kind.retriever](_Opened(source, bundle, own, folders, shared, searched))


class _Searched(NamedTuple):
    """A collection that is searched, and whether it holds the catalogue's items and no others, as a generation does."""

    address: EngineAddress
    complete: bool


def _searched(store: ArtifactStore, bundle: Bundle, engine: EngineAddress | None) -> _Searched | None:
    part = bundle.parts.get("index")
    if engine is None or part is None:
        return None
    if ENGINE_FILE not in part.files:
        return _Searched(engine, complete=False)
    folder = expect_part(store, replace(part, files={ENGINE_FILE: part.files[ENGINE_FILE]}))
    staged = StagedCollection.load(folder)
    assert staged is not None
    return _Searched(replace(engine.at(staged.generation), effort=staged.effort), complete=True)


def open_bundle(store: ArtifactStore, source: ReleaseSource) -> tuple[Path, Bundle]:
    """The folder and the manifest of a version's bundle, without the artifacts that it names.

    Raises:
        ArtifactError: The bundle is missing, edited, not the one that was registered, or of another kind of retriever.
    """
    kind = source.kind
    where = kind.bundle, kind.folder_of(source.domain)
    place, folder = store.at(*where).uri, store.read(*where)
    bundle = Bundle.load(folder)
    if bundle.domain != source.domain:
        raise ArtifactError(f"domain of {place} is {bundle.domain}; {source.label} was registered with {source.domain}")
    if bundle.retriever != kind.retriever:
        raise ArtifactError(f"{place}: retriever is {bundle.retriever!r}; allowed: {kind.retriever!r}")
    for name, found, expected in (
        ("bundle_digest", bundle.digest, source.bundle_digest),
        (kind.model_tag, bundle.model_digest, source.model_digest),
        ("index_digest", bundle.index_digest, source.index_digest),
    ):
        if found != expected:
            raise ArtifactError(f"{name} of {place} is {found}; {source.label} was registered with {expected}")
    return folder, bundle


@dataclass(frozen=True)
class _Opened:
    """A verified bundle: its manifest and folder, those of its parts, shared items, and where lists are searched."""

    source: ReleaseSource
    bundle: Bundle
    own: Path
    folders: Mapping[str, Path]
    shared: Items | None
    engine: _Searched | None


def _load_seeds_release(opened: _Opened) -> SeedsRelease:
    source, own, folders = opened.source, opened.own, opened.folders
    digests = opened.bundle.index_digest, opened.bundle.parts[CATALOG].digest
    sampler = load_domain_sampler(folders["sampler"], source.domain)
    if opened.shared:
        items = opened.shared
    elif opened.engine:
        items = load_items_of_engine(*opened.engine, folders[CATALOG], digests)
    else:
        items = load_items(folders["index"], folders[CATALOG], digests)
    space = _expect_space(own, sampler, items, source)
    stage = None
    if "second_stage" in folders:
        stage = SecondStage.load(folders["second_stage"], *items.embeddings.shape)
    retriever = retriever_over(sampler, items, stage.patterns if stage else None)
    canaries = load_canaries(own / CANARIES_FILE, Canary)
    if opened.engine:
        _expect_found(share_found(canaries, retriever, items, source.label), opened.engine.address, source)
    else:
        expect_answers(canaries, retriever, items, source.label)
    examples = WorkedExamples.load(own, canaries)
    served = served_second_stage(stage, retriever, items, source.domain) if stage else None
    sections = read_strictly(own / PARAMS_FILE)
    return SeedsRelease(
        source=source,
        bundle=opened.bundle,
        items=items,
        loaded=datetime.now(UTC),
        sampler=sampler,
        retriever=retriever,
        space=space,
        depth=RetrievalParams.model_validate(sections.get("retrieval", {})).depth(len(items)),
        second_stage=served,
        examples=examples,
        simple=_simple_row(opened, examples, retriever, items),
    )


def _expect_found(share: float, engine: EngineAddress, source: ReleaseSource) -> None:
    message = f"{source.label}: {engine} finds {share:.0%} of the items of its canary queries"
    if share < _LEAST_FOUND:
        raise ArtifactError(f"{message}; allowed: at least {_LEAST_FOUND:.0%}. Raise its effort, or compare its items")
    _logger.info(message)


def _simple_row(
    opened: _Opened, examples: WorkedExamples, retriever: SamplerRetriever, items: Items
) -> MoveRetriever | None:
    choice, domain, patterns = examples.simple_row, opened.source.domain, retriever.patterns
    if choice is None or patterns is None or "predictor" not in opened.folders:
        return None
    vote = load_vote(opened.folders["sampler"], threads=1)
    geometry = DomainGeometry.load(opened.folders["predictor"] / "geometry.npz")
    verdicts = retriever.verdicts or items.known_verdicts(domain)
    return MoveRetriever.of(domain, choice.move, vote, geometry, retriever.index, patterns, verdicts)


def _load_next_item_release(opened: _Opened) -> NextItemRelease:
    judged = read_strictly(opened.folders[REPORT] / NextItemRelease.kind.report_file)
    return NextItemRelease(**_judged_once(opened), may_repeat=bool(judged["may_repeat"]))


def _load_search_release(opened: _Opened) -> SearchRelease:
    return SearchRelease(**_judged_once(opened))


def _load_fan_out_release(opened: _Opened) -> FanOutRelease:
    return FanOutRelease(**_judged_once(opened))


def _judged_once(opened: _Opened) -> dict[str, Any]:
    """What releases of kinds that are judged once have in common, with canaries asked."""
    how = HOW[opened.source.kind.retriever]
    retriever, items = how.load(opened.folders[RETRIEVER], opened.folders[CATALOG])
    canaries = load_canaries(opened.own / CANARIES_FILE, how.canary)
    expect_lists(canaries, lambda given: how.ask(retriever, items, given, K), opened.source.label)
    return {
        "source": opened.source,
        "bundle": opened.bundle,
        "items": items,
        "loaded": datetime.now(UTC),
        "retriever": retriever,
    }


_LOADERS: Mapping[str, Callable[[_Opened], Release]] = {
    SAMPLER: _load_seeds_release,
    SEMANTIC_IDS: _load_next_item_release,
    TOWERS: _load_search_release,
    SET_DIFFUSION: _load_fan_out_release,
}


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
