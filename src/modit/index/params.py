"""Sections of `params.yaml`: how the index is built, and how many of its answers are judged."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from modit.core.section import AtLeastZero, Positive, Section


class IndexParams(Section):
    """Section `stage_index`; see `modit.index.IndexConfig`, which checks it as a whole.

    Attributes:
        kind: "auto" chooses by size.
        flat_up_to: "auto" takes an exact index up to this many items.
        ivf_up_to: "auto" keeps whole vectors up to this many items, quantised ones beyond.
        nlist: inverted lists; 0 chooses.
        recall_target: share of the exact top-`calibration_k` to return.
        calibration_k: list length of the calibration.
        calibration_queries: queries of the calibration.
        max_probe_share: more visited lists than this share of all, and exact search takes over.
        memory_budget_bytes: refuse to build over this; 0 for 80% of the machine's memory.
        shards: files that the index is built and kept in; 0 for as few as fit the memory budget.
        use_gpu: "auto" takes one that is there.
        threads: of training and adding.
    """

    kind: Literal["auto", "flat", "ivf", "ivf_sq8", "ivf_pq"] = "auto"
    flat_up_to: AtLeastZero = 2_000_000
    ivf_up_to: AtLeastZero = 20_000_000
    nlist: AtLeastZero = 0
    recall_target: Annotated[float, Field(gt=0, le=1)] = 0.98
    calibration_k: Positive = 100
    calibration_queries: Positive = 256
    max_probe_share: Annotated[float, Field(gt=0, le=1)] = 0.25
    memory_budget_bytes: AtLeastZero = 0
    shards: AtLeastZero = 1
    use_gpu: bool | Literal["auto"] = "auto"
    threads: Positive = 2


class RetrievalParams(Section):
    """Section `retrieval`.

    Attributes:
        k: K, how many results are judged, everywhere: anchors, HPPO rewards, evaluation. "auto" follows the size of the
            catalogue: 10 below 5,000 items, 20 below a million, 100 (the paper) beyond.
    """

    k: Positive | Literal["auto"] = "auto"

    def depth(self, items: int) -> int:
        """K for a catalogue of so many items."""
        if self.k != "auto":
            return self.k
        return 10 if items < 5_000 else 20 if items < 1_000_000 else 100
