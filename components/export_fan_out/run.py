"""Exports the diffusion with its text space, and refuses the files unless they answer as torch does."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from modit.core.storage import sha256_of_file
from modit.data.catalog import Catalog
from modit.data.judged_queries import JudgedQueries, QueryPart
from modit.data.text_space import TextSpace
from modit.evaluate.bm25 import bm25_grid
from modit.evaluate.evaluation import choose
from modit.evaluate.fan_out.names import SERVED
from modit.evaluate.fan_out.rows import MIXED_GRID, OneQuery, TunedSets, listed_by_words, sampled_sets, weighted_list
from modit.evaluate.fan_out.task import FanOutTask
from modit.evaluate.task import Setting
from modit.export.fan_out import export_denoiser, fan_out_parity
from modit.fan_out.diffusion import MODEL_FILE, denoise_by_torch, load_denoiser, noise_levels
from modit.inference.answers import answers_to_texts, save_answers
from modit.inference.exported_files import PARITY_FILE, item_ids_digest
from modit.inference.fan_out import FanOutRetriever, fan_out_of, load_fan_out, open_denoiser
from modit.inference.fan_out_files import FanOutInfo
from modit.inference.word_index import LIKENESS, WordIndex
from modit.towers.training import titles_of

if TYPE_CHECKING:
    from modit.core.context import StepContext

# Texts whose answers are kept, those that torch and the files are compared on, and items of a list.
_ANSWERS, _TEXTS, _K = 32, 64, 10


def run(context: StepContext) -> dict[str, object]:
    """Reads `catalog`, `text_space` and `set_diffusion`; writes `exported_fan_out`.

    The artifact: denoiser.onnx with the guidance in it, text_space.npz, the index of words (word_scores.npy,
    word_items.npy, word_starts.npy, words.json, word_params.json), fan_out.json, parity.json, and answers.json with
    what torch finds for the first texts.

    Returns:
        What was chosen on validation intents, one after the other: the settings of BM25, the weight of cosines beside
        it, then guidance and the intent's share of an answer; and the greatest difference to torch.

    Raises:
        ParityError: the files do not give the queries or the lists of torch.
    """
    catalog, judged = Catalog.load(context.input("catalog")), JudgedQueries.load(context.input("catalog"))
    params, sampler = context.params.evaluate_fan_out, context.params.train_set_diffusion
    reading, folder = context.params.train_fan_out, context.output("exported_fan_out")
    space, trained = TextSpace.load(context.input("text_space")), context.input("set_diffusion") / "aligned"
    model, digest = load_denoiser(trained), sha256_of_file(trained / MODEL_FILE)
    pool = context.params.align_fan_out.reward.pool(len(catalog), model.config.rows)
    task, titles = FanOutTask(judged, reading.relevant_min, pool, space.items, params), titles_of(catalog)
    validation = task.cases(QueryPart.VALIDATION)

    def chosen_of(row: TunedSets, otherwise: Setting) -> dict[str, Any]:
        """What validation intents prefer; where none has an item, neither part alone decides."""
        return dict(choose(task, row, validation).setting["tuned"].setting if len(validation) else otherwise)

    grid = bm25_grid(params.stemmer)
    bm25 = chosen_of(listed_by_words(space, model.config.rows, titles, grid), grid[0]) | {"likeness": LIKENESS}
    words = WordIndex.build(titles, **bm25)
    one_list = FanOutRetriever(OneQuery(space), space, model.config.rows, words=words)
    one_list = replace(one_list, **chosen_of(weighted_list(one_list), {"weight": 0.5}))
    row = sampled_sets(SERVED, one_list, model, sampler, reading.prompt_words, 1, mix=True)
    chosen = chosen_of(row, {"guidance": 1.0} | MIXED_GRID[1])

    export_denoiser(model, chosen["guidance"], folder, digest)
    space.save(folder)
    words.save(folder)
    info = FanOutInfo(
        rows=model.config.rows,
        dimension=space.dimension,
        prompt_words=reading.prompt_words,
        items=len(catalog),
        solver=sampler.solver,
        levels=tuple(noise_levels(sampler, model.config.sigma_data)),
        guidance=chosen["guidance"],
        intent=chosen["intent"],
        weight=one_list.weight,
        bm25=bm25,
        item_ids_digest=item_ids_digest(catalog.item_ids),
        model_digest=digest,
    )
    by_torch = fan_out_of(denoise_by_torch(model, info.guidance), space, words, info)
    exported = fan_out_of(open_denoiser(folder, info), space, words, info)
    texts = _texts(judged)
    parity = fan_out_parity(by_torch, exported, texts, _K)
    (folder / PARITY_FILE).write_text(json.dumps(parity, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    save_answers(folder, answers_to_texts(by_torch, texts[:_ANSWERS], catalog.item_ids, _K))
    info.save(folder)
    load_fan_out(folder, catalog.item_ids)
    context.logger.info("parity: greatest difference %.1e", parity["greatest_difference"])
    return chosen | bm25 | {"weight": info.weight, "greatest_difference": parity["greatest_difference"]}


def _texts(judged: JudgedQueries) -> list[str]:
    """Intents of validation, or of training where there are none, evenly drawn."""
    parts = (judged.texts[judged.of(part)].tolist() for part in (QueryPart.VALIDATION, QueryPart.TRAIN))
    texts = next(each for each in parts if each)
    return [texts[place] for place in np.unique(np.linspace(0, len(texts) - 1, _TEXTS).round().astype(int))]
