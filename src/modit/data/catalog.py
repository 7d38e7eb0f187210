"""The catalogue in memory: what every later room reads instead of the raw input files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modit.core.errors import ConfigError
from modit.data.parquet import read_parquet

ATTRIBUTE_PREFIX = "attr_"
EMBEDDINGS_FILE = "embeddings.npy"
# What `Catalog.verdicts` says of an item.
NOT_SCORED, NEGATIVE, POSITIVE = -1, 0, 1
# Beside the catalogue where the logs have labels: the contract's table with rows of the catalogue in the place of ids.
RETRIEVAL_LABELS = "retrieval_labels.parquet"
RETRIEVAL_LABEL_SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("timestamp", pa.timestamp("us", tz="UTC")),
        ("domain", pa.string()),
        ("anchor", pa.int32()),
        ("rank", pa.int32()),
        ("item", pa.int32()),
        ("label", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Sequences:
    """Interaction sequences, ragged: sequence s is `items[offsets[s]:offsets[s + 1]]`.

    Attributes:
        offsets: int64 [S + 1], non-decreasing, starts at 0.
        items: int32 [T], rows of the catalogue in order of position or time.
        times: int64 [T], microseconds since 1970 in UTC; None where positions order the sequences.
    """

    offsets: np.ndarray
    items: np.ndarray
    times: np.ndarray | None = None

    @classmethod
    def none(cls) -> Sequences:
        """No sequence at all."""
        return cls(np.zeros(1, np.int64), np.zeros(0, np.int32))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.items[self.offsets[index] : self.offsets[index + 1]]


@dataclass(frozen=True)
class Catalog:
    """Items with frozen embeddings and the scorer's verdicts. Row numbers are the internal item ids.

    Attributes:
        item_ids: the caller's ids, unicode [N], unique.
        embeddings: float32 [N, d], unit length.
        verdicts: domain -> int8 [N], the production scorer's verdict: `POSITIVE`, `NEGATIVE` or `NOT_SCORED`.
        titles: unicode [N], or None where the input has no titles.
        sequences: the interaction sequences.
    """

    item_ids: np.ndarray
    embeddings: np.ndarray
    verdicts: dict[str, np.ndarray]
    titles: np.ndarray | None
    sequences: Sequences

    def __len__(self) -> int:
        return len(self.item_ids)

    @property
    def dimension(self) -> int:
        """Width d of an embedding."""
        return int(self.embeddings.shape[1])

    @property
    def domains(self) -> list[str]:
        """Names of the attribute domains, sorted."""
        return sorted(self.verdicts)

    def positive(self, domain: str) -> np.ndarray:
        """Bool [N]: items that the scorer gives the attribute. An item that is not scored is not positive."""
        return self.verdicts[domain] == POSITIVE

    def scored(self, domain: str) -> np.ndarray:
        """Bool [N]: items that the scorer has judged, either way."""
        return self.verdicts[domain] != NOT_SCORED

    def chosen_domains(self, chosen: Sequence[str]) -> Sequence[str]:
        """The domains that a run asks for: `chosen`, or all for "all".

        Raises:
            ConfigError: the catalogue has no such domain.
        """
        names = self.domains if chosen == "all" else chosen
        unknown = sorted(set(names) - set(self.domains))
        if unknown:
            raise ConfigError(f"domains: no attribute {', '.join(unknown)}; allowed: all, or {', '.join(self.domains)}")
        return names

    def save(self, folder: Path) -> None:
        """Writes `items.parquet`, `embeddings.npy`, and `sequence_offsets`, `sequence_items`, `sequence_times.npy`."""
        columns: dict[str, pa.Array] = {"item_id": pa.array(self.item_ids.tolist(), pa.string())}
        if self.titles is not None:
            columns["title"] = pa.array(self.titles.tolist(), pa.string())
        for domain in self.domains:
            unscored = ~self.scored(domain)
            mask = unscored if unscored.any() else None
            columns[ATTRIBUTE_PREFIX + domain] = pa.array(self.positive(domain), mask=mask)
        pq.write_table(pa.table(columns), folder / "items.parquet")
        np.save(folder / EMBEDDINGS_FILE, self.embeddings)
        np.save(folder / "sequence_offsets.npy", self.sequences.offsets)
        np.save(folder / "sequence_items.npy", self.sequences.items)
        if self.sequences.times is not None:
            np.save(folder / "sequence_times.npy", self.sequences.times)

    @classmethod
    def load(cls, folder: Path) -> Catalog:
        """Reads what `save` wrote; embeddings and sequences are memory-mapped, copy on write: torch wants writable."""
        table = read_parquet(folder / "items.parquet")
        verdicts = {
            name.removeprefix(ATTRIBUTE_PREFIX): _verdicts(table[name])
            for name in table.column_names
            if name.startswith(ATTRIBUTE_PREFIX)
        }
        times = folder / "sequence_times.npy"
        return cls(
            item_ids=np.array(table["item_id"].to_pylist(), dtype=str),
            embeddings=np.load(folder / EMBEDDINGS_FILE, mmap_mode="c"),
            verdicts=verdicts,
            titles=np.array(table["title"].to_pylist(), dtype=str) if "title" in table.column_names else None,
            sequences=Sequences(
                np.load(folder / "sequence_offsets.npy", mmap_mode="c"),
                np.load(folder / "sequence_items.npy", mmap_mode="c"),
                np.load(times, mmap_mode="c") if times.exists() else None,
            ),
        )


def _verdicts(column: pa.ChunkedArray) -> np.ndarray:
    """A column of true, false and null as int8 [N], without what imports pandas (`pa.scalar`, `to_numpy`)."""
    array = column.cast(pa.int8()).combine_chunks()
    if not len(array):
        return np.empty(0, np.int8)
    known = np.from_dlpack(pc.is_valid(array).cast(pa.int8()))
    values = np.frombuffer(array.buffers()[1], np.int8)[array.offset :][: len(array)]
    return np.where(known, values, NOT_SCORED).astype(np.int8)
