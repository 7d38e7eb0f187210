"""Slices of a split: where a mean may hide that some callers get less."""

from __future__ import annotations

import numpy as np

from modit.metric.cases import Cases

HEAD, TAIL, NEW, FEW = "head patterns", "tail patterns", "new items", "few seeds"
SLICES = (HEAD, TAIL, NEW, FEW)
FEW_SEEDS = 3
DEFINITIONS = {
    HEAD: "cases of the patterns with at least as many positives as the median pattern of the split",
    TAIL: "cases of the other patterns",
    NEW: "cases with a seed or a tail item that the champion's catalogue did not have",
    FEW: f"the first cases of the split, with {FEW_SEEDS} of their seeds in any order",
}
NO_CHAMPION = "there is no champion that an item could be newer than"


def case_masks(
    cases: Cases, labels: np.ndarray, positive: np.ndarray, new_items: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Which cases belong to the slices that are parts of a split, bool [n] each; `new items` only with `new_items`.

    Args:
        cases: of the split, at least one.
        labels: pattern of every item [N].
        positive: the scorer's verdict of every item, bool [N].
        new_items: bool [N], or None.
    """
    sizes = np.bincount(labels[positive], minlength=int(labels.max()) + 1)
    head = sizes[cases.patterns] >= np.median(sizes[np.unique(cases.patterns)])
    masks = {HEAD: head, TAIL: ~head}
    if new_items is not None:
        rows = np.concatenate([cases.seeds, cases.tails], 1)
        masks[NEW] = (new_items[np.maximum(rows, 0)] & (rows >= 0)).any(1)
    return masks
