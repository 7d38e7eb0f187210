"""An index in several files, each a FAISS index over a range of rows. They are built in turn, then mapped."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import faiss
import numpy as np

from modit.index.exact import FEW, exact_search, order
from modit.index.narrow import narrow_copy


def row_ranges(items: int, parts: int) -> list[range]:
    """Consecutive ranges of rows whose lengths differ by at most one."""
    bounds = [items * number // parts for number in range(parts + 1)]
    return [range(start, stop) for start, stop in zip(bounds, bounds[1:], strict=False)]


def part_names(parts: int) -> list[str]:
    """Names of the files of an index."""
    return ["index.faiss"] if parts == 1 else [f"index-{number:04}.faiss" for number in range(parts)]


def write_parts(make: Callable[[range], faiss.Index], items: int, parts: int, folder: Path) -> list[Path]:
    """Makes and writes the parts in turn, each over a range of rows, so that one is in memory at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / name for name in part_names(parts)]
    for file, rows in zip(files, row_ranges(items, parts), strict=True):
        faiss.write_index(make(rows), str(file))
    return files


def put_files(files: Sequence[Path], folder: Path) -> None:
    """Links the files into another folder, or copies them where the file system cannot link."""
    for file in files:
        try:
            os.link(file, folder / file.name)
        except OSError:
            shutil.copyfile(file, folder / file.name)


def map_flat(files: Sequence[Path]) -> list[faiss.Index]:
    """Exact indexes whose vectors stay in their files."""
    return [faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC) for file in files]


def map_inverted(files: Sequence[Path]) -> faiss.IndexIVF:
    """One index over the inverted lists of all parts, which stay in their files.

    FAISS concatenates the lists of the parts while it searches. The parts share their quantiser, and their entries are
    in the order that a single index would have, so the results are equal bit for bit.
    """
    parts = [faiss.read_index(str(file), faiss.IO_FLAG_MMAP) for file in files]
    lists = faiss.InvertedListsPtrVector()
    for part in parts:
        lists.push_back(part.invlists)
    stack = faiss.HStackInvertedLists(lists.size(), lists.data())
    index = faiss.read_index(str(files[0]), faiss.IO_FLAG_MMAP)
    index.replace_invlists(stack, False)
    index.ntotal = sum(part.ntotal for part in parts)
    index.referenced_objects = [stack, *parts]  # Python would free them
    return index


class FlatSearch:
    """Exact search over the vectors of one index, or of several one after the other.

    The score of a pair does not depend on the other items (`modit.index.exact`), so the sorted best results of all
    parts are those of a single index.
    """

    def __init__(self, indexes: Sequence[faiss.Index], with_copies: bool = False) -> None:
        """Takes the indexes in the order of their rows; narrow copies speed up searches with few queries."""
        self._indexes = indexes
        self._copies = [narrow_copy(self._vectors(part)) if with_copies else None for part in range(len(indexes))]
        self._rows = row_ranges(sum(index.ntotal for index in indexes), len(indexes))
        self._allowed: tuple[bytes, np.ndarray, np.ndarray] | None = None

    def search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Finds what `exact_search` finds in a single index, among the allowed rows, bool [N], or among all."""
        found = [self._search_part(part, queries, k, allowed) for part in range(len(self._indexes))]
        if len(found) == 1:
            return found[0]
        scores, rows = order(*(np.concatenate(each, axis=1) for each in zip(*found, strict=True)))
        return scores[:, :k], rows[:, :k]

    def _search_part(
        self, part: int, queries: np.ndarray, k: int, allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        start, stop = self._rows[part].start, self._rows[part].stop
        among = None if allowed is None else allowed[start:stop]
        if among is None or len(queries) < FEW:
            scores, rows = exact_search(self._vectors(part), queries, k, self._copies[part], among)
            return scores, np.where(rows < 0, -1, rows + start)
        kept, vectors = self._allowed_rows(part, among)
        scores, places = exact_search(vectors, queries, k)
        # Rows ascend in the copy, so ties by place are ties by row. The added -1 is what place -1 reads.
        return scores, np.append(kept + start, -1)[places]

    def _vectors(self, part: int) -> np.ndarray:
        index = self._indexes[part]
        return faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d).reshape(index.ntotal, index.d)

    def _allowed_rows(self, part: int, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The allowed rows and a copy of their vectors; that of a single part is kept until another mask comes."""
        key = hashlib.sha256(np.packbits(allowed).data).digest()
        if self._allowed is None or self._allowed[0] != key:
            self._allowed = None  # free the old copy before the new one is made
            rows = np.flatnonzero(allowed)
            copy = (key, rows, self._vectors(part)[rows])
            if len(self._indexes) > 1:
                return copy[1:]
            self._allowed = copy
        return self._allowed[1:]
