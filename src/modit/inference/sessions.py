"""A request of the task `next_item`: a session, and how many items are wanted."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

_NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True)
class SessionQuery:
    """What a caller of the task `next_item` gives.

    Attributes:
        history: Rows of the catalogue, oldest first, int64 [m].
        k: Items wanted, >= 1.
        exclude: Rows that are no result, int64 [e].
        allowed: bool [N], the rows that may be results; None for all.
    """

    history: np.ndarray
    k: int
    exclude: np.ndarray = field(default_factory=lambda: _NO_ROWS)
    allowed: np.ndarray | None = None
