"""Runs that hold what is promoted and served of a fan-out: a real export of a small denoiser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from modit.data.text_space import TextSpace
from modit.export.fan_out import export_denoiser
from modit.fan_out.diffusion import Denoiser, DenoiserConfig, denoise_by_torch
from modit.inference.answers import answers_to_texts, save_answers
from modit.inference.exported_files import PARITY_FILE, item_ids_digest
from modit.inference.fan_out import FanOutRetriever, fan_out_of
from modit.inference.fan_out_files import FanOutInfo
from modit.inference.word_index import WordIndex
from modit.release.kinds import OF_INTENTS
from tests.unit.serve.bundles import write_json
from tests.unit.serve.session_bundles import PARITY
from tests.unit.serve.text_bundles import BM25, DIGEST, WEIGHT, TextBundle

CONFIG = DenoiserConfig(dimension=16, rows=4, width=16, depth=1, heads=2)
GUIDANCE, INTENT = 1.5, 0.25


class IntentBundle(TextBundle):
    """A run with the bundle of a fan-out."""

    kind = OF_INTENTS
    row = {"name": "Diffusion + intent", "coverage": 0.4, "low": 0.3, "high": 0.5, "diversity": 0.6}

    def export(self, folder: Path, seed: int) -> None:
        """As the step does."""
        export(folder, self.catalog.titles.tolist(), self.catalog.item_ids, seed)


def denoiser_of(seed: int) -> Denoiser:
    """A small denoiser of random weights; fresh ones say nothing, since the output starts at zero."""
    torch.manual_seed(seed)
    model = Denoiser(CONFIG).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def export(folder: Path, titles: list[str], item_ids: np.ndarray, seed: int) -> FanOutRetriever:
    """Exports, and returns what torch answers by."""
    space, model = TextSpace.fit(titles, CONFIG.dimension), denoiser_of(seed)
    words = WordIndex.build(titles, **BM25)
    info = FanOutInfo(
        rows=CONFIG.rows,
        dimension=CONFIG.dimension,
        prompt_words=4,
        items=len(titles),
        solver="sde",
        levels=(4.0, 1.0, 0.1, 0.0),
        guidance=GUIDANCE,
        intent=INTENT,
        weight=WEIGHT,
        bm25=BM25,
        item_ids_digest=item_ids_digest(item_ids),
        model_digest=DIGEST,
    )
    by_torch = fan_out_of(denoise_by_torch(model, GUIDANCE), space, words, info)
    export_denoiser(model, GUIDANCE, folder, DIGEST)
    space.save(folder)
    words.save(folder)
    write_json(folder / PARITY_FILE, PARITY)
    save_answers(folder, answers_to_texts(by_torch, titles[:4], item_ids, min(10, len(titles))))
    info.save(folder)
    return by_torch
