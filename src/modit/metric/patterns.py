"""Patterns: clusters of a domain's positives, and who may learn from which item (specification sections 1, 8, 12)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from modit.core.arrays import save_arrays
from modit.core.errors import InsufficientDataError
from modit.core.memory import at_once
from modit.core.seeds import derived_seed
from modit.data.catalog import NEGATIVE, POSITIVE
from modit.data.hash_unit import hash_unit
from modit.data.splits import TEST, TRAIN, VALIDATION, ResultScope, Split
from modit.data.vectors import ROWS_AT_ONCE, nearest_centroid
from modit.metric.params import PatternParams


@dataclass(frozen=True)
class Patterns:
    """The patterns of one domain.

    Attributes:
        centroids: float32 [C, d].
        labels: int32 [N], the nearest centroid of every item, positive or not (specification trap 8).
        pattern_split: int8 [C], TRAIN, VALIDATION or TEST.
        item_split: int8 [N], the split of the item's own hash.
    """

    centroids: np.ndarray
    labels: np.ndarray
    pattern_split: np.ndarray
    item_split: np.ndarray

    @property
    def role(self) -> np.ndarray:
        """int8 [N]: TEST where the item or its pattern is, else VALIDATION where either is, else TRAIN."""
        return np.maximum(self.item_split, self.pattern_split[self.labels])

    @property
    def trainable(self) -> np.ndarray:
        """Bool [N]: items that stages which update this domain's weights may see."""
        return self.role == TRAIN

    @property
    def visible_for_validation(self) -> np.ndarray:
        """Bool [N]: items that choices on validation cases may see: all but the test items."""
        return self.role != TEST

    def may_be_results(self, split: Split, scope: ResultScope) -> np.ndarray:
        """Items that may be results of a split's cases, bool [N]; validation cases never see a test item."""
        validation = split.validation is split
        if scope is ResultScope.DISCOVERY:
            return self.role == (VALIDATION if validation else TEST)
        return self.visible_for_validation if validation else np.ones(len(self.labels), bool)

    def members_of(self, split: Split) -> np.ndarray:
        """Items that may stand in a case of the split, bool [N].

        Item splits have unseen items of patterns that training knows, pattern splits have items of unseen patterns.
        Validation cases never hold a test item.
        """
        pattern_role = self.pattern_split[self.labels]
        return {
            Split.ITEM_VALIDATION: (self.item_split == VALIDATION) & (pattern_role == TRAIN),
            Split.PATTERN_VALIDATION: (self.item_split != TEST) & (pattern_role == VALIDATION),
            Split.ITEM_HOLDOUT: (self.item_split == TEST) & (pattern_role == TRAIN),
            Split.PATTERN_HOLDOUT: pattern_role == TEST,
        }[split]

    def training_folds(self, count: int, generator: np.random.Generator) -> list[Patterns]:
        """Splits for cross-validation among what training sees: in each fold a part of it is held out for validation.

        That part is a share 1 / count of the training patterns, each in one fold, and of the items of the others, each
        in one fold. What training does not see is TEST in all of them, so no fold shows it.

        Args:
            count: Folds, at least 2.
            generator: Draws the parts.
        """
        hidden_items = np.where(self.item_split == TRAIN, TRAIN, TEST).astype(np.int8)
        hidden_patterns = np.where(self.pattern_split == TRAIN, TRAIN, TEST).astype(np.int8)
        item_fold = _equal_parts(hidden_items == TRAIN, count, generator)
        pattern_fold = _equal_parts(hidden_patterns == TRAIN, count, generator)
        return [
            replace(
                self,
                item_split=np.where(item_fold == fold, VALIDATION, hidden_items).astype(np.int8),
                pattern_split=np.where(pattern_fold == fold, VALIDATION, hidden_patterns).astype(np.int8),
            )
            for fold in range(count)
        ]

    def save(self, path: Path) -> None:
        """Writes one `.npz`."""
        save_arrays(
            path,
            centroids=self.centroids,
            labels=self.labels,
            pattern_split=self.pattern_split,
            item_split=self.item_split,
        )

    @classmethod
    def load(cls, path: Path) -> Patterns:
        """Reads what `save` wrote."""
        with np.load(path) as stored:
            return cls(**{name: stored[name] for name in stored.files})


def _equal_parts(mask: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Deals the places of a mask [n] into parts of nearly equal size: the number of each one's part, else -1."""
    part = np.full(len(mask), -1)
    places = generator.permutation(np.flatnonzero(mask))
    part[places] = np.arange(len(places)) % count
    return part


@dataclass(frozen=True)
class PatternViews:
    """Pseudo-patterns for training: a clustering of the trainable positives at some granularity (docs/adr/0004).

    Attributes:
        labels: int32 [V, N], the cluster of every item in each view.
        sizes: clusters of each view [V].
    """

    labels: np.ndarray
    sizes: np.ndarray

    def save(self, path: Path) -> None:
        """Writes one `.npz`."""
        save_arrays(path, labels=self.labels, sizes=self.sizes)

    @classmethod
    def load(cls, path: Path) -> PatternViews:
        """Reads what `save` wrote."""
        with np.load(path) as stored:
            return cls(stored["labels"], stored["sizes"])


def shared_items(patterns: Sequence[Patterns]) -> np.ndarray:
    """Bool [N]: items that the shared stages may see: no test item of any domain, and no held-out item by hash."""
    item_split = patterns[0].item_split
    return (item_split == TRAIN) & np.all([domain.visible_for_validation for domain in patterns], axis=0)


_POINTS_PER_CENTROID = 256


def number_of_patterns(positives: int, params: PatternParams) -> int:
    """C = positives / positives_per_pattern, between the configured bounds."""
    return int(np.clip(positives // params.positives_per_pattern, params.minimum, params.maximum))


def cluster(points: np.ndarray, count: int, seed: int) -> np.ndarray:
    """k-means centroids [count, d] of `points` [n, d]; large inputs are sampled to 256 points a centroid."""
    from sklearn.cluster import KMeans  # more than a second, which steps that only build views do without

    generator = np.random.default_rng(seed)
    budget = _POINTS_PER_CENTROID * count
    if len(points) > budget:
        points = points[np.sort(generator.choice(len(points), budget, replace=False))]
    with threadpool_limits(1):  # one thread: the sums, and so the bytes, do not depend on the machine
        return KMeans(count, n_init=3, random_state=seed).fit(points).cluster_centers_.astype(np.float32)


def nearest_rows(embeddings: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The catalogue row nearest to each centroid (its medoid), int64 [C]."""
    best, rows = np.full(len(centroids), -np.inf), np.zeros(len(centroids), np.int64)
    block = at_once(ROWS_AT_ONCE)
    for start in range(0, len(embeddings), block):
        score = np.asarray(embeddings[start : start + block]) @ centroids.T
        top = score.argmax(0)
        better = score.max(0) > best
        best[better], rows[better] = score.max(0)[better], start + top[better]
    return rows


def hold_out_patterns(
    embeddings: np.ndarray, item_ids: np.ndarray, centroids: np.ndarray, eligible: np.ndarray, params: PatternParams
) -> np.ndarray:
    """Chooses the held-out patterns by the hash of their medoid's item id: k-means' numbering has no influence.

    Args:
        embeddings: [N, d].
        item_ids: [N].
        centroids: [C, d].
        eligible: patterns large enough to be judged, bool [C].
        params: shares of test and validation patterns.

    Returns:
        int8 [C].
    """
    wanted = {
        TEST: max(params.minimum_held_out, round(params.test_share * len(centroids))),
        VALIDATION: max(params.minimum_held_out, round(params.validation_share * len(centroids))),
    }
    needed, judged = sum(wanted.values()) + params.minimum_held_out, int(eligible.sum())
    if judged < needed:
        raise InsufficientDataError(
            f"{judged} patterns have the {params.minimum_positives} positives that a judged pattern needs "
            f"(assign_patterns.minimum_positives), {needed} such patterns are needed to hold out {wanted[TEST]} "
            f"for test and {wanted[VALIDATION]} for validation"
        )
    medoids = nearest_rows(embeddings, centroids)
    order = np.argsort(hash_unit(item_ids[medoids], "pattern-split"), kind="stable")
    order = order[eligible[order]]
    split = np.full(len(centroids), TRAIN, np.int8)
    split[order[: wanted[TEST]]] = TEST
    split[order[wanted[TEST] : wanted[TEST] + wanted[VALIDATION]]] = VALIDATION
    return split


def build_patterns(
    embeddings: np.ndarray,
    item_ids: np.ndarray,
    verdicts: np.ndarray,
    item_split: np.ndarray,
    params: PatternParams,
    seed: int,
) -> Patterns:
    """Clusters the positives of a domain and fixes its hold-outs.

    Args:
        embeddings: unit [N, d].
        item_ids: [N].
        verdicts: of the scorer, as in `Catalog.verdicts`, int8 [N].
        item_split: int8 [N].
        params: section `assign_patterns`.
        seed: of the k-means.

    Raises:
        InsufficientDataError: too few positives or negatives, or too few patterns large enough to hold some out.
    """
    positive = verdicts == POSITIVE
    positives, negatives = int(positive.sum()), int((verdicts == NEGATIVE).sum())
    needed = params.minimum * params.minimum_positives
    if positives < needed:
        raise InsufficientDataError(
            f"{positives} positive items, at least {needed} are needed for {params.minimum} patterns "
            "(assign_patterns.minimum times assign_patterns.minimum_positives)"
        )
    if negatives < params.minimum_negatives:
        raise InsufficientDataError(
            f"{negatives} negative items beside {positives} positive ones, at least {params.minimum_negatives} are "
            "needed (assign_patterns.minimum_negatives): where nearly all scored items have the attribute, there is no "
            "direction in which it grows"
        )
    centroids = cluster(np.asarray(embeddings)[positive], number_of_patterns(positives, params), seed)
    labels = nearest_centroid(embeddings, centroids)
    sizes = np.bincount(labels[positive], minlength=len(centroids))
    split = hold_out_patterns(embeddings, item_ids, centroids, sizes >= params.minimum_positives, params)
    return Patterns(centroids, labels, split, item_split)


def build_views(
    embeddings: np.ndarray, positive: np.ndarray, trainable: np.ndarray, params: PatternParams, seed: int
) -> PatternViews:
    """Clusters the trainable positives several times, at several granularities (docs/adr/0004).

    A dozen official patterns can be memorised; hundreds of overlapping ones have to be read from the seeds.
    """
    points = np.asarray(embeddings)[positive & trainable]
    base = number_of_patterns(len(points), params)
    labels, sizes = [], []
    for view in range(params.views):
        factor = params.view_granularities[view % len(params.view_granularities)]
        count = max(2, min(round(base * factor), len(points) // 8))
        labels.append(nearest_centroid(embeddings, cluster(points, count, derived_seed(seed, "view", view))))
        sizes.append(count)
    return PatternViews(np.stack(labels), np.array(sizes))
