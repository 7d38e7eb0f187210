"""The files of an exported fan-out retriever: what they say of themselves, inputs and outputs of the graph.

Shape legend: B intents, L queries of a set, P tokens of an intent, d dimension, N items.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from modit import __version__
from modit.core.errors import ArtifactError
from modit.data.text_space import SPACE_FILE
from modit.inference.exported_files import PARITY_FILE, read_info, write_info
from modit.inference.sampler_file import FLOAT, OPSET, GraphValue
from modit.inference.word_index import FILES as WORD_FILES
from modit.inference.word_index import problem_of_settings

FAN_OUT_FILE, DENOISER_FILE = "fan_out.json", "denoiser.onnx"
# All that fan_out.json has digests of.
FILES = (DENOISER_FILE, SPACE_FILE, *WORD_FILES.values(), PARITY_FILE)
FORMAT = "modit-fan-out/2"
SOLVERS = ("heun", "sde")
_PREFIX = "modit."
_COUNTS = ("rows", "dimension", "prompt_words", "items")


@dataclass(frozen=True)
class FanOutInfo:
    """The content of `fan_out.json`.

    Attributes:
        rows: L, queries of a set.
        dimension: d of the text space.
        prompt_words: Most words of an intent that are read.
        items: N, of the catalogue.
        solver: One of `SOLVERS`.
        levels: Noise of the sampler's steps, falling, the last 0.
        guidance: Scale of guidance, which the graph holds.
        intent: Share of an answer that the intent's own list fills, in [0, 1].
        weight: Of the cosine in a score, beside the words of the intent.
        bm25: `k1`, `b`, `stemmer` and `likeness` of the index of words.
        item_ids_digest: Of the ids of the catalogue's items, in their order.
        model_digest: sha256 of the model file.
        files: Name -> sha256 of each of `FILES`.
        opset: Of the graph.
        modit_version: Version of modit that exported the files.
    """

    rows: int
    dimension: int
    prompt_words: int
    items: int
    solver: str
    levels: tuple[float, ...]
    guidance: float
    intent: float
    weight: float
    bm25: Mapping[str, Any]
    item_ids_digest: str
    model_digest: str
    files: Mapping[str, str] = field(default_factory=dict)
    opset: int = OPSET
    modit_version: str = __version__

    def save(self, folder: Path) -> None:
        """Writes `fan_out.json` with the digests of the folder's other files."""
        write_info(folder / FAN_OUT_FILE, asdict(self), FORMAT, FILES)

    @classmethod
    def load(cls, folder: Path) -> FanOutInfo:
        """Reads what `save` wrote, and checks that the other files of the folder are those that it names.

        Raises:
            ArtifactError: A file is missing, damaged or another one, or a field is missing or not what it may be.
        """
        path = folder / FAN_OUT_FILE
        content = read_info(path, FORMAT, [FILES])
        if missing := [each.name for each in fields(cls) if each.name not in content]:
            raise ArtifactError(f"{path}: field {missing[0]} is missing; export the fan-out again")
        rules = {name: (_is_count, "a whole number of at least 1") for name in _COUNTS} | {
            "solver": (lambda value: value in SOLVERS, " or ".join(SOLVERS)),
            "levels": (_are_levels, "falling numbers that end with 0"),
            "intent": (_is_share, "a number from 0 to 1"),
            "weight": (_is_share, "a number from 0 to 1"),
        }
        for name, (holds, allowed) in rules.items():
            if not holds(content[name]):
                raise ArtifactError(f"{path}: field {name} is {content[name]!r}; allowed: {allowed}")
        if problem := problem_of_settings(content["bm25"]):
            raise ArtifactError(f"{path}: field bm25 is {content['bm25']!r}; allowed: {problem}")
        read = {each.name: content[each.name] for each in fields(cls)}
        return cls(**read | {"levels": tuple(content["levels"])})


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 1


def _is_share(value: Any) -> bool:
    return isinstance(value, float | int) and 0 <= value <= 1


def _are_levels(value: Any) -> bool:
    if not isinstance(value, list) or not all(isinstance(each, float | int) for each in value):
        return False
    return len(value) > 1 and value[-1] == 0 and all(one > other for one, other in zip(value, value[1:], strict=False))


def denoiser_values(rows: int, dimension: int) -> tuple[tuple[GraphValue, ...], tuple[GraphValue, ...]]:
    """Inputs and outputs of the graph of a denoiser, of sets of L `rows` of d numbers."""
    return (
        (
            GraphValue("noisy", FLOAT, ("batch", rows, dimension)),
            GraphValue("sigma", FLOAT, ("batch",)),
            GraphValue("tokens", FLOAT, ("batch", "tokens", dimension)),
            GraphValue("valid", "bool", ("batch", "tokens")),
        ),
        (GraphValue("clean", FLOAT, ("batch", rows, dimension)),),
    )


def denoiser_metadata(model_digest: str) -> dict[str, str]:
    """Metadata of the graph."""
    return {f"{_PREFIX}format": FORMAT, f"{_PREFIX}part": DENOISER_FILE, f"{_PREFIX}model": model_digest}
