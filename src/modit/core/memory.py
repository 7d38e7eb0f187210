"""How much is held in memory at once: all of it, or a part after an attempt that ran out of memory (docs/adr/0021).

Parts change what is held, not what is computed: gradients of parts are summed, rows of blocks put together.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from modit.core.errors import ConfigError

VARIABLE = "MODIT_BATCH_PARTS"
_PARTS: ContextVar[int] = ContextVar("batch_parts", default=1)
# Where libraries raise an error of their own: torch on processors, cuBLAS, FAISS, onnxruntime.
_WORDS = re.compile(
    r"out of memory|(can't|cannot|failed to|unable to) allocate|bad[_ ]alloc|ALLOC_FAILED|bad allocation", re.IGNORECASE
)


def least_parts() -> int:
    """In how many parts a step takes its batches from the first attempt on: MODIT_BATCH_PARTS, else 1."""
    value = os.environ.get(VARIABLE) or "1"
    if not value.isdecimal() or int(value) < 1:
        raise ConfigError(f"{VARIABLE} is {value!r}; allowed: an integer of 1 or more")
    return int(value)


def batch_parts() -> int:
    """The number of parts that the running step splits its batches into: 1 unless `in_parts` sets another."""
    return _PARTS.get()


@contextlib.contextmanager
def in_parts(parts: int) -> Iterator[None]:
    """Lets `batch_parts` be `parts` inside."""
    token = _PARTS.set(parts)
    try:
        yield
    finally:
        _PARTS.reset(token)


def at_once(rows: int) -> int:
    """How many of `rows` to take at once, at least 1."""
    return max(1, rows // batch_parts())


def ran_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that memory could not be had."""
    while error is not None:
        named = type(error).__name__ == "OutOfMemoryError"
        refused = isinstance(error, OSError) and error.errno == errno.ENOMEM
        said = isinstance(error, RuntimeError) and _WORDS.search(str(error)) is not None
        if isinstance(error, MemoryError) or named or refused or said:
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False


def kernel_kills() -> tuple[str, int] | None:
    """The boot of this machine and how often its kernel has killed for memory since; None where it does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        counters = dict(line.split() for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines())
        return boot, int(counters["oom_kill"])
    except (OSError, KeyError, ValueError):
        return None
