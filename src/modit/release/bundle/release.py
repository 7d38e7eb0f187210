"""A release: what answers for a domain. `loading.py` loads one.

It imports none of what a release consists of, since a service that has no release yet needs none of it.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from modit.core.artifacts import ArtifactStore
from modit.core.errors import ArtifactError
from modit.core.storage import Storage
from modit.metric.calibration import probability
from modit.release.bundle.bundle import Bundle
from modit.release.kinds import OF_INTENTS, OF_SEEDS, OF_SESSIONS, OF_TEXTS, ReleaseKind, kind_of
from modit.release.model_registry.model_version import NamedVersion, model_name

if TYPE_CHECKING:
    import numpy as np

    from modit.inference.fan_out import FanOutRetriever
    from modit.inference.items import Items, ItemTable
    from modit.inference.next_item import NextItemRetriever
    from modit.inference.retrieval import SamplerRetriever
    from modit.inference.runtime import QuerySampler
    from modit.inference.search import SearchRetriever
    from modit.inference.second_stage import ServedSecondStage
    from modit.inference.simple_row import MoveRetriever
    from modit.release.bundle.embedding_space import Space
    from modit.release.bundle.examples import WorkedExamples


@dataclass(frozen=True)
class ReleaseSource:
    """A model version, the address of the run that has its bundle, and the digests that it was registered with.

    `model_digest` is that of the model's file, such as `sampler.onnx`, and `index_digest` of what is searched.
    """

    model: str
    version: int
    alias: str
    domain: str
    run_uri: str
    bundle_digest: str
    model_digest: str
    index_digest: str

    @classmethod
    def of(cls, named: NamedVersion) -> ReleaseSource:
        """Reads the tags of a version.

        Raises:
            ArtifactError: A tag is missing.
        """
        tags = ("run_uri", "bundle_digest", kind_of(named.domain).model_tag, "index_digest")
        if missing := [name for name in tags if name not in named.tags]:
            raise ArtifactError(f"{named.model} version {named.version} has no tag {', '.join(missing)}")
        return cls(named.model, named.version, named.alias, named.domain, *(named.tags[name] for name in tags))

    @classmethod
    def of_run(cls, run_uri: str, domain: str) -> ReleaseSource:
        """The bundle that a run has now, registered or not: version 0, without an alias.

        Raises:
            ArtifactError: It is missing, or was edited.
        """
        kind = kind_of(domain)
        with tempfile.TemporaryDirectory(prefix="modit-") as folder:
            store = ArtifactStore(Storage(run_uri), Path(folder))
            bundle = Bundle.load(store.read(kind.bundle, kind.folder_of(domain)))
        digests = bundle.digest, bundle.model_digest, bundle.index_digest
        return cls(model_name(domain), 0, "", domain, store.run.uri, *digests)

    @property
    def kind(self) -> ReleaseKind:
        """The kind of its domain."""
        return kind_of(self.domain)

    @property
    def label(self) -> str:
        """Name for people."""
        return f"{self.model} version {self.version}" if self.version else f"{self.domain} of {self.run_uri}"


class UntrainedFacts(NamedTuple):
    """What is known of a domain that nothing is trained for.

    Attributes:
        positives: Number of its positive verdicts.
        negatives: Number of its negative verdicts.
    """

    positives: int
    negatives: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Release:
    """What answers for a domain, for sessions or for texts.

    Attributes:
        source: The version that it is.
        bundle: Its manifest.
        items: Turns ids into rows, and rows into items.
        loaded: When.
        untrained: Of a domain that nothing is trained for; else None. Its bundle is then that of the release whose
            catalogue and index it shares.
    """

    kind: ClassVar[ReleaseKind]
    source: ReleaseSource
    bundle: Bundle
    items: ItemTable
    loaded: datetime
    untrained: UntrainedFacts | None = None

    @property
    def label(self) -> str:
        """Name for people."""
        return self.source.label if self.untrained is None else f"{self.source.domain} before training"


@dataclass(frozen=True, eq=False, kw_only=True)
class SeedsRelease(Release):
    """A sampler with the index of its bundle: seeds in, items out that have the attribute of the domain.

    Attributes:
        sampler: Turns seeds into a query.
        retriever: The sampler with the index: turns a query into rows.
        items: With index and vectors.
        space: Of the embeddings that it understands.
        depth: K of its run, the number of results that its lists were judged by.
        second_stage: Reranks its lists; None in a bundle of an earlier version.
        examples: Held-out cases to show, or canary queries in their place; None where nothing is trained.
        simple: The best simple row, asked in the place of the network; None in a bundle of an earlier version, and
            where nothing is trained.
    """

    kind: ClassVar[ReleaseKind] = OF_SEEDS
    sampler: QuerySampler
    retriever: SamplerRetriever
    items: Items
    space: Space
    depth: int
    second_stage: ServedSecondStage | None = None
    examples: WorkedExamples | None = None
    simple: MoveRetriever | None = None

    def probabilities(self, rows: np.ndarray) -> list[float] | None:
        """The probabilities that items have the attribute, in [0, 1], of rows [n]; None where nothing tells."""
        stage = self.second_stage
        return None if stage is None else probability(stage.log_odds[rows]).tolist()


@dataclass(frozen=True, eq=False, kw_only=True)
class NextItemRelease(Release):
    """A retriever of semantic IDs: a session in, likely next items out.

    Attributes:
        retriever: Turns a session into rows.
        may_repeat: Whether items of a session may be results unasked: so it was judged, as people of its catalogue
            take items again.
    """

    kind: ClassVar[ReleaseKind] = OF_SESSIONS
    retriever: NextItemRetriever
    may_repeat: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class SearchRelease(Release):
    """A retriever by text: a text in, items out.

    Attributes:
        retriever: Turns a text into rows.
    """

    kind: ClassVar[ReleaseKind] = OF_TEXTS
    retriever: SearchRetriever


@dataclass(frozen=True, eq=False, kw_only=True)
class FanOutRelease(Release):
    """A retriever of sets: an intent in, several queries and the items that they find out.

    Attributes:
        retriever: Turns a text into queries and rows.
    """

    kind: ClassVar[ReleaseKind] = OF_INTENTS
    retriever: FanOutRetriever
