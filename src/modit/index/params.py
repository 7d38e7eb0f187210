"""Sections of `params.yaml`: how the index is built, and how many of its results are judged."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from modit.core.errors import ConfigError
from modit.core.params import AtLeastZero, Positive, Section
from modit.index.engines.collection import EngineAddress

Kind = Literal["flat", "ivf", "ivf_sq8"]
KINDS: tuple[Kind, ...] = ("flat", "ivf", "ivf_sq8")
MOST_SHARDS = 4096


class IndexParams(Section):
    """Section `stage_index`: how the index is built.

    Attributes:
        kind: "auto" chooses by the number of items; "flat" is exact; "ivf" keeps whole vectors in inverted lists;
            "ivf_sq8" keeps one byte for each number.
        flat_up_to: "auto" takes "flat" up to this many items.
        ivf_up_to: "auto" takes "ivf" up to this many items, and "ivf_sq8" beyond; at least `flat_up_to`.
        nlist: number of inverted lists; 0 takes the power of two nearest to 4 sqrt(N), with at least 39 items in a
            list.
        recall_target: share of the exact top-`calibration_k` that an inverted kind must return, in (0, 1].
        calibration_k: length of the lists whose recall is measured.
        calibration_queries: number of queries of the calibration.
        max_probe_share: an index that must visit more than this share of its lists is not faster; "flat" replaces it.
        memory_budget_bytes: an index that needs more is refused; 0 stands for 80% of the machine's memory.
        shards: number of files that the index is built and kept in; they are mapped instead of read. 0 takes as few as
            fit the memory budget.
        engine: address of a collection of the site's own engine, without a password: the catalogue is staged into it,
            too, as a generation beside it, and labels come from there; empty for none.
        threads: threads of training and adding; fixed, because the bytes of an inverted index may depend on it.
    """

    kind: Literal["auto", "flat", "ivf", "ivf_sq8"] = "auto"
    flat_up_to: AtLeastZero = 2_000_000
    ivf_up_to: AtLeastZero = 20_000_000
    nlist: AtLeastZero = 0
    recall_target: Annotated[float, Field(gt=0, le=1)] = 0.98
    calibration_k: Positive = 100
    calibration_queries: Positive = 256
    max_probe_share: Annotated[float, Field(gt=0, le=1)] = 0.25
    memory_budget_bytes: AtLeastZero = 0
    shards: Annotated[int, Field(ge=0, le=MOST_SHARDS)] = 1
    engine: str = ""
    threads: Positive = 2

    @field_validator("engine")
    @classmethod
    def _without_password(cls, value: str) -> str:
        if value:
            try:
                address = EngineAddress.parse(value)
            except ConfigError as error:
                raise ValueError(str(error)) from error
            if address.has_password:
                raise ValueError("allowed: an address without a password; set PGPASSWORD or ~/.pgpass")
        return value

    @field_validator("ivf_up_to")
    @classmethod
    def _beyond_flat(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("flat_up_to", 0):
            raise ValueError(f"allowed: at least flat_up_to ({info.data['flat_up_to']})")
        return value

    def kind_by_size(self, items: int) -> Kind:
        """The configured kind, or under "auto" the one that the number of items calls for."""
        if self.kind != "auto":
            return self.kind
        if items <= self.flat_up_to:
            return "flat"
        return "ivf" if items <= self.ivf_up_to else "ivf_sq8"

    def lists_for(self, items: int) -> int:
        """The number of inverted lists for a catalogue of this size."""
        if self.nlist:
            return min(self.nlist, items)
        # 39 training points to a centroid is the least at which faiss does not warn.
        most = max(1, items // 39)
        nearest = 1 << round(((16 * items).bit_length() - 1) / 2)
        return min(nearest, most)


class RetrievalParams(Section):
    """Section `retrieval`.

    Attributes:
        k: K, how many results are judged, everywhere: anchors, HPPO rewards, evaluation. "auto" follows the size of the
            catalogue: 10 below 5,000 items, 20 below a million, 100 (the paper) beyond.
    """

    k: Positive | Literal["auto"] = "auto"

    def depth(self, items: int) -> int:
        """K for a catalogue of this size."""
        if self.k != "auto":
            return self.k
        return 10 if items < 5_000 else 20 if items < 1_000_000 else 100


class ConsistentIndexParams(Section):
    """Section `stage_consistent_index`: inverted lists by the query view, residual codes in the item view.

    Attributes:
        space: of the lists: query (consistent) or item (the usual index, by item vectors alone).
        residual: what is taken from an item's vector before it is quantised: mean (of the item vectors of its list) or
            centroid (of the list, in the space of `space`; the other reading of the paper).
        lists: inverted lists; 0 for four times the square root of the number of items.
        pieces: of a vector that product quantisation codes one by one, a byte each.
        probes: lists that a query visits.
        iterations: of both k-means.
    """

    space: Literal["query", "item"] = "query"
    residual: Literal["mean", "centroid"] = "mean"
    lists: AtLeastZero = 0
    pieces: Positive = 64
    probes: Positive = 64
    iterations: Positive = 20
