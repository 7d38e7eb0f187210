"""The sections of `params.yaml`, one model a section. Ranges are checked when the file is read."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Weight = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1)]
Variant = Literal["off_policy", "adaptive", "pareto", "pareto_epsilon"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
Sharding = Literal["none", "full", "auto"]
HoldOut = Literal["item_holdout", "pattern_holdout"]


class Section(BaseModel):
    """Base of every section: unknown fields are refused, values never change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WindowParams(Section):
    """Section `window`: which days a run reads, and what they are compared with.

    Attributes:
        length_days: days of a window whose conf names only its end.
        overlap_days: days before those, read again for rows that came late; and how many days a row may lie away from
            the day of its partition.
        history_windows: how many accepted windows before this one volumes and rates are compared with.
    """

    length_days: Positive = 30
    overlap_days: Annotated[int, Field(ge=0)] = 2
    history_windows: Positive = 5


class DriftParams(Section):
    """Part `drift` of section `validate_logs`: how far a column may move from the last accepted window.

    Attributes:
        psi_warn: population stability index that is worth a look.
        psi_fail: population stability index that refuses the window.
        distance_warn: Kolmogorov-Smirnov distance (numbers) or total variation (categories) that is worth a look.
        distance_fail: the same distance that refuses the window.
        significance: index and distance count only if chance gives them with less than this probability.
        cells: cells of the codebook that embedding-space occupancy is counted in.
    """

    psi_warn: Annotated[float, Field(gt=0)] = 0.25
    psi_fail: Annotated[float, Field(gt=0)] = 1.0
    distance_warn: Weight = 0.2
    distance_fail: Weight = 0.5
    significance: Annotated[float, Field(gt=0, lt=1)] = 0.001
    cells: Annotated[int, Field(ge=2, le=256)] = 32


class ValidationParams(Section):
    """Section `validate_logs`: how much may be wrong with a window before it is refused.

    Bad rows are always set aside; a share says how many of a table's rows one rule may catch.

    Attributes:
        unknown_item_share_max: of interactions that name an item which is not in `items`.
        null_share_max: of interactions with an empty required column.
        duplicate_share_max: of interactions that occur twice.
        timestamp_share_max: of interactions whose time is impossible or not near the day of their partition.
        item_share_max: of items that break any one rule.
        label_share_max: of retrieval labels that break any one rule.
        unordered_share_max: of rows that are older than the row above them; 1 for logs that are not in order.
        embedding_norm_min: shortest embedding as delivered, before it is normalised.
        embedding_norm_max: longest.
        volume_min: least rows a day, over the median of the last accepted windows.
        volume_max: most.
        missing_day_share_max: of the window's days that have no row at all.
        rate_tolerance: least half-width of the learned bands of label and attribute rates.
        drift: levels of drift.
    """

    unknown_item_share_max: Weight = 0.05
    null_share_max: Weight = 0.01
    duplicate_share_max: Weight = 0.05
    timestamp_share_max: Weight = 0.01
    item_share_max: Weight = 0.01
    label_share_max: Weight = 0.01
    unordered_share_max: Weight = 1.0
    embedding_norm_min: Annotated[float, Field(ge=0)] = 0.0
    embedding_norm_max: Annotated[float, Field(gt=0, le=1e39)] = 1e39
    volume_min: Annotated[float, Field(ge=0)] = 0.25
    volume_max: Annotated[float, Field(gt=0)] = 4.0
    missing_day_share_max: Weight = 0.5
    rate_tolerance: Share = 0.05
    drift: DriftParams = DriftParams()


class PatternParams(Section):
    """Section `assign_patterns`: how positives are clustered and what is held out.

    Attributes:
        positives_per_pattern: aim for the size of a pattern.
        minimum: fewest patterns of a domain.
        maximum: most patterns of a domain (the paper: 1000).
        minimum_positives: positives that a pattern needs before it can be held out and judged.
        minimum_held_out: fewest patterns in test and in validation.
        test_share: share of patterns held out for test.
        validation_share: share of patterns held out for validation.
        item_test_share: share of items held out for test, by hash of the id.
        item_validation_share: share of items held out for validation.
        views: number of clusterings of the training positives that trajectories are drawn from.
        view_granularities: factors on the number of patterns, used in turn by the views.
    """

    positives_per_pattern: Positive = 70
    minimum: Positive = 8
    maximum: Positive = 60
    minimum_positives: Positive = 24
    minimum_held_out: Positive = 2
    test_share: Share = 1 / 6
    validation_share: Share = 1 / 8
    item_test_share: Share = 0.3
    item_validation_share: Share = 0.15
    views: Positive = 12
    view_granularities: tuple[float, ...] = (1.0, 0.6, 1.5)


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


class AnchorParams(Section):
    """Section `label_anchors`.

    Attributes:
        anchors: most anchors to label in a domain; all trainable items where there are fewer.
    """

    anchors: Positive = 20_000


class FeatureParams(Section):
    """Section `publish_features`.

    Attributes:
        overlap_hours: rows up to this much older than the newest that is online are written there again.
        sample: items whose online rows are compared with the run's, bit for bit.
        batch: rows written to the online store at once.
        services_kept: runs of a domain whose feature services stay, the newest; those in use stay beside them.
    """

    overlap_hours: Annotated[float, Field(ge=0)] = 24.0
    sample: Positive = 200
    batch: Positive = 10_000
    services_kept: Positive = 30


class SequenceParams(Section):
    """Section `build_trajectories` (Algorithm 1).

    Attributes:
        length: L, items in a trajectory.
        seeds: m, the part of it that the model reads; the tail is the rest.
        normal_share: share of non-positive items in a pattern's pool.
        sequences: trajectories to draw for a domain.
        cases: cases of each evaluation split.
        validation_cases: cases of each validation split.
        minimum_case_seeds: fewest seeds of an evaluation case; smaller patterns are skipped by name.
    """

    length: Positive = 32
    seeds: Positive = 24
    normal_share: Share = 0.2
    sequences: Positive = 6_000
    cases: Positive = 500
    validation_cases: Positive = 300
    minimum_case_seeds: Positive = 6


class ModelParams(Section):
    """Section `model`: the size of the DiT.

    Attributes:
        width: H, width of a token.
        depth: number of blocks.
        heads: attention heads.
        mlp_ratio: hidden width of the MLP over H.
        copy_heads: readout heads over the raw seeds; 0 for none.
        linear_head: whether the readout has the paper's linear map too.
        dropout: on attention and MLP outputs.
    """

    width: Positive = 96
    depth: Positive = 3
    heads: Positive = 4
    mlp_ratio: Annotated[float, Field(gt=0)] = 2.0
    copy_heads: Annotated[int, Field(ge=0)] = 4
    linear_head: bool = False
    dropout: Share = 0.0


class OptimizerParams(Section):
    """What every training stage sets for the one loop.

    Attributes:
        steps: optimiser steps.
        batch: sequences in a global batch.
        learning_rate: peak; cosine to `final_ratio` of it.
        warmup: share of the steps with a linear warm-up.
        final_ratio: last learning rate over the peak.
        weight_decay: of AdamW, on matrices only.
        betas: of AdamW.
        clip: largest gradient norm.
        accumulate: micro-batches in a global batch.
        sharding: of a stage that several processes train: none (each keeps the whole model), full (parameters,
            gradients and optimiser state are cut among them), auto (full where they take over half of a GPU's memory).
        ema: decay of the weight average; 0 for none.
        condition_dropout: share of targets that see BOS alone, for guidance.
        curvature: Jacobi weight of the loss.
        seed_noise: tangent noise on seed embeddings, radians (augmentation).
        rotate: chance that a sequence is seen under a random rotation of everything, axes included
            (docs/adr/0004).
        draws: (time, noise) draws of each case in a step (stages with one target).
        full_share: share of cases that keep all their seeds; others keep a random subset, as callers do.
        log_every: steps between log lines.
        checkpoint_every: steps between checkpoints.
    """

    steps: Positive = 1_000
    batch: Positive = 64
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    warmup: Share = 0.02
    final_ratio: Share = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    betas: tuple[float, float] = (0.9, 0.95)
    clip: Annotated[float, Field(gt=0)] = 1.0
    accumulate: Positive = 1
    sharding: Sharding = "auto"
    ema: Share = 0.0
    condition_dropout: Share = 0.1
    curvature: Literal["none", "remaining", "travelled"] = "remaining"
    seed_noise: Annotated[float, Field(ge=0)] = 0.0
    rotate: Weight = 1.0
    draws: Positive = 4
    full_share: Weight = 0.5
    log_every: Positive = 50
    checkpoint_every: Positive = 500


class FinetuneParams(OptimizerParams):
    """Section `finetune`.

    Attributes:
        blends: shares of the way from stage 1's weights to stage 2's that are scored on validation cases; the best is
            the model of the domain (docs/adr/0014). Ties go to the first.
    """

    blends: Annotated[tuple[Weight, ...], Field(min_length=1)] = (1.0, 0.75, 0.5, 0.25, 0.0)


class SamplerParams(Section):
    """Section `sampler`: how a query is drawn, in validation, evaluation and export alike.

    Attributes:
        steps: Euler steps.
        samples: samples of the flow averaged into one query (docs/adr/0006); 1 is the paper's.
        guidance: scales to choose the serving scale from, on validation cases, for each model (the paper: 3).
    """

    steps: Positive = 4
    samples: Positive = 4
    guidance: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0)


class ExportParams(Section):
    """Section `export_sampler`.

    Attributes:
        variants: files of the sampler beside that of float32. A file costs seconds, is judged on the same cases, and is
            served only where the gate offers it and somebody asks for it (docs/adr/0032).
    """

    variants: Annotated[tuple[Literal["int8"], ...], Field(max_length=1)] = ("int8",)


class HPPOParams(Section):
    """Section `hppo`: candidates, pairs, loss and rounds (specification section 6).

    Attributes:
        variant: off_policy (one round from the frozen SFT, no filter), adaptive (relabelled each round, no filter),
            pareto (adaptive with the strict filter), pareto_epsilon (filter with `tolerance`).
        cases: training cases labelled in a round.
        margin: delta of the case gate and the pairs.
        gate: what the best candidate must lead by `margin`: the second best (paper), or the query served today, which
            wins where it is not beaten.
        tolerance: epsilon of `pareto_epsilon`.
        beta: inverse temperature of the preference loss.
        anchor: the target of the anchor, the SFT tail centroid (paper) or the pair's winner.
        anchor_weight: lambda.
        draws: (time, noise) draws of each pair.
        curvature: Jacobi weight in the scores.
        use_static: static candidates in the pool.
        use_policy: the guidance fan in the pool.
        static_depths: depths of the static centroids over the tail.
        fan: guidance scales of the policy candidates.
        use_axes: blends of the seeds' means with steps along density and attribute in the pool.
        axis_steps: lengths of those steps.
        use_moves: moves of the served query in the pool: pulls to the seeds' means, steps along density and
            attribute.
        pull_steps: lengths of the pulls.
        move_steps: lengths of the steps of a move.
        case_weight: share of a case's own deviation from the mean of a kind of candidate that labels keep; 1 is the
            paper.
        rocchio_steps: moves to the global attribute centroid; empty for none.
        search_rounds: rounds of derivative-free search around the best candidate; 0 for none.
        search_moves: moves of each search round.
        search_radius: typical length of a search move.
        blends: shares of a round's change of weights to try on validation cases.
        fall_allowed: most that Joint on validation items or validation patterns may fall in a round that is kept.
        rotate: share of pairs seen under a random rotation of everything, axes included.
        steps: optimiser steps of a round.
        batch: pairs in a step.
        sharding: as in the other training sections.
        learning_rate: peak; falls to nearly nothing in each round.
        ema: decay of the weight average within a round; 0 for none.
        weight_decay: of AdamW.
    """

    variant: Variant = "pareto_epsilon"
    cases: Positive = 800
    margin: Share = 0.01
    gate: Literal["second", "served"] = "served"
    tolerance: Share = 0.05
    beta: Annotated[float, Field(gt=0)] = 0.05
    anchor: Literal["tail", "winner"] = "winner"
    anchor_weight: Annotated[float, Field(ge=0)] = 1.0
    draws: Positive = 4
    curvature: Literal["none", "remaining", "travelled"] = "remaining"
    use_static: bool = False
    use_policy: bool = True
    static_depths: tuple[float, ...] = (0.2, 0.5, 0.7, 1.0)
    fan: tuple[float, ...] = (1.0, 2.0, 3.0, 6.0)
    use_axes: bool = True
    axis_steps: tuple[float, ...] = (0.15, 0.3, 0.45, 0.6, 0.8, 1.0, 1.3, 1.6)
    use_moves: bool = True
    pull_steps: tuple[float, ...] = (0.4,)
    move_steps: tuple[float, ...] = (0.2, 0.4)
    case_weight: Weight = 0.3
    rocchio_steps: tuple[float, ...] = ()
    search_rounds: Annotated[int, Field(ge=0)] = 0
    search_moves: Positive = 8
    search_radius: Annotated[float, Field(gt=0)] = 0.2
    blends: Annotated[tuple[Weight, ...], Field(min_length=1)] = (1.0, 0.5, 0.25)
    fall_allowed: Share = 0.01
    rotate: Weight = 1.0
    steps: Positive = 150
    batch: Positive = 64
    sharding: Sharding = "auto"
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    ema: Share = 0.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.01


class HPPOVariantsParams(Section):
    """Section `hppo_variants`: variants of HPPO to train beside the one of section `hppo`, as further rows.

    Attributes:
        names: of the variants, each once and not the one of section `hppo`; none by default, because each costs a
            whole chain of rounds. Everything else is as in section `hppo`.
    """

    names: tuple[Variant, ...] = ()

    @field_validator("names")
    @classmethod
    def _each_once(cls, names: tuple[Variant, ...]) -> tuple[Variant, ...]:
        if len(set(names)) < len(names):
            raise ValueError(f"a variant is named twice; allowed: each of {', '.join(VARIANTS)} once")
        return tuple(name for name in VARIANTS if name in names)


class SnapshotParams(Section):
    """Section `snapshot`: where the versions of data, cases and bundles go (docs/versioning.md).

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
    """Section `gate`: what the quality key asks (docs/gate.md). Shares of Joint@K and Same@K, not points.

    Attributes:
        minimum_cases: fewest cases of a split that a verdict may rest on.
        interval: whether intervals are resampled over cases (the paper) or over whole patterns.
        item_same_floor: least Same@K of HPPO on held-out items.
        pattern_same_floor: least Same@K of HPPO on held-out patterns.
        classical_splits: splits on which HPPO must not be significantly below the best classical row.
        champion_rule: what is asked of Joint@K beside the champion's: "gain", or "no_loss": on every split its interval
            must end above -`noise_floor` at the low end, so that an equal model may bring a newer index into service.
        gain_splits: splits on which "gain" asks that Joint@K is significantly above the champion's, by more than
            `noise_floor`.
        noise_floor: gain in Joint@K that another seed alone may give (benchmarks/noise_floor.py).
        same_tolerance: most Same@K that may be lost to the champion, at the low end of the interval.
        slice_tolerance: a slice may not be below the champion by more than this, at the high end of the interval.
        minimum_slice_cases: fewest cases of a slice that is judged; a smaller one is shown.
        incomparable: what to do where the champion is of another embedding space: refuse, or fall back to the absolute
            thresholds of a first run.
    """

    minimum_cases: Positive = 20
    interval: Literal["cases", "patterns"] = "cases"
    item_same_floor: Share = 0.6
    pattern_same_floor: Share = 0.4
    classical_splits: tuple[HoldOut, ...] = ("item_holdout",)
    champion_rule: Literal["gain", "no_loss"] = "gain"
    gain_splits: Annotated[tuple[HoldOut, ...], Field(min_length=1)] = ("item_holdout", "pattern_holdout")
    noise_floor: Share = 0.015
    same_tolerance: Share = 0.03
    slice_tolerance: Share = 0.02
    minimum_slice_cases: Positive = 20
    incomparable: Literal["refuse", "absolute"] = "refuse"


class ServabilityParams(Section):
    """Section `servability`: the budgets of a sampler that is tried as the service would run it (docs/gate.md).

    Attributes:
        p99_ms: most milliseconds that 99 of 100 single queries with the most seeds may take.
        memory_mb: most memory of the process, MiB, besides `index_copies` times the index.
        index_copies: how often the index may lie in memory while it is loaded.
        k: items asked for.
        warmup: queries before those that are timed.
        queries: timed queries of a round.
        rounds: of timed queries; the fastest counts, since neighbours on the machine can only add.
    """

    p99_ms: Annotated[float, Field(gt=0, le=60_000)] = 250.0
    memory_mb: Annotated[float, Field(gt=0, le=1_048_576)] = 1024.0
    index_copies: Annotated[float, Field(ge=1, le=100)] = 2.5
    k: Positive = 10
    warmup: Annotated[int, Field(ge=0)] = 20
    queries: Annotated[int, Field(ge=50, le=100_000)] = 200
    rounds: Annotated[int, Field(ge=1, le=100)] = 3
