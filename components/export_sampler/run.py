"""Exports the sampler of a domain, and refuses it unless it answers as torch does."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.export_sampler import MODEL
from modit.core.seeds import derived_seed
from modit.core.storage import sha256_of_file
from modit.data.catalog import Catalog
from modit.data.splits import HOLDOUTS
from modit.evaluate.storage import read_json
from modit.export.parity import TorchSampler, list_parity, parity_report, tensor_parity
from modit.export.sampler import export_sampler
from modit.export.sampler_parts import SamplerParts
from modit.hppo.chain import MODEL_FILE, serving_guidance
from modit.index.item_index import ItemIndex
from modit.index.searchable import SearchableIndex
from modit.inference.answers import Answer, save_answers
from modit.inference.retrieval import Query, SamplerRetriever
from modit.inference.runtime import load_sampler
from modit.inference.sampler_file import SAMPLER_FILE, SamplerInfo
from modit.inference.vote_file import VOTE_FILE
from modit.metric.cases import Cases
from modit.metric.evidence import KnownVerdicts
from modit.metric.predictor import DomainGeometry
from modit.model.axes import Geometry
from modit.model.readout import READOUT_FILE, readout_of_json
from modit.model.sampler import Sampler
from modit.training.checkpoint import load_model

if TYPE_CHECKING:
    from modit.core.context import StepContext

# Questions of each split whose answers are kept, and how many items each asks for.
_ANSWERS, _ANSWER_ITEMS = 16, 10


def run(context: StepContext) -> dict[str, object]:
    """Reads the parts of the graph, the last HPPO model, the readout, geometry and cases; writes `sampler`.

    The artifact: sampler.onnx, vote.onnx, parity.json, answers.json, sampler.json.

    Raises:
        ParityError: the file does not answer as the torch sampler.
    """
    sampler, info = _sampler(context)
    folder = context.output("sampler")
    file = folder / SAMPLER_FILE
    parts = context.input("sampler_parts")
    export_sampler(sampler, SamplerParts.load(parts), info, file)
    shutil.copyfile(parts / VOTE_FILE, folder / VOTE_FILE)
    index = ItemIndex.load(context.input("index"))
    parity = _parity(context, sampler, file, index)
    verdicts = KnownVerdicts.stored(Catalog.load(context.input("catalog")), context.domain)
    save_answers(folder, _answers(context, SamplerRetriever(TorchSampler(sampler, info), index, verdicts=verdicts)))
    digests = {"sampler_digest": sha256_of_file(file), "index_digest": index.digest}
    for name, content in (("parity.json", parity), ("sampler.json", asdict(info) | digests)):
        (folder / name).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    context.logger.info("parity: greatest difference %.1e", parity["greatest_difference"])
    return {"greatest_difference": parity["greatest_difference"]}


def _sampler(context: StepContext) -> tuple[Sampler, SamplerInfo]:
    """The torch sampler, and what its file will say of itself."""
    params = context.params
    model_file, geometry_file = context.input(MODEL) / MODEL_FILE, context.input("predictor") / "geometry.npz"
    geometry = Geometry.of(DomainGeometry.load(geometry_file))
    readout_file = context.input("readout") / READOUT_FILE
    readout = readout_of_json(read_json(readout_file), geometry)
    sampler = Sampler(load_model(model_file), geometry, params.sampler.steps, params.sampler.samples, readout).eval()
    info = SamplerInfo(
        domain=context.domain,
        dimension=sampler.model.config.dimension,
        maximum_seeds=params.build_trajectories.seeds,
        steps=sampler.steps,
        samples=sampler.samples,
        guidance=serving_guidance(context.input(MODEL)),
        model_digest=sha256_of_file(model_file),
        geometry_digest=sha256_of_file(geometry_file),
        readout_digest=sha256_of_file(readout_file),
        network_share=float(readout.share),
        uses_evidence=readout.uses_evidence,
    )
    return sampler, info


def _answers(context: StepContext, retriever: SamplerRetriever) -> list[Answer]:
    """What the service has to answer to real cases, by torch."""
    embeddings, answers = Catalog.load(context.input("catalog")).embeddings, []
    for split in HOLDOUTS:
        for seeds in Cases.load(context.input("cases") / f"{split}.npz").seeds[:_ANSWERS]:
            rows = seeds[seeds >= 0]
            (found,) = retriever.retrieve([Query(embeddings[rows], _ANSWER_ITEMS, exclude=rows)])
            ids = retriever.index.item_ids
            answers.append(Answer(ids[rows].tolist(), ids[found.rows].tolist(), found.scores.tolist()))
    return answers


def _parity(context: StepContext, sampler: Sampler, path: Path, index: SearchableIndex) -> dict[str, Any]:
    """Compares tensors and retrieved lists of file and torch."""
    catalog, exported = Catalog.load(context.input("catalog")), load_sampler(path)
    seed = derived_seed(context.seed, "parity", context.domain)
    cases = {str(split): Cases.load(context.input("cases") / f"{split}.npz").seeds for split in HOLDOUTS}
    k = context.params.retrieval.depth(len(catalog))
    verdicts = KnownVerdicts.stored(catalog, context.domain)
    lists = list_parity(sampler, exported, index, catalog.embeddings, cases, k, seed, verdicts)
    return parity_report(tensor_parity(sampler, exported, seed), lists)
