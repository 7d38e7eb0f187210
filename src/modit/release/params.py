"""Sections of `params.yaml`: versions of data, and the two keys of the gate."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from modit.core.params import AtLeastZero, Positive, Section, Share

HoldOut = Literal["item_holdout", "pattern_holdout"]


class SnapshotParams(Section):
    """Section `snapshot`: where the versions of data, cases and bundles go (docs/how-to/version-and-reproduce.md).

    Attributes:
        enabled: without it nothing is versioned, the verdict says so, and the model cannot be reproduced.
        remote: DVC remote, an absolute folder or an address such as s3://bucket/prefix; empty for a folder beside the
            runs.
        lock_wait: seconds to wait for another snapshot of the same store of runs.
    """

    enabled: bool = True
    remote: Annotated[str, Field(pattern=r"^$|^/|^[a-z0-9]+://.")] = ""
    lock_wait: Annotated[float, Field(ge=0)] = 600.0


class GateParams(Section):
    """Section `gate`: what the quality key asks (docs/explanation/gate.md). Shares of Joint@K and Same@K, not points.

    Attributes:
        minimum_cases: fewest cases of a split that a verdict may rest on.
        item_same_floor: least Same@K of the served lists (HPPO, reranked where that is the default) on held-out items.
        pattern_same_floor: the same on held-out patterns.
        classical_splits: splits on which HPPO must not be significantly below the best classical row, nor its reranked
            list below the best two-stage row.
        champion_rule: what is asked of Joint@K beside the champion's: "gain", or "no_loss": on every split its interval
            must end above -`noise_floor` at the low end, so that an equal model may bring a newer index into service.
        gain_splits: splits on which "gain" asks that Joint@K is significantly above the champion's, by more than
            `noise_floor`.
        noise_floor: gain in Joint@K that another seed alone may give (benchmarks/bench_seed_noise.py).
        same_tolerance: most Same@K that may be lost to the champion, at the low end of the interval.
        slice_tolerance: a slice may not be below the champion by more than this, at the high end of the interval.
        lost_items: most of the champion's items that the candidate's catalogue may lack, as a share.
        minimum_slice_cases: fewest cases of a slice that is judged; a smaller one is shown.
        incomparable: what to do where the champion is of another embedding space: refuse, or fall back to the absolute
            thresholds of a first run.
    """

    minimum_cases: Positive = 20
    item_same_floor: Share = 0.6
    pattern_same_floor: Share = 0.4
    classical_splits: tuple[HoldOut, ...] = ("item_holdout",)
    champion_rule: Literal["gain", "no_loss"] = "gain"
    gain_splits: Annotated[tuple[HoldOut, ...], Field(min_length=1)] = ("item_holdout", "pattern_holdout")
    noise_floor: Share = 0.015
    same_tolerance: Share = 0.03
    slice_tolerance: Share = 0.02
    lost_items: Share = 0.1
    minimum_slice_cases: Positive = 20
    incomparable: Literal["refuse", "absolute"] = "refuse"


class StartingPointParams(Section):
    """Section `starting_point`: what the retriever of the next item starts from.

    Attributes:
        origin: nothing (new IDs and weights), or champion (its IDs and weights; new items get IDs by its tokeniser, and
            `tokenize_items` sets nothing). Where there is no champion yet, the run starts from nothing.
    """

    origin: Literal["nothing", "champion"] = "nothing"


class NextItemGateParams(Section):
    """Section `gate_next_item`: what the quality key asks of a retriever of the next item (docs/explanation/gate.md).

    Shares of Recall@10, not points.

    Attributes:
        minimum_cases: fewest test cases that a verdict may rest on.
        noise_floor: how far a slice may be below the champion, at the high end of the interval: what another seed alone
            may change.
        lost_items: most of the champion's items that the candidate's catalogue may lack, as a share.
        minimum_slice_cases: fewest cases of a slice that is judged; a smaller one is shown.
    """

    minimum_cases: Positive = 100
    noise_floor: Share = 0.01
    lost_items: Share = 0.1
    minimum_slice_cases: Positive = 20


class SearchGateParams(Section):
    """Section `gate_search`: what the quality key asks of a retriever by text (docs/explanation/gate.md).

    Shares of NDCG@10 and of Recall@100, not points.

    Attributes:
        minimum_cases: fewest test queries that a verdict may rest on.
        ndcg_margin: how far NDCG@10 may be below BM25's and the champion's, at the low end of the interval.
        recall_margin: the same for Recall@100. In one of the two an interval must lie above BM25's.
        noise_floor: how far NDCG@10 of a slice may be below the champion, at the high end of the interval.
        lost_items: most of the champion's items that the candidate's catalogue may lack, as a share.
        minimum_slice_cases: fewest queries of a slice that is judged; a smaller one is shown.
    """

    minimum_cases: Positive = 100
    ndcg_margin: Share = 0.005
    recall_margin: Share = 0.01
    noise_floor: Share = 0.005
    lost_items: Share = 0.1
    minimum_slice_cases: Positive = 20


class FanOutGateParams(Section):
    """Section `gate_fan_out`: what the quality key asks of a retriever of sets by intent (docs/explanation/gate.md).

    Shares of coverage and of the scaled diversity, not points.

    Attributes:
        minimum_cases: fewest test intents that a verdict may rest on.
        coverage_margin: how far coverage may be below that of one list of the intent, and below the champion's, at the
            low end of the interval. Coverage or diversity must lie above one list's by its interval.
        noise_floor: how far coverage of a slice may be below the champion, at the high end of the interval.
        lost_items: most of the champion's items that the candidate's catalogue may lack, as a share.
        minimum_slice_cases: fewest intents of a slice that is judged; a smaller one is shown.
    """

    minimum_cases: Positive = 100
    coverage_margin: Share = 0.03
    noise_floor: Share = 0.03
    lost_items: Share = 0.1
    minimum_slice_cases: Positive = 20


class ServabilityParams(Section):
    """Section `servability`: budgets of a model that is tried as the service would run it (docs/explanation/gate.md).

    Attributes:
        p99_ms: most milliseconds that 99 of 100 single queries with the most seeds may take, and as many reranked ones;
            of a retriever of the next item, single sessions of as many items as it reads, and of one by text or
            intent, single texts of as many words.
        memory_mb: most memory of the process, MiB, besides `index_copies` times the index.
        index_copies: how often the index (of kinds that are judged once, all files) may lie in memory
            while it is loaded.
        k: items asked for.
        warmup: queries before those that are timed.
        queries: timed queries of a round.
        rounds: of timed queries; the fastest counts, since neighbours on the machine can only add.
    """

    p99_ms: Annotated[float, Field(gt=0, le=60_000)] = 250.0
    memory_mb: Annotated[float, Field(gt=0, le=1_048_576)] = 1024.0
    index_copies: Annotated[float, Field(ge=1, le=100)] = 2.5
    k: Positive = 10
    warmup: AtLeastZero = 20
    queries: Annotated[int, Field(ge=50, le=100_000)] = 200
    rounds: Annotated[int, Field(ge=1, le=100)] = 3
