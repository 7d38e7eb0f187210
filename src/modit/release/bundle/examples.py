"""Worked examples of a bundle: held-out cases with the lists as they were judged, and the simple row beside them.

A rule picks them when a run is judged (`modit.evaluate.seeds.worked_examples`), so nobody does. A bundle of an earlier
version has none; the seeds of its canary queries stand in, without lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import with_config

from modit.data.splits import Split
from modit.evaluate.names import reranked
from modit.inference.retrieval import even_selection
from modit.inference.vote_file import WeightedMove
from modit.release.bundle.canaries import Canary
from modit.release.documents import STRICT, Json, read_document, write_document

EXAMPLES_FILE = "examples.json"
# Patterns that no training has seen come first: they are what a caller's own seeds are like.
_SPLITS = (Split.PATTERN_HOLDOUT, Split.ITEM_HOLDOUT)
_OF_CANARIES = 3


@with_config(STRICT)
@dataclass(frozen=True)
class SimpleRowChoice:
    """The simple row that validation prefers.

    Attributes:
        name: Of the row in the report.
        blend: Start of its move; this and the rest are fields of `WeightedMove`.
        step: Of the move.
        length: Of the step.
        evidence: Which evidence it takes; empty for none.
        evidence_weight: Of the evidence.
    """

    name: str
    blend: str
    step: str
    length: float
    evidence: str
    evidence_weight: float

    @property
    def first(self) -> str:
        """Name of the row whose lists it may rerank: the move alone."""
        return self.name.removesuffix(reranked(""))

    @property
    def move(self) -> WeightedMove:
        """Its move."""
        return WeightedMove(self.blend, self.step, self.length, self.evidence, self.evidence_weight, 1.0)


@with_config(STRICT)
@dataclass(frozen=True)
class WorkedExample:
    """A held-out case.

    Attributes:
        percentile: Of the gain in Joint@K over averaging; None of a canary query.
        seeds: Ids, at most as many as a request may have.
        lists: `average`, `simple` and `served` -> ids of what each found among items whose verdict nobody had used,
            best first; empty of a canary query.
        joint: The same -> Joint@K, in [0, 1].
    """

    percentile: int | None
    seeds: list[str]
    lists: dict[str, list[str]]
    joint: dict[str, float]


@with_config(STRICT)
@dataclass(frozen=True)
class WorkedExamples:
    """The worked examples of a domain.

    Attributes:
        split: Hold-out that they are cases of; empty of canary queries.
        patterns: How many patterns they were chosen from.
        k: Results judged.
        simple_row: The best simple row; None in a bundle of an earlier version.
        examples: By percentile.
    """

    split: str
    patterns: int
    k: int
    simple_row: SimpleRowChoice | None
    examples: list[WorkedExample]

    def save(self, folder: Path) -> None:
        """Writes `examples.json` into an existing folder."""
        write_document(folder / EXAMPLES_FILE, asdict(self))

    @classmethod
    def load(cls, folder: Path, canaries: Sequence[Canary]) -> WorkedExamples:
        """Reads what `save` wrote; without it, canary queries stand in.

        Raises:
            ArtifactError: The file is something else.
        """
        if (folder / EXAMPLES_FILE).is_file():
            return read_document(folder / EXAMPLES_FILE, cls)
        stand_ins = [WorkedExample(None, canary.seeds, {}, {}) for canary in canaries[:_OF_CANARIES]]
        return cls("", 0, 0, None, stand_ins)

    @classmethod
    def of_evaluation(cls, evaluation: Json, maximum_seeds: int) -> WorkedExamples | None:
        """Takes those of the hold-out of patterns, or of that of items where it has more; None of an earlier version.

        Args:
            evaluation: Content of `evaluation.json`.
            maximum_seeds: Of a request; of more seeds, an even selection is kept, as the sampler takes it.
        """
        judged = {split: evaluation["splits"][split].get("worked_examples") for split in _SPLITS}
        there = {split: found for split, found in judged.items() if found}
        if not there:
            return None
        split = max(there, key=lambda name: len(there[name]["examples"]))  # of equals the first
        found = there[split]
        choice = SimpleRowChoice(found["simple_row"]["name"], **found["simple_row"]["move"])
        examples = [_kept(each, maximum_seeds) for each in found["examples"]]
        return cls(str(split), found["patterns"], found["k"], choice, examples)


def _kept(example: dict[str, Any], maximum_seeds: int) -> WorkedExample:
    seeds = np.array(example["seeds"])
    return WorkedExample(**example | {"seeds": even_selection(seeds, maximum_seeds).tolist()})
