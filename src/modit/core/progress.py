"""Progress of long loops: a bar on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from tqdm import tqdm

Element = TypeVar("Element")
SECONDS_BETWEEN_LINES = 10.0


def progress(
    elements: Iterable[Element], label: str, total: int | None = None, logger: logging.Logger | None = None
) -> Iterator[Element]:
    """Passes elements through and shows how far it got.

    Args:
        elements: what to pass through.
        label: what is being done, such as "pretrain".
        total: number of elements; taken from `elements` when it has a length.
        logger: where lines go when stderr is no terminal.
    """
    count = total if total is not None else len(elements) if isinstance(elements, Sized) else None
    if sys.stderr.isatty():
        yield from tqdm(elements, desc=label, total=count, leave=False)
        return
    yield from _with_lines(elements, label, count, logger or logging.getLogger("modit"))


def _with_lines(
    elements: Iterable[Element], label: str, total: int | None, logger: logging.Logger
) -> Iterator[Element]:
    start = last = time.monotonic()
    for done, element in enumerate(elements, 1):
        yield element
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            logger.info("%s: %s, %.1f a second", label, f"{done}/{total}" if total else done, done / (now - start))
