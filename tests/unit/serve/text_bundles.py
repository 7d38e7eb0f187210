"""Runs that hold what is promoted and served of a retriever by text: a real export of small towers."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from modit.data.catalog import Catalog, Sequences
from modit.data.judged_queries import JudgedQueries
from modit.data.splits import TEST
from modit.data.text_space import TextSpace
from modit.export.towers import export_towers
from modit.index.consistent_index import ConsistentIndex
from modit.index.params import ConsistentIndexParams
from modit.inference.answers import Answer, save_answers
from modit.inference.exported_files import PARITY_FILE, item_ids_digest
from modit.inference.search import SearchRetriever, ties_of
from modit.inference.search_files import VECTORS_FILE, SearchInfo
from modit.inference.texts import TextQuery
from modit.inference.word_index import WordIndex
from modit.release.kinds import OF_TEXTS
from modit.towers.encoder import TextTowers
from modit.towers.params import TowersParams
from modit.towers.training import new_towers
from tests.unit.serve.bundles import make_catalog, write_json
from tests.unit.serve.session_bundles import PARITY, SessionBundle

COLOURS = ("red", "green", "blue", "black", "white", "brown")
THINGS = ("paint", "brush", "hammer", "ladder", "faucet", "drill", "tile", "lamp", "door", "pipe")
SIZES = ("small", "large", "1/2 in.", "3/4 in.", "5 gal.")
DIGEST = "c" * 64
BM25 = {"k1": 1.2, "b": 0.75, "stemmer": "english", "likeness": 0.25}
DEPTH, WEIGHT = 20, 0.5


class TextBundle(SessionBundle):
    """A run with the bundle of a retriever by text."""

    kind = OF_TEXTS
    row = {"name": "BM25 + Towers + SymmAligner", "ndcg_at_10": 0.9, "low": 0.8, "high": 0.95, "recall_at_100": 0.7}

    def make_catalog(self, left_out: int) -> Catalog:
        """300 items, each of a colour, a thing and a size."""
        titles = np.array([" ".join(words) for words in itertools.product(COLOURS, THINGS, SIZES)])
        catalog = replace(make_catalog(0), titles=titles, sequences=Sequences.none())
        kept = slice(left_out, None)
        verdicts = {name: values[kept] for name, values in catalog.verdicts.items()}
        return replace(
            catalog,
            item_ids=catalog.item_ids[kept],
            embeddings=catalog.embeddings[kept],
            titles=titles[kept],
            verdicts=verdicts,
        )

    def save_catalog(self, folder: Path) -> None:
        """With ten test queries."""
        self.catalog.save(folder)
        texts = [f"{thing} {colour}" for thing, colour in zip(THINGS, itertools.cycle(COLOURS), strict=False)]
        count = len(texts)
        judged = JudgedQueries(
            np.arange(count).astype(str),
            np.array(texts),
            np.full(count, TEST, np.int8),
            np.arange(count + 1),
            np.arange(count, dtype=np.int32),
            np.full(count, 3.0, np.float32),
        )
        judged.save(folder)

    def export(self, folder: Path, seed: int) -> None:
        """As the step does."""
        export(folder, self.catalog.titles.tolist(), self.catalog.item_ids, seed)


def towers_of(titles: list[str], seed: int, space: bool = True) -> TextTowers:
    """Small towers of random weights, over a text space or n-grams alone."""
    params = TowersParams(buckets=512, width=16, hidden=16, dimension=16)
    model = new_towers(params, seed, space=TextSpace.fit(titles, 16) if space else None).eval()
    for parameter in model.parameters():  # over a space, fresh ones change nothing
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def retriever_of(titles: list[str], item_ids: np.ndarray, seed: int, space: bool = True) -> SearchRetriever:
    """By torch."""
    model = towers_of(titles, seed, space)
    vectors = model.encode(titles, "item")
    params = ConsistentIndexParams(lists=min(10, len(titles)), pieces=8, probes=4, iterations=3)
    index = ConsistentIndex.build(model.encode(titles, "query"), vectors, params, 0, DIGEST)
    return SearchRetriever(model, index, WordIndex.build(titles, **BM25), vectors, ties_of(item_ids), WEIGHT, DEPTH)


def export(folder: Path, titles: list[str], item_ids: np.ndarray, seed: int, space: bool = True) -> SearchRetriever:
    """Exports, and returns what torch answers by."""
    retriever = retriever_of(titles, item_ids, seed, space)
    export_towers(retriever.towers, folder, DIGEST)
    retriever.index.save(folder)
    retriever.words.save(folder)
    np.save(folder / VECTORS_FILE, retriever.vectors)
    write_json(folder / PARITY_FILE, PARITY)
    texts = titles[:4]
    found = retriever.retrieve([TextQuery(text, min(10, len(titles))) for text in texts])
    answers = [
        Answer([text], item_ids[each.rows].tolist(), each.scores.tolist())
        for text, each in zip(texts, found, strict=True)
    ]
    save_answers(folder, answers)
    SearchInfo(
        buckets=512,
        dimension=16,
        items=len(titles),
        weight=WEIGHT,
        depth=DEPTH,
        bm25=BM25,
        item_ids_digest=item_ids_digest(item_ids),
        towers_digest=DIGEST,
        space=space,
    ).save(folder)
    return retriever
