"""A trained retriever: from sessions of catalogue rows to ranked items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from modit.core.errors import ArtifactError
from modit.index.beam_search import TrieSoftmax
from modit.index.id_retrieval import IdRetriever
from modit.index.item_codes import CODES_FILE, ItemCodes
from modit.semantic_ids.decoder import Decoder, DecoderConfig, TorchNetwork
from modit.training.checkpoint import load_network

MODEL_FILE = "model.pt"


def torch_retriever(model: Decoder, codes: ItemCodes, *, constrained: bool = True, beams: int = 20) -> IdRetriever:
    """A decoder as a retriever; it is put into evaluation mode.

    Args:
        model: trained on these codes.
        codes: of all items; new items may have been added, whose dense score is 0.
        constrained: decode within the trie of IDs; else over all tokens.
        beams: IDs to decode for a session.
    """
    config, softmax = model.eval().config, search_softmax(model)
    if softmax is not None and model.trie is not None:
        softmax = softmax.extended(model.trie, codes.trie)
    network, dense = TorchNetwork(model), dense_vectors(model)
    if dense is not None:
        dense = np.pad(dense, ((0, len(codes) - len(dense)), (0, 0)))
    return IdRetriever(network, codes, config.session_items, constrained, beams, config.items, softmax, dense)


def search_softmax(model: Decoder) -> TrieSoftmax | None:
    """What a search has to know of a decoder that was trained within the trie; None of any other."""
    if not model.config.within_trie:
        return None
    own = (model.node_vectors, model.item_vectors)
    return TrieSoftmax(*(None if each is None else each.detach().float().cpu().numpy() for each in own))


def dense_vectors(model: Decoder) -> np.ndarray | None:
    """What scores items after a prompt, float32 [N, H + 1]; None of a decoder without dense scores."""
    found = model.dense_vectors
    return None if found is None else found.detach().float().cpu().numpy()


def load_retriever(retriever: Path, item_codes: Path, *, constrained: bool = True, beams: int = 20) -> IdRetriever:
    """Reads a trained retriever.

    Args:
        retriever: folder of the artifact `next_item_retriever`.
        item_codes: folder of the artifact `item_codes`.
        constrained: decode within the trie of IDs; else over all tokens.
        beams: IDs to decode for a session.

    Raises:
        ArtifactError: a file is missing or damaged, or the two do not belong together.
    """
    codes = ItemCodes.load(item_codes / CODES_FILE)
    return torch_retriever(load_decoder(retriever / MODEL_FILE, codes), codes, constrained=constrained, beams=beams)


def load_decoder(path: Path, codes: ItemCodes) -> Decoder:
    """Reads a decoder that `modit.training.checkpoint.save_model` wrote.

    Args:
        path: of the file.
        codes: that it was trained on.

    Raises:
        ArtifactError: the file is missing, or it was trained on other codes.
    """

    def built(config: dict[str, Any]) -> Decoder:
        if config["vocabulary"] != codes.vocabulary:
            raise ArtifactError(
                f"{path}: {config['vocabulary']} tokens, and the item codes have {codes.vocabulary}; "
                "the retriever was trained on other codes"
            )
        return Decoder(DecoderConfig(**config), codes.trie)

    return load_network(path, built)
