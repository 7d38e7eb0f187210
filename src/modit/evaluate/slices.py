"""Slices of a split: where a mean may hide that some callers get less."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from modit.evaluate.bootstrap import paired_interval
from modit.evaluate.world import CaseScores
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


class Pair(NamedTuple):
    """Scores of HPPO and of what it is compared with, on the same cases, and the patterns of these [n]."""

    hppo: CaseScores
    against: CaseScores
    patterns: np.ndarray


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


def slice_table(
    whole: Pair, masks: Mapping[str, np.ndarray], few: Pair, seed: int, resamples: int
) -> list[dict[str, Any]]:
    """All slices of a split, each with the paired difference HPPO minus the other row, or why it has none.

    Args:
        whole: of all cases of the split.
        masks: of `case_masks`.
        few: of the cases with few seeds.
        seed: of the resampling.
        resamples: B.
    """
    pairs = {name: _part(whole, mask) for name, mask in masks.items()} | {FEW: few}
    return [_entry(name, pairs.get(name), seed, resamples) for name in SLICES]


def _part(pair: Pair, mask: np.ndarray) -> Pair:
    hppo, against = (CaseScores(*(values[mask] for values in scores)) for scores in (pair.hppo, pair.against))
    return Pair(hppo, against, pair.patterns[mask])


def _entry(name: str, pair: Pair | None, seed: int, resamples: int) -> dict[str, Any]:
    entry = {"name": name, "definition": DEFINITIONS[name], "cases": 0}
    if pair is None or not len(pair.patterns):
        return entry | {"reason": NO_CHAMPION if pair is None else "no case belongs to it"}
    differences = {
        figure: paired_interval(
            getattr(pair.hppo, figure) - getattr(pair.against, figure), pair.patterns, seed, resamples
        )
        for figure in ("joint", "same")
    }
    return entry | {
        "cases": len(pair.patterns),
        "patterns": len(np.unique(pair.patterns)),
        "joint": float(pair.hppo.joint.mean()),
        "same": float(pair.hppo.same.mean()),
        "difference": differences,
    }
