"""The files of an exported retriever of the next item: what it says of itself, inputs and outputs of its two graphs.

Shape legend: B prompts, P tokens of a prompt, W beams, W' beams of the step before, S tokens that they have decoded,
V vocabulary, D blocks, A heads, E head width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from modit import __version__
from modit.core.errors import ArtifactError
from modit.index.item_codes import CODES_FILE
from modit.index.item_neighbours import NEIGHBOURS_FILE
from modit.index.quantizer import QUANTIZER_FILE
from modit.inference.exported_files import PARITY_FILE, read_info, write_info
from modit.inference.sampler_file import FLOAT, OPSET, GraphValue

RETRIEVER_FILE = "retriever.json"
ENCODE_FILE, STEP_FILE = "encode.onnx", "step.onnx"
# Vectors of the trie's nodes float32 [nodes, width + 1], and of the items [N, width + 1]; of a retriever that has none,
# [0, width + 1].
NODES_FILE, ITEMS_FILE = "node_vectors.npy", "item_vectors.npy"
# Of a retriever with dense scores: vectors that score items after a prompt [N, width + 1], and what makes that of a new
# item from its embedding [width, dimension]; [0, ...] of one that has none.
DENSE_FILE, CONTENT_FILE = "dense_vectors.npy", "content.npy"
# What retriever.json has digests of. Exports of before there were dense scores lack the last three, those of before
# there were neighbours the last one.
FILES = (ENCODE_FILE, STEP_FILE, CODES_FILE, QUANTIZER_FILE, NODES_FILE, ITEMS_FILE, PARITY_FILE)
DENSE_FILES = (DENSE_FILE, CONTENT_FILE)
ALL_FILES = (*FILES, *DENSE_FILES, NEIGHBOURS_FILE)
FORMAT = "modit-next-item/1"
INTEGER = "int64"
_PREFIX = "modit."
Values = tuple[GraphValue, ...]


@dataclass(frozen=True)
class NextItemInfo:
    """The content of `retriever.json`.

    Attributes:
        vocabulary: V, tokens of codes.
        width: of a token.
        depth: D, blocks.
        heads: A, attention heads.
        session_items: Most items of a session that are read, the last ones.
        items: N, of the catalogue.
        item_tokens: Items that end with a token of their own in a prompt, those of the first rows: all or none.
        within_trie: Probabilities are those of a softmax over the tokens that lead on in the trie; else over all.
        dimension: Width of an item's embedding, from which new items get their ID.
        beams: IDs to decode for a session.
        k: Items of a list where a request does not say.
        item_ids_digest: Of the ids of the catalogue's items, in their order (`item_ids_digest`).
        model_digest: sha256 of the model file.
        files: Name -> sha256 of each of `ALL_FILES`.
        opset: Of the graphs.
        modit_version: Version of modit that exported the files.
    """

    vocabulary: int
    width: int
    depth: int
    heads: int
    session_items: int
    items: int
    item_tokens: int
    within_trie: bool
    dimension: int
    beams: int
    k: int
    item_ids_digest: str
    model_digest: str
    files: Mapping[str, str] = field(default_factory=dict)
    opset: int = OPSET
    modit_version: str = __version__

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """D, A, E, V: what shapes of the graphs follow from."""
        return self.depth, self.heads, self.width // self.heads, self.vocabulary

    def save(self, folder: Path) -> None:
        """Writes `retriever.json` with the digests of the folder's other files."""
        write_info(folder / RETRIEVER_FILE, asdict(self), FORMAT, ALL_FILES)

    @classmethod
    def load(cls, folder: Path) -> NextItemInfo:
        """Reads what `save` wrote, and checks that the other files of the folder are those that it names.

        Raises:
            ArtifactError: A file is missing, damaged or another one, or a field is not what it may be.
        """
        path = folder / RETRIEVER_FILE
        content = read_info(path, FORMAT, [FILES, FILES + DENSE_FILES, ALL_FILES])
        missing = [each.name for each in fields(cls) if each.name not in content]
        if missing:
            raise ArtifactError(f"{path}: field {missing[0]} is missing; export the retriever again")
        for each in fields(cls):
            value, whole, least = content[each.name], each.type == "int", int(each.name != "item_tokens")
            if whole and (not isinstance(value, int) or value < least):
                raise ArtifactError(
                    f"{path}: field {each.name} is {value!r}; allowed: a whole number of at least {least}"
                )
        if not isinstance(content["within_trie"], bool):
            raise ArtifactError(f"{path}: field within_trie is {content['within_trie']!r}; allowed: true, false")
        if content["width"] % (2 * content["heads"]):
            raise ArtifactError(
                f"{path}: field width is {content['width']}; allowed: a multiple of 2 * heads, {2 * content['heads']}"
            )
        return cls(**{each.name: content[each.name] for each in fields(cls)})


def encode_values(depth: int, heads: int, width: int, vocabulary: int) -> tuple[Values, Values]:
    """Inputs and outputs of the graph that reads prompts.

    Args:
        depth: D.
        heads: A.
        width: E.
        vocabulary: V.
    """
    prompts = GraphValue("prompts", INTEGER, ("batch", "tokens")), GraphValue("lengths", INTEGER, ("batch",))
    found = GraphValue("log_probabilities", FLOAT, ("batch", vocabulary))
    states = GraphValue("states", FLOAT, ("batch", heads * width))
    return prompts, (found, states, GraphValue("prompt", FLOAT, ("batch", depth, 2, heads, "tokens", width)))


def step_values(depth: int, heads: int, width: int, vocabulary: int) -> tuple[Values, Values]:
    """Inputs and outputs of the graph that goes on by one token; the arguments are those of `encode_values`."""
    inputs = (
        GraphValue("tokens", INTEGER, ("batch", "beams")),
        GraphValue("parents", INTEGER, ("batch", "beams")),
        GraphValue("lengths", INTEGER, ("batch",)),
        GraphValue("prompt", FLOAT, ("batch", depth, 2, heads, "tokens", width)),
        GraphValue("decoded", FLOAT, ("batch", "before", depth, 2, heads, "past", width)),
    )
    found = GraphValue("log_probabilities", FLOAT, ("batch", "beams", vocabulary))
    states = GraphValue("states", FLOAT, ("batch", "beams", heads * width))
    return inputs, (found, states, GraphValue("cache", FLOAT, ("batch", "beams", depth, 2, heads, "now", width)))


def graph_metadata(name: str) -> dict[str, str]:
    """Metadata of one of the two graphs."""
    return {f"{_PREFIX}format": FORMAT, f"{_PREFIX}part": name}
