"""Stages a catalogue into an engine: a generation beside the live collection, which a file of the run's index names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from modit.core.errors import ArtifactError
from modit.core.seeds import stream
from modit.index.engines.collection import Batch, Collection, EngineAddress, EngineError, open_collection
from modit.index.engines.engine_index import EngineIndex, expect_same_items
from modit.index.exact import exact_search
from modit.index.inverted import queries_near
from modit.index.item_index import ItemIndex
from modit.index.params import IndexParams
from modit.index.searchable import SearchableIndex
from modit.index.storage import META_FILE

ENGINE_FILE = "engine.json"
_AT_ONCE = 10_000  # items of a batch
_EXACT_UP_TO = 10_000  # items, of which an engine compares every one in milliseconds
_MOST_EFFORT = 1_000


@dataclass(frozen=True)
class StagedCollection:
    """A generation of a collection, as `engine.json` names it.

    Attributes:
        address: Of the collection without its generation; it has no password.
        generation: The first 16 characters of the digest of the index that it stands for.
        items: Number of items.
        effort: At which recall was measured, and at which it is searched.
        recall: Share of the exact top-`k` items that it returns, in [0, 1].
        k: Length of the lists that recall was measured on.
    """

    address: str
    generation: str
    items: int
    effort: int
    recall: float
    k: int

    @classmethod
    def load(cls, index_folder: Path) -> StagedCollection | None:
        """Reads it from the folder of the artifact `index`; None where nothing was staged into an engine."""
        file = index_folder / ENGINE_FILE
        return cls(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None

    def save(self, index_folder: Path) -> None:
        """Writes it into the folder of the artifact `index`."""
        content = json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"
        (index_folder / ENGINE_FILE).write_text(content, encoding="utf-8")

    @property
    def place(self) -> EngineAddress:
        """The address of the generation, with its effort."""
        return replace(EngineAddress.parse(self.address).at(self.generation), effort=self.effort)


def stage(index: ItemIndex, embeddings: np.ndarray, params: IndexParams, seed: int) -> StagedCollection:
    """Writes a catalogue into the engine of section `stage_index`, and measures the recall of its answers.

    The collection that answers now is not touched. A generation that is there already, complete, is taken as it is.
    Of more than 10,000 items the engine builds its approximate index, unless the section says `kind: flat`; the effort
    of a search is doubled until recall meets `recall_target`, or 1,000.

    Args:
        index: Over the catalogue; its digest names the generation.
        embeddings: Of the catalogue, unit float32 [N, d].
        params: Section `stage_index`, with an engine.
        seed: Of the queries that recall is measured with.

    Raises:
        EngineError: The engine does not answer, or refuses.
        ArtifactError: A generation of this name holds other items.
    """
    address = EngineAddress.parse(params.engine)
    place = address.at(index.digest[:16])
    collection = open_collection(place)
    if collection.count() != len(index):
        collection.drop()
        collection.upsert(_batches(index.item_ids, embeddings))
        if len(index) > _EXACT_UP_TO and params.kind != "flat":
            collection.accelerate()
    expect_same_items(collection, index.item_ids, embeddings, complete=True)
    trial = _Trial.of(index, embeddings, params, seed)
    recall = trial.recall(open_collection(place))
    while recall < params.recall_target and place.effort < _MOST_EFFORT:
        place = replace(place, effort=min(2 * place.effort, _MOST_EFFORT))
        recall = trial.recall(open_collection(place))
    generation = index.digest[:16]
    return StagedCollection(params.engine, generation, len(index), place.effort, round(recall, 4), trial.k)


def load_searched(index_folder: Path) -> SearchableIndex:
    """What lists and labels of a run come from: the generation in the engine, or else the index in the folder.

    Raises:
        ArtifactError: The index is damaged, or the generation does not hold its items.
        EngineError: The engine does not answer, or no longer has the generation.
    """
    index, staged = ItemIndex.load(index_folder), StagedCollection.load(index_folder)
    return index if staged is None else staged_index(staged, index.item_ids, index.meta.dimension, index.digest)


def staged_index(staged: StagedCollection, item_ids: np.ndarray, dimension: int, digest: str) -> EngineIndex:
    """The generation that stands for an index, pinned by the index's digest and its number of items.

    Args:
        staged: Of the index.
        item_ids: Of the index, unicode [N].
        dimension: Width of its vectors.
        digest: Of the index.

    Raises:
        ArtifactError: The generation is of another index, or does not hold as many items.
        EngineError: The engine does not answer, or no longer has the generation.
    """
    collection, place = open_collection(staged.place), staged.place
    if staged.generation != digest[:16]:
        raise ArtifactError(f"{ENGINE_FILE}: generation is {staged.generation}; {META_FILE} has {digest}")
    count = collection.count()
    if count is None:
        raise EngineError(f"{place}: there is no such collection; run stage_index again")
    if count != len(item_ids):
        raise ArtifactError(f"{place} holds {count} items; allowed: the {len(item_ids)} that were staged")
    return EngineIndex(collection, item_ids, dimension, digest)


def _batches(item_ids: np.ndarray, embeddings: np.ndarray) -> Iterator[Batch]:
    for start in range(0, len(item_ids), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        yield Batch(item_ids[rows], np.asarray(embeddings[rows], np.float32))


class _Trial(NamedTuple):
    """Queries like generated ones, and the ids of the exact lists."""

    queries: np.ndarray
    k: int
    wanted: list[set[str]]

    @classmethod
    def of(cls, index: ItemIndex, embeddings: np.ndarray, params: IndexParams, seed: int) -> _Trial:
        vectors, generator = np.asarray(embeddings, np.float32), stream(seed, "stage_index", "engine")
        rows = generator.choice(len(vectors), min(params.calibration_queries, len(vectors)), replace=False)
        queries, k = queries_near(vectors, np.sort(rows), generator), min(params.calibration_k, len(vectors))
        exact = exact_search(vectors, queries, k)[1]
        return cls(queries, k, [set(index.item_ids[rows].tolist()) for rows in exact])

    def recall(self, collection: Collection) -> float:
        found = collection.search(self.queries, self.k)
        right = sum(len(wanted & {*hits.item_ids}) for wanted, hits in zip(self.wanted, found, strict=True))
        return right / (self.k * len(self.queries))
