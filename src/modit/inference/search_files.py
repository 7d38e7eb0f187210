"""The files of exported towers with their indices: what they say of themselves, input and output of the graphs.

Shape legend: B texts, W n-grams of the longest, d dimension, N items.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

from modit import __version__
from modit.core.errors import ArtifactError
from modit.data.ngrams import CHARACTERS, WORDS_MAX, Side
from modit.data.text_space import SPACE_FILE
from modit.index.consistent_index import CENTROIDS_FILE, INDEX_FILE, META_FILE
from modit.inference.exported_files import PARITY_FILE, read_info, write_info
from modit.inference.sampler_file import FLOAT, OPSET, GraphValue
from modit.inference.word_index import FILES as WORD_FILES
from modit.inference.word_index import problem_of_settings

SEARCH_FILE = "search.json"
# f_i(I) of all items, float32 [N, d].
VECTORS_FILE = "item_vectors.npy"
FORMAT = "modit-search/2"
_PREFIX = "modit."


def tower_file(side: Side) -> str:
    """Name of the graph of one side."""
    return f"{side}.onnx"


# What is searched, and all that search.json has digests of; towers without a text space have no file of one.
INDEX_FILES = (INDEX_FILE, CENTROIDS_FILE, META_FILE, VECTORS_FILE, *WORD_FILES.values())
FILES = (*(tower_file(side) for side in get_args(Side)), *INDEX_FILES, PARITY_FILE)
ALL_FILES = (*FILES, SPACE_FILE)


@dataclass(frozen=True)
class SearchInfo:
    """The content of `search.json`.

    Attributes:
        buckets: Numbers that n-grams are hashed to.
        dimension: d.
        items: N, of the catalogue.
        weight: Of the cosine in the fused score.
        depth: Candidates by words and by the towers, at least.
        bm25: `k1`, `b`, `stemmer` and `likeness` of the index of words.
        item_ids_digest: Of the ids of the catalogue's items, in their order.
        towers_digest: sha256 of the model file; the index of vectors says that it is of these towers.
        space: Whether the towers read a text space, too.
        words_max: Words of a text that are read.
        characters: Lengths of character n-grams.
        files: Name -> sha256 of each of `ALL_FILES`.
        opset: Of the graphs.
        modit_version: Version of modit that exported the files.
    """

    buckets: int
    dimension: int
    items: int
    weight: float
    depth: int
    bm25: Mapping[str, Any]
    item_ids_digest: str
    towers_digest: str
    space: bool = False
    words_max: int = WORDS_MAX
    characters: tuple[int, ...] = CHARACTERS
    files: Mapping[str, str] = field(default_factory=dict)
    opset: int = OPSET
    modit_version: str = __version__

    def save(self, folder: Path) -> None:
        """Writes `search.json` with the digests of the folder's other files."""
        write_info(folder / SEARCH_FILE, asdict(self), FORMAT, ALL_FILES if self.space else FILES)

    @classmethod
    def load(cls, folder: Path) -> SearchInfo:
        """Reads what `save` wrote, and checks that the other files of the folder are those that it names.

        Raises:
            ArtifactError: A file is missing, damaged or another one, a field is missing or not what it may be, or texts
                are read otherwise by this version of modit.
        """
        path = folder / SEARCH_FILE
        content = read_info(path, FORMAT, [FILES, ALL_FILES])
        if missing := [each.name for each in fields(cls) if each.name not in content]:
            raise ArtifactError(f"{path}: field {missing[0]} is missing; export the towers again")
        if content["space"] is not (SPACE_FILE in content["files"]):
            raise ArtifactError(f"{path}: field space is {content['space']!r}, and files say otherwise")
        for name in ("buckets", "dimension", "items", "depth"):
            if not isinstance(content[name], int) or content[name] < 1:
                raise ArtifactError(f"{path}: field {name} is {content[name]!r}; allowed: a whole number of at least 1")
        if not isinstance(content["weight"], float | int) or not 0 <= content["weight"] <= 1:
            raise ArtifactError(f"{path}: field weight is {content['weight']!r}; allowed: a number from 0 to 1")
        if problem := problem_of_settings(content["bm25"]):
            raise ArtifactError(f"{path}: field bm25 is {content['bm25']!r}; allowed: {problem}")
        for name, ours in (("words_max", WORDS_MAX), ("characters", list(CHARACTERS))):
            if content[name] != ours:
                raise ArtifactError(
                    f"{path}: field {name} is {content[name]!r}; this version of modit reads texts with {ours!r}"
                )
        return cls(**{each.name: content[each.name] for each in fields(cls)})


def tower_values(dimension: int, space: bool) -> tuple[tuple[GraphValue, ...], tuple[GraphValue, ...]]:
    """Inputs and outputs of the graph of a tower; `dimension` is d, `space` whether it reads a text space, too."""
    known = (GraphValue("known", FLOAT, ("batch", dimension)),) if space else ()
    return (
        (GraphValue("ngrams", "int64", ("batch", "ngrams")), *known),
        (GraphValue("vectors", FLOAT, ("batch", dimension)),),
    )


def tower_metadata(name: str, towers_digest: str) -> dict[str, str]:
    """Metadata of the graph of a file."""
    return {f"{_PREFIX}format": FORMAT, f"{_PREFIX}part": name, f"{_PREFIX}towers": towers_digest}
