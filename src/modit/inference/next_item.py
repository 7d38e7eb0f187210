"""The retriever of the next item as it is served: two ONNX graphs, a beam search over the trie, IDs for new items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime

from modit.core.errors import ArtifactError, ContractError
from modit.index.beam_search import Predicted, TrieSoftmax
from modit.index.id_retrieval import IdRetriever, bias_of_unused
from modit.index.item_codes import CODES_FILE, ItemCodes, order_of_ties
from modit.index.item_neighbours import NEIGHBOURS_FILE, ItemNeighbours
from modit.index.quantizer import QUANTIZER_FILE, Quantizer
from modit.inference.exported_files import item_ids_digest
from modit.inference.next_item_files import (
    CONTENT_FILE,
    DENSE_FILE,
    ENCODE_FILE,
    ITEMS_FILE,
    NODES_FILE,
    RETRIEVER_FILE,
    STEP_FILE,
    NextItemInfo,
    encode_values,
    graph_metadata,
    step_values,
)
from modit.inference.retrieval import Generation, SearchResult, expect_candidates
from modit.inference.runtime import open_declared
from modit.inference.sessions import SessionQuery

_NO_QUERY = np.empty(0, np.float32)


class CachedTokens(NamedTuple):
    """What a beam search goes on from; the inputs of the second graph that are not tokens."""

    lengths: np.ndarray
    prompt: np.ndarray
    decoded: np.ndarray


@dataclass(frozen=True, eq=False)
class OnnxNetwork:
    """The exported decoder as the network of a beam search (`modit.index.beam_search.NextTokens`)."""

    encoder: onnxruntime.InferenceSession
    stepper: onnxruntime.InferenceSession

    def encode(self, prompts: np.ndarray, lengths: np.ndarray) -> tuple[Predicted, CachedTokens]:
        """Reads prompts."""
        found, states, prompt = self.encoder.run(None, {"prompts": prompts, "lengths": lengths})
        rows, depth, pair, heads, _, width = prompt.shape
        nothing = np.zeros((rows, 1, depth, pair, heads, 0, width), np.float32)
        return Predicted(found, states), CachedTokens(lengths, prompt, nothing)

    def step(self, tokens: np.ndarray, parents: np.ndarray, state: CachedTokens) -> tuple[Predicted, CachedTokens]:
        """Goes on by one token."""
        found, states, decoded = self.stepper.run(None, {"tokens": tokens, "parents": parents, **state._asdict()})
        return Predicted(found, states), state._replace(decoded=decoded)


@dataclass(frozen=True, eq=False)
class SessionRetriever:
    """Answers requests of the task `next_item` by decoded IDs.

    Attributes:
        ids: Decodes IDs, and ranks their items.
    """

    ids: IdRetriever

    @property
    def codes(self) -> ItemCodes:
        """The IDs of all items; its rows are those of the catalogue."""
        return self.ids.codes

    @property
    def session_items(self) -> int:
        """Most items of a session that are read, the last ones."""
        return self.ids.session_items

    def retrieve(self, requests: Sequence[SessionQuery]) -> list[SearchResult]:
        """Answers all requests, those of one k at once. An empty session asks for likely starts.

        Raises:
            ContractError: A row is not of the catalogue, or `allowed` is not a bool for each item.
        """
        for request in requests:
            expect_candidates(
                len(self.codes), request.k, request.allowed, history=request.history, exclude=request.exclude
            )
        found: dict[int, SearchResult] = {}
        for k in dict.fromkeys(request.k for request in requests):
            part = [number for number, request in enumerate(requests) if request.k == k]
            answers = self.ids.recommend(
                [requests[number].history for number in part],
                k,
                [requests[number].exclude for number in part],
                [requests[number].allowed for number in part],
            )
            for number, each in zip(part, answers, strict=True):
                generation = Generation(each.decoded, each.invalid, each.items)
                found[number] = SearchResult(_NO_QUERY, each.rows, each.scores, generation)
        return [found[number] for number in range(len(requests))]


@dataclass(frozen=True, eq=False)
class NextItemRetriever(SessionRetriever):
    """An exported retriever.

    Attributes:
        quantizer: Gives new items their ID.
        content: What an embedding says of a new item's dense score float32 [H, D]; [0, D] for nothing.
        info: What the files say of themselves.
    """

    quantizer: Quantizer
    content: np.ndarray
    info: NextItemInfo

    def with_items(self, embeddings: np.ndarray, item_ids: Sequence[str]) -> NextItemRetriever:
        """The retriever with new items after the known ones; they can be in sessions and lists at once.

        Nothing is trained, and known items keep their IDs. An item gets the ID of its embedding, and shares it where
        other items have it; then it ranks as an item without interactions.

        Args:
            embeddings: Of the new items [n, D], made as those of the catalogue.
            item_ids: Of the new items [n]; they order items of one ID that were used equally often.

        Raises:
            ContractError: The embeddings have another width or number, or are not finite.
        """
        embeddings = np.asarray(embeddings)
        expected = (len(item_ids), self.info.dimension)
        if embeddings.shape != expected:
            raise ContractError(f"embeddings of new items have shape {embeddings.shape}; allowed: {expected}")
        bad = np.flatnonzero(~np.isfinite(embeddings).all(1))
        if len(bad):
            raise ContractError(f"embeddings: that of item {item_ids[int(bad[0])]!r} is not finite; allowed: numbers")
        if not len(item_ids):
            return self
        codes = self.codes.extended(self.quantizer.assign(embeddings), order_of_ties(item_ids))
        softmax = self.ids.softmax and self.ids.softmax.extended(self.codes.trie, codes.trie)
        dense = self.ids.dense_vectors
        if dense is not None:
            own = np.full((len(item_ids), dense.shape[1]), bias_of_unused(dense[:, -1], self.codes.counts), np.float32)
            own[:, :-1] = embeddings.astype(np.float32) @ self.content.T if len(self.content) else 0
            dense = np.concatenate([dense, own])
        near = self.ids.neighbours
        if near is not None:
            from modit.index.item_similarity import with_stand_ins  # scipy, which answering does not need

            near = with_stand_ins(near, codes, np.arange(len(codes)) < len(self.codes))
        ids = replace(self.ids, codes=codes, softmax=softmax, dense_vectors=dense, neighbours=near)
        return replace(self, ids=ids)

    def check_items(self, item_ids: np.ndarray) -> None:
        """Checks that these [N] are the ids of the catalogue that it was exported with.

        Raises:
            ArtifactError: They are others, or in another order.
        """
        if (found := item_ids_digest(item_ids)) != self.info.item_ids_digest:
            raise ArtifactError(
                f"{RETRIEVER_FILE}: field item_ids_digest is {self.info.item_ids_digest}, of {self.info.items} items; "
                f"the catalogue has {len(item_ids)} items with digest {found}; allowed: the catalogue of the export"
            )


def load_next_item(folder: Path, threads: int = 1) -> NextItemRetriever:
    """Loads an exported retriever.

    Args:
        folder: Of the artifact `exported_retriever`.
        threads: Of onnxruntime within an operator; 0 takes the machine's cores.

    Raises:
        ArtifactError: A file is missing, damaged, or does not belong to the others.
    """
    info = NextItemInfo.load(folder)
    codes, quantizer = ItemCodes.load(folder / CODES_FILE), Quantizer.load(folder / QUANTIZER_FILE)
    said = f"which {folder / RETRIEVER_FILE} says"
    for name, found, expected in (("items", len(codes), info.items), ("tokens", codes.vocabulary, info.vocabulary)):
        if found != expected:
            raise ArtifactError(f"{folder / CODES_FILE} has {found} {name}; allowed: {expected}, {said}")
    if quantizer.dimension != info.dimension:
        raise ArtifactError(
            f"{folder / QUANTIZER_FILE} takes embeddings of {quantizer.dimension} numbers; "
            f"allowed: {info.dimension}, {said}"
        )
    if quantizer.sizes != codes.sizes[: len(quantizer.sizes)] or len(codes.sizes) - len(quantizer.sizes) not in (0, 1):
        raise ArtifactError(
            f"{folder / QUANTIZER_FILE} has codebooks of {quantizer.sizes}; allowed: {codes.sizes} as "
            f"{folder / CODES_FILE}, without the last where it numbers the items of an ID"
        )
    softmax = _softmax(folder, codes) if info.within_trie else None
    network = open_network(folder, info, threads)
    dense, content = None, np.zeros((0, info.dimension), np.float32)
    if DENSE_FILE in info.files:
        dense = _vectors(folder / DENSE_FILE, len(codes))
        content = _content(folder / CONTENT_FILE, info)
    near = _neighbours(folder / NEIGHBOURS_FILE, len(codes)) if NEIGHBOURS_FILE in info.files else None
    ids = IdRetriever(network, codes, info.session_items, True, info.beams, info.item_tokens, softmax, dense, near)
    return NextItemRetriever(ids, quantizer, content, info)


def _neighbours(path: Path, items: int) -> ItemNeighbours | None:
    """None where their votes do not count."""
    near = ItemNeighbours.load(path)
    if len(near) != items:
        raise ArtifactError(f"{path} has neighbours of {len(near)} items; allowed: {items}, as {CODES_FILE}")
    return near if near.weight else None


def _softmax(folder: Path, codes: ItemCodes) -> TrieSoftmax:
    """The softmax within the trie, with the vectors of its nodes and of items if there are any."""
    return TrieSoftmax(_vectors(folder / NODES_FILE, len(codes.trie)), _vectors(folder / ITEMS_FILE, len(codes)))


def _content(path: Path, info: NextItemInfo) -> np.ndarray:
    content = _array(path)
    if content.shape not in ((0, 0), (0, info.dimension), (info.width, info.dimension)):
        raise ArtifactError(f"{path} has shape {content.shape}; allowed: {(info.width, info.dimension)}")
    return content


def _vectors(path: Path, rows: int) -> np.ndarray | None:
    vectors = _array(path)
    if vectors.ndim != 2 or len(vectors) not in (0, rows):  # noqa: PLR2004 - a matrix
        raise ArtifactError(f"{path} has shape {vectors.shape}; allowed: 0 or {rows} rows, as {CODES_FILE}")
    return vectors if len(vectors) else None


def _array(path: Path) -> np.ndarray:
    try:
        values: np.ndarray = np.load(path)
    except ValueError as error:
        raise ArtifactError(f"{path} is damaged: {error}") from error
    return values


def open_network(folder: Path, info: NextItemInfo, threads: int = 1) -> OnnxNetwork:
    """Loads the two graphs of a folder; the arguments are those of `load_next_item`.

    Raises:
        ArtifactError: A file is missing, damaged, or has other inputs or outputs than `info` says.
    """
    return OnnxNetwork(
        open_declared(folder / ENCODE_FILE, graph_metadata(ENCODE_FILE), encode_values(*info.sizes), threads),
        open_declared(folder / STEP_FILE, graph_metadata(STEP_FILE), step_values(*info.sizes), threads),
    )
