"""Exports the aligned towers with the consistent index and BM25, and refuses them unless they answer as torch does."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from modit.core.storage import sha256_of_file
from modit.data.catalog import Catalog
from modit.data.judged_queries import JudgedQueries, QueryPart
from modit.evaluate.bm25 import bm25_grid
from modit.evaluate.evaluation import choose
from modit.evaluate.search.names import FOLDERS, SYMMALIGNER
from modit.evaluate.search.rows import Bm25Row, FusedRow
from modit.evaluate.search.task import SearchTask
from modit.export.towers import export_towers, search_parity
from modit.index.consistent_index import ConsistentIndex
from modit.inference.answers import answers_to_texts, save_answers
from modit.inference.exported_files import PARITY_FILE, item_ids_digest
from modit.inference.search import SearchRetriever, load_search, open_towers, ties_of
from modit.inference.search_files import VECTORS_FILE, SearchInfo
from modit.inference.word_index import LIKENESS, WordIndex
from modit.towers.encoder import MODEL_FILE, load_towers
from modit.towers.training import titles_of

if TYPE_CHECKING:
    from modit.core.context import StepContext

# Candidates by words and by the towers: more cost time, and change little in the first hundred.
_DEPTH = 500
# Queries whose answers are kept, those that torch and the files are compared on, and items of a list.
_ANSWERS, _TEXTS, _K = 32, 128, 10
# Where no validation query has an item to prefer.
_BM25, _FUSION = {"k1": 1.2, "b": 0.75}, {"weight": 0.5}


def run(context: StepContext) -> dict[str, object]:
    """Reads `catalog`, `towers` and `consistent_index`; writes `exported_towers`.

    The artifact: query.onnx and item.onnx, the index of vectors (index.faiss, centroids.npy, index.json,
    item_vectors.npy), that of words (word_scores.npy, word_items.npy, word_starts.npy, words.json, word_params.json),
    search.json, text_space.npz, parity.json, and answers.json with what torch finds for the first validation queries.

    Returns:
        The settings of BM25 and of the fusion that were chosen on validation queries, and the greatest difference to
        torch.

    Raises:
        ParityError: the files do not give the vectors or the lists of torch.
        ArtifactError: the index was built with other towers.
    """
    catalog, judged = Catalog.load(context.input("catalog")), JudgedQueries.load(context.input("catalog"))
    titles, folder, ties = titles_of(catalog), context.output("exported_towers"), ties_of(catalog.item_ids)
    trained = context.input("towers") / FOLDERS[SYMMALIGNER]
    model, digest = load_towers(trained), sha256_of_file(trained / MODEL_FILE)
    index = ConsistentIndex.load(context.input("consistent_index"))
    index.expect_towers(digest)
    vectors = model.encode(titles, "item")
    task = SearchTask(judged, context.params.train_towers.relevant_min, context.params.evaluate_search)
    stemmer = context.params.evaluate_search.stemmer
    bm25 = _chosen(task, Bm25Row(titles, ties, bm25_grid(stemmer)), _BM25 | {"stemmer": stemmer})
    bm25["likeness"] = LIKENESS
    words = WordIndex.build(titles, **bm25)
    by_torch = SearchRetriever(model, index, words, vectors, ties, _FUSION["weight"], _DEPTH)
    by_torch = replace(by_torch, **_chosen(task, FusedRow(by_torch), _FUSION))

    export_towers(model, folder, digest)
    index.save(folder)
    words.save(folder)
    np.save(folder / VECTORS_FILE, vectors)
    info = SearchInfo(
        buckets=model.config.buckets,
        dimension=model.config.dimension,
        items=len(catalog),
        weight=by_torch.weight,
        depth=_DEPTH,
        bm25=bm25,
        item_ids_digest=item_ids_digest(catalog.item_ids),
        towers_digest=digest,
        space=model.config.space,
    )
    texts = _texts(judged, titles)
    exported = replace(by_torch, towers=open_towers(folder, info))
    parity = search_parity(model, exported, texts, _K)
    (folder / PARITY_FILE).write_text(json.dumps(parity, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    save_answers(folder, answers_to_texts(by_torch, texts[:_ANSWERS], catalog.item_ids, _K))
    info.save(folder)
    load_search(folder, catalog.item_ids)
    context.logger.info("parity: greatest difference %.1e", parity["greatest_difference"])
    return bm25 | {"weight": by_torch.weight, "greatest_difference": parity["greatest_difference"]}


def _chosen(task: SearchTask, row: Bm25Row | FusedRow, otherwise: dict[str, Any]) -> dict[str, Any]:
    """The setting of a row that the validation queries prefer."""
    validation = task.cases(QueryPart.VALIDATION)
    return dict(choose(task, row, validation).setting["tuned"].setting) if len(validation) else otherwise


def _texts(judged: JudgedQueries, titles: list[str]) -> list[str]:
    """Validation queries, evenly drawn; titles where there are none."""
    texts = judged.texts[judged.of(QueryPart.VALIDATION)].tolist() or titles
    return [texts[place] for place in np.unique(np.linspace(0, len(texts) - 1, _TEXTS).round().astype(int))]
