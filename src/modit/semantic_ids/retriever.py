"""A trained retriever: from sessions of catalogue rows to ranked items."""

from __future__ import annotations

from pathlib import Path

from modit.core.errors import ArtifactError
from modit.index.id_retrieval import IdRetriever
from modit.index.item_codes import CODES_FILE, ItemCodes
from modit.semantic_ids.decoder import Decoder, DecoderConfig, TorchNetwork
from modit.train.checkpoint import load_network

MODEL_FILE = "model.pt"


def torch_retriever(model: Decoder, codes: ItemCodes, *, constrained: bool = True, beams: int = 20) -> IdRetriever:
    """A decoder as a retriever; it is put into evaluation mode.

    Args:
        model: trained on these codes.
        codes: of all items; new items may have been added.
        constrained: decode within the trie of IDs; else over all tokens.
        beams: IDs to decode for a session.
    """
    return IdRetriever(TorchNetwork(model.eval()), codes, model.config.session_items, constrained, beams)


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
    model = load_decoder(retriever / MODEL_FILE)
    if model.config.vocabulary != codes.vocabulary:
        raise ArtifactError(
            f"{retriever / MODEL_FILE}: {model.config.vocabulary} tokens, and {item_codes / CODES_FILE} has "
            f"{codes.vocabulary}; the retriever was trained on other codes"
        )
    return torch_retriever(model, codes, constrained=constrained, beams=beams)


def load_decoder(path: Path) -> Decoder:
    """Reads a decoder that `modit.train.checkpoint.save_model` wrote; ArtifactError if there is none."""
    return load_network(path, lambda config: Decoder(DecoderConfig(**config)))
