"""How the index is built: the parameters of the step `stage_index`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from modit.core.errors import ConfigError

Kind = Literal["flat", "ivf", "ivf_sq8", "ivf_pq"]
MOST_SHARDS = 4096
KINDS: tuple[Kind, ...] = ("flat", "ivf", "ivf_sq8", "ivf_pq")


@dataclass(frozen=True)
class IndexConfig:
    """Parameters of the index.

    Attributes:
        kind: "auto" chooses by size; "flat" is exact; "ivf" keeps whole vectors in inverted lists; "ivf_sq8"
            one byte, "ivf_pq" half a byte per number.
        flat_up_to: auto takes "flat" up to this many items.
        ivf_up_to: auto takes "ivf" up to this many items, "ivf_sq8" beyond.
        nlist: number of inverted lists; 0 takes the power of two nearest to 4 sqrt(N), with at least 39 items
            to a list.
        recall_target: share of the exact top-`calibration_k` that the approximate kinds must return, in (0, 1].
        calibration_k: list length at which recall is measured.
        calibration_queries: number of catalogue items used as queries of the calibration.
        max_probe_share: an index that must visit more than this share of its lists gives no speed; exact search
            takes over.
        memory_budget_bytes: refuse to build over this; 0 stands for 80% of the machine's memory.
        shards: files that the index is built and kept in, one after the other, and mapped instead of read; 0 takes as
            few as fit the memory budget.
        use_gpu: "auto" takes a GPU when faiss-gpu is installed and sees one; True insists; False never.
        threads: threads of training and adding; fixed, because the bytes of the index may depend on it.
        seed: seed of the training sample, of k-means and of the calibration sample.
    """

    kind: Literal["auto", "flat", "ivf", "ivf_sq8", "ivf_pq"] = "auto"
    flat_up_to: int = 2_000_000
    ivf_up_to: int = 20_000_000
    nlist: int = 0
    recall_target: float = 0.98
    calibration_k: int = 100
    calibration_queries: int = 256
    max_probe_share: float = 0.25
    memory_budget_bytes: int = 0
    shards: int = 1
    use_gpu: bool | Literal["auto"] = "auto"
    threads: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        self._require("kind", self.kind in ("auto", *KINDS), f"one of auto, {', '.join(KINDS)}")
        self._require("use_gpu", self.use_gpu in ("auto", True, False), "auto, true or false")
        self._require("flat_up_to", self.flat_up_to >= 0, ">= 0")
        self._require("ivf_up_to", self.ivf_up_to >= self.flat_up_to, f">= flat_up_to ({self.flat_up_to})")
        self._require("nlist", self.nlist >= 0, ">= 0")
        self._require("recall_target", 0 < self.recall_target <= 1, "in (0, 1]")
        self._require("calibration_k", self.calibration_k >= 1, ">= 1")
        self._require("calibration_queries", self.calibration_queries >= 1, ">= 1")
        self._require("max_probe_share", 0 < self.max_probe_share <= 1, "in (0, 1]")
        self._require("memory_budget_bytes", self.memory_budget_bytes >= 0, ">= 0")
        self._require("shards", 0 <= self.shards <= MOST_SHARDS, f"in [0, {MOST_SHARDS}]")
        self._require("use_gpu", self.use_gpu is not True or self.shards == 1, "auto or false, where shards is not 1")
        self._require("threads", self.threads >= 1, ">= 1")
        self._require("seed", 0 <= self.seed < 2**31, "in [0, 2^31)")

    def _require(self, field: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise ConfigError(f"stage_index.{field} is {getattr(self, field)!r}; allowed: {allowed}")

    def kind_by_size(self, items: int) -> Kind:
        """The kind asked for, or under "auto" the one that the number of items calls for."""
        if self.kind != "auto":
            return self.kind
        if items <= self.flat_up_to:
            return "flat"
        return "ivf" if items <= self.ivf_up_to else "ivf_sq8"

    def lists_for(self, items: int) -> int:
        """Number of inverted lists for a catalogue of this size."""
        if self.nlist:
            return min(self.nlist, items)
        # 39 training points to a centroid is the least at which faiss does not warn.
        most = max(1, items // 39)
        nearest = 1 << round(((16 * items).bit_length() - 1) / 2)
        return min(nearest, most)
