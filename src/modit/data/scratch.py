"""Columns of numbers on disk: what would not fit into memory. Their files have no name and go with the process."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
import numpy.typing as npt


class Scratch:
    """Columns in a folder; a context manager that closes them.

    Their files are never seen: they have no name, and their room is free again when they are closed, no map of them is
    left, or the process ends, however it ends.

    Args:
        folder: an existing folder, on a disk with enough room.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._files = folder, ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    def column(self, kind: npt.DTypeLike) -> Column:
        """An empty column."""
        return Column(self._files.enter_context(self._file()), np.dtype(kind))

    def zeros(self, count: int, kind: npt.DTypeLike) -> np.ndarray:
        """A map of zeros [count] that can be written to.

        Raises:
            OSError: the disk is full.
        """
        if not count:
            return np.zeros(0, kind)
        with self._file() as file:
            # a map of a file with holes would end the process when the disk is full
            os.posix_fallocate(file.fileno(), 0, count * np.dtype(kind).itemsize)
            return np.memmap(file, kind, "r+")

    def _file(self) -> IO[bytes]:
        return tempfile.TemporaryFile(dir=self._folder, buffering=0)


class Column:
    """Numbers of one kind in a file; `len` is how many.

    Args:
        file: empty, without a buffer.
        kind: of the numbers.
    """

    def __init__(self, file: IO[bytes], kind: np.dtype) -> None:
        self._file, self._kind, self._rows = file, kind, 0

    def __len__(self) -> int:
        return self._rows

    def append(self, values: np.ndarray) -> None:
        """Adds numbers at the end.

        Raises:
            OSError: the disk is full.
        """
        self.write(self._rows, values)

    def write(self, start: int, values: np.ndarray) -> None:
        """Puts numbers at a place, over those that are there.

        Raises:
            OSError: the disk is full.
        """
        content, place = _bytes(np.ascontiguousarray(values, self._kind)), start * self._kind.itemsize
        while len(content):
            count = os.pwrite(self._file.fileno(), content, place)
            content, place = content[count:], place + count
        self._rows = max(self._rows, start + len(values))

    def read(self, start: int, into: np.ndarray) -> np.ndarray:
        """Fills an array of the column's kind [n] with the numbers from `start` on; returns it."""
        content, place = _bytes(into), start * self._kind.itemsize
        while len(content):
            count = os.preadv(self._file.fileno(), [content], place)
            content, place = content[count:], place + count
        return into

    def slice(self, start: int, stop: int) -> np.ndarray:
        """The numbers from `start` to before `stop`, in memory."""
        return self.read(start, np.empty(stop - start, self._kind))

    def mapped(self) -> np.ndarray:
        """All numbers as a map that outlives the column; copy on write, as in `Catalog.load`."""
        return np.memmap(self._file, self._kind, "c") if self._rows else np.zeros(0, self._kind)


def _bytes(values: np.ndarray) -> memoryview:
    return values.view(np.uint8).data
