"""Answers of the torch sampler to real cases, stored beside the exported file, to compare its answers with."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from modit.core.errors import ArtifactError
from modit.inference.retrieval import Retriever
from modit.inference.texts import TextQuery

ANSWERS_FILE = "answers.json"
TOLERANCE = 1e-4  # greatest allowed difference of a query's coordinate between torch and the file
IDENTICAL_LISTS_MINIMUM = 0.98
SCORE_TOLERANCE = 1e-5  # items whose scores differ by less may change places
_DECIMALS = 7


@dataclass(frozen=True)
class Answer:
    """A request and its result.

    Attributes:
        seeds: Ids of the seeds.
        items: Ids of the results, best first, without the seeds.
        scores: Inner products with the query.
    """

    seeds: Sequence[str]
    items: Sequence[str]
    scores: Sequence[float]

    def equals(self, items: Sequence[str], scores: Sequence[float]) -> bool:
        """Whether a list is the same, with items of equal score in any order, and any of them as the last."""
        if len(items) != len(self.items):
            return False
        mine, last = dict(zip(self.items, self.scores, strict=True)), self.scores[-1] if self.scores else 0.0
        moved = [
            (item, score, expected)
            for own, item, score, expected in zip(self.items, items, scores, self.scores, strict=True)
            if own != item
        ]
        return all(_near(score, expected) and _near(score, mine.get(item, last)) for item, score, expected in moved)


def _near(score: float, other: float) -> bool:
    return abs(score - other) <= SCORE_TOLERANCE


def save_answers(folder: Path, answers: Sequence[Answer]) -> None:
    """Writes `answers.json` into an existing folder."""
    content = [asdict(each) | {"scores": [round(value, _DECIMALS) for value in each.scores]} for each in answers]
    (folder / ANSWERS_FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def answers_to_texts(
    retriever: Retriever[TextQuery], texts: Sequence[str], item_ids: np.ndarray, k: int
) -> list[Answer]:
    """What a retriever by text has to answer in service.

    Args:
        retriever: By torch.
        texts: That it is asked for, one at a time.
        item_ids: Of the catalogue, in its order.
        k: Items of a list.
    """
    found = retriever.retrieve([TextQuery(text, k) for text in texts])
    return [
        Answer([text], item_ids[each.rows].tolist(), each.scores.tolist())
        for text, each in zip(texts, found, strict=True)
    ]


def load_answers(folder: Path) -> list[Answer]:
    """Reads `answers.json`.

    Raises:
        ArtifactError: The file is missing, damaged or empty.
    """
    try:
        answers = [Answer(**entry) for entry in json.loads((folder / ANSWERS_FILE).read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(f"{folder / ANSWERS_FILE} is missing or damaged: {error}") from error
    if not answers:
        raise ArtifactError(f"{folder / ANSWERS_FILE} holds no answer; at least one is needed to compare")
    return answers


def equal_share(answers: Sequence[Answer], ask: Callable[[Answer], tuple[Sequence[str], Sequence[float]]]) -> float:
    """Share of the stored answers that a retriever repeats, in [0, 1].

    Args:
        answers: At least one.
        ask: Answers the seeds of a stored answer with ids and scores.
    """
    return sum(answer.equals(*ask(answer)) for answer in answers) / len(answers)
