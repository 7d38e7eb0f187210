"""A request of the task `search`: a text, and how many items are wanted."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

_NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True)
class TextQuery:
    """What a caller of the task `search` gives.

    Attributes:
        text: With a letter or digit.
        k: Items wanted, >= 1.
        judged: Rows whose scores are wanted too, whether they are among the k or not, int64 [m].
        exclude: Rows that are no result, int64 [e].
        allowed: bool [N], the rows that may be results; None for all.
    """

    text: str
    k: int
    judged: np.ndarray = field(default_factory=lambda: _NO_ROWS)
    exclude: np.ndarray = field(default_factory=lambda: _NO_ROWS)
    allowed: np.ndarray | None = None
