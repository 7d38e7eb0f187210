"""Look-up of items by id, their titles and verdicts, and where queries are vectors, the index and the vectors of seeds.

Domains of one index share an object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modit.core.errors import ArtifactError
from modit.data.catalog import ATTRIBUTE_PREFIX
from modit.data.parquet import read_parquet
from modit.index.engines.collection import EngineAddress, open_collection
from modit.index.engines.engine_index import EngineIndex, expect_same_items
from modit.index.item_index import ItemIndex
from modit.index.searchable import RowLookup, SearchableIndex
from modit.metric.evidence import KnownVerdicts

_ITEMS, _EMBEDDINGS = "items.parquet", "embeddings.npy"
TITLE = "title"


@dataclass(frozen=True, eq=False)
class ItemTable:
    """The items of a catalogue.

    Attributes:
        item_ids: unicode [N], in the order of the rows.
        columns: name -> values [N] of the catalogue's other columns: `title` where the input has it, `attr_DOMAIN`.
    """

    item_ids: np.ndarray
    columns: Mapping[str, pa.ChunkedArray]

    def __len__(self) -> int:
        return len(self.item_ids)

    def rows_of(self, item_ids: Sequence[str]) -> np.ndarray:
        """Rows of items, int64 [n]; -1 for an id that is not there."""
        return self._lookup.rows_of(item_ids)

    def ids_of(self, rows: np.ndarray) -> list[str]:
        """Ids of rows [n]."""
        return self.item_ids[rows].tolist()

    def titles_of(self, rows: np.ndarray) -> list[str | None]:
        """Titles of rows [n]; None where there is none."""
        titles = self.columns.get(TITLE)
        return [None] * len(rows) if titles is None else titles.take(pa.array(rows)).to_pylist()

    def verdicts(self, domain: str) -> pa.ChunkedArray | None:
        """The scorer's verdict of every item, [N] with null where an item was not scored; None for other domains."""
        return self.columns.get(ATTRIBUTE_PREFIX + domain)

    @cached_property
    def _lookup(self) -> RowLookup:
        return RowLookup(self.item_ids)


@dataclass(frozen=True, eq=False)
class Items(ItemTable):
    """Index and catalogue of a run, whose rows are those of the index.

    Attributes:
        index: over the whole catalogue.
        embeddings: float32 [N, d] of the catalogue, memory-mapped, because only the rows of seeds are read.
        digests: of the index and of the catalogue's files.
    """

    index: SearchableIndex
    embeddings: np.ndarray
    digests: tuple[str, str]

    def known_verdicts(self, domain: str) -> KnownVerdicts | None:
        """The stored verdicts of a domain as evidence; None where the catalogue has no such column."""
        if (column := self.verdicts(domain)) is None:
            return None
        positive, known = pc.fill_null(column, False).to_numpy(), column.is_valid().to_numpy()
        return KnownVerdicts(self.embeddings, positive, known)


def load_item_table(catalog_folder: Path) -> ItemTable:
    """Loads the items of the artifact `catalog`, whose files are verified already."""
    table = _read_table(catalog_folder)
    ids = np.array(table["item_id"].cast(pa.string()).to_pylist(), dtype=str)
    return ItemTable(ids, _shown_columns(table))


def load_items(index_folder: Path, catalog_folder: Path, digests: tuple[str, str]) -> Items:
    """Loads index and catalogue of a run.

    Args:
        index_folder: of the artifact `index`.
        catalog_folder: of the artifact `catalog`.
        digests: that the index must have, and of the catalogue's files, verified already.

    Raises:
        ArtifactError: the index is damaged or another one, or its ids or shape are not the catalogue's.
    """
    index = ItemIndex.load(index_folder, digests[0], narrow_copy=True)
    table = _read_table(catalog_folder)
    # Compared in arrow: a million Python strings would hold up the threads that answer meanwhile.
    ids = pa.chunked_array([pa.array(index.item_ids, table.schema.field("item_id").type)])
    if not table["item_id"].equals(ids):
        raise ArtifactError(f"{catalog_folder / _ITEMS}: its item_id are not those of the index {digests[0]}")
    embeddings = np.load(catalog_folder / _EMBEDDINGS, mmap_mode="r")
    if embeddings.shape != (len(index), index.meta.dimension):
        raise ArtifactError(
            f"{catalog_folder / _EMBEDDINGS} has shape {embeddings.shape}; the index has {len(index)} items"
        )
    return Items(index.item_ids, _shown_columns(table), index, embeddings, digests)


def load_items_of_engine(
    address: EngineAddress, complete: bool, catalog_folder: Path, digests: tuple[str, str]
) -> Items:
    """Loads the catalogue of a run, whose items are searched in a collection of an engine.

    Args:
        address: of the collection.
        complete: whether it must hold these items and no others, as a generation does.
        catalog_folder: of the artifact `catalog`.
        digests: of the index that the collection stands for, and of the catalogue's files, verified already.

    Raises:
        ArtifactError: the collection holds other items, or other vectors of them.
        EngineError: the engine does not answer, or has no such collection.
    """
    table = load_item_table(catalog_folder)
    embeddings = np.load(catalog_folder / _EMBEDDINGS, mmap_mode="r")
    collection = open_collection(address)
    expect_same_items(collection, table.item_ids, embeddings, complete)
    index = EngineIndex(collection, table.item_ids, embeddings.shape[1], digests[0])
    return Items(table.item_ids, table.columns, index, embeddings, digests)


def _read_table(catalog_folder: Path) -> pa.Table:
    return read_parquet(catalog_folder / _ITEMS).combine_chunks()  # rows are taken out of one chunk far faster


def _shown_columns(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    return {name: table[name] for name in table.column_names if name == TITLE or name.startswith(ATTRIBUTE_PREFIX)}
