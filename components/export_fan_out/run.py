"""Exports the diffusion with its text space, and refuses the files unless they answer as torch does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from modit.core.storage import sha256_of_file
from modit.data.catalog import Catalog
from modit.data.judged_queries import JudgedQueries, QueryPart
from modit.data.text_space import TextSpace
from modit.evaluate.evaluation import choose
from modit.evaluate.fan_out.names import SERVED
from modit.evaluate.fan_out.rows import MIXED_GRID, sampled_sets
from modit.evaluate.fan_out.task import FanOutTask
from modit.evaluate.task import Setting
from modit.export.fan_out import export_denoiser, fan_out_parity
from modit.fan_out.diffusion import MODEL_FILE, denoise_by_torch, load_denoiser, noise_levels
from modit.inference.answers import answers_to_texts, save_answers
from modit.inference.exported_files import PARITY_FILE, item_ids_digest
from modit.inference.fan_out import fan_out_of, load_fan_out, open_denoiser
from modit.inference.fan_out_files import FanOutInfo

if TYPE_CHECKING:
    from modit.core.context import StepContext

# Texts whose answers are kept, those that torch and the files are compared on, and items of a list.
_ANSWERS, _TEXTS, _K = 32, 64, 10


def run(context: StepContext) -> dict[str, object]:
    """Reads `catalog`, `text_space` and `set_diffusion`; writes `exported_fan_out`.

    The artifact: denoiser.onnx with the guidance in it, text_space.npz, fan_out.json, parity.json, and answers.json
    with what torch finds for the first texts.

    Returns:
        The guidance and the intent's share of an answer that were chosen on validation intents, and the greatest
        difference to torch.

    Raises:
        ParityError: the files do not give the queries or the lists of torch.
    """
    catalog, judged = Catalog.load(context.input("catalog")), JudgedQueries.load(context.input("catalog"))
    params, sampler = context.params.evaluate_fan_out, context.params.train_set_diffusion
    reading, folder = context.params.train_fan_out, context.output("exported_fan_out")
    space, trained = TextSpace.load(context.input("text_space")), context.input("set_diffusion") / "aligned"
    model, digest = load_denoiser(trained), sha256_of_file(trained / MODEL_FILE)
    pool = context.params.align_fan_out.reward.pool(len(catalog), model.config.rows)
    task = FanOutTask(judged, reading.relevant_min, pool, space.items, params)
    row = sampled_sets(SERVED, space, model, sampler, reading.prompt_words, 1, mix=True)
    validation = task.cases(QueryPart.VALIDATION)
    # where no validation intent has an item, neither the set nor the intent alone decides
    otherwise: Setting = {"guidance": 1.0} | MIXED_GRID[1]
    chosen = choose(task, row, validation).setting["tuned"].setting if len(validation) else otherwise

    export_denoiser(model, chosen["guidance"], folder, digest)
    space.save(folder)
    info = FanOutInfo(
        rows=model.config.rows,
        dimension=space.dimension,
        prompt_words=reading.prompt_words,
        items=len(catalog),
        solver=sampler.solver,
        levels=tuple(noise_levels(sampler, model.config.sigma_data)),
        guidance=chosen["guidance"],
        intent=chosen["intent"],
        item_ids_digest=item_ids_digest(catalog.item_ids),
        model_digest=digest,
    )
    by_torch = fan_out_of(denoise_by_torch(model, info.guidance), space, info)
    exported = fan_out_of(open_denoiser(folder, info), space, info)
    texts = _texts(judged)
    parity = fan_out_parity(by_torch, exported, texts, _K)
    (folder / PARITY_FILE).write_text(json.dumps(parity, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    save_answers(folder, answers_to_texts(by_torch, texts[:_ANSWERS], catalog.item_ids, _K))
    info.save(folder)
    load_fan_out(folder, catalog.item_ids)
    context.logger.info("parity: greatest difference %.1e", parity["greatest_difference"])
    return dict(chosen) | {"greatest_difference": parity["greatest_difference"]}


def _texts(judged: JudgedQueries) -> list[str]:
    """Intents of validation, or of training where there are none, evenly drawn."""
    parts = (judged.texts[judged.of(part)].tolist() for part in (QueryPart.VALIDATION, QueryPart.TRAIN))
    texts = next(each for each in parts if each)
    return [texts[place] for place in np.unique(np.linspace(0, len(texts) - 1, _TEXTS).round().astype(int))]
