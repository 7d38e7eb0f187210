"""Judges every row of a domain on the held-out cases."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from components.evaluate import HPPO_OUTPUTS
from modit.core.seeds import derived_seed
from modit.core.storage import sha256_of_file
from modit.evaluate import names
from modit.evaluate.evaluation import EvaluationSettings, headline
from modit.evaluate.records import read_records, read_rounds, read_variants, round_guidance
from modit.evaluate.seeds.both_scopes import evaluate_domain
from modit.evaluate.seeds.context import EvaluationContext
from modit.evaluate.seeds.rows import model_row, untrained_row
from modit.evaluate.seeds.second_stage import engine_row, second_stage_facts, served_list, served_row
from modit.evaluate.seeds.task import SeedsTask
from modit.evaluate.storage import read_json, save_evaluation, save_tables
from modit.index.engines.staging import StagedCollection, staged_index
from modit.metric.second_stage import SECOND_STAGE_FILE, SecondStage
from modit.model.axes import Geometry
from modit.model.readout import READOUT_FILE, readout_of_json
from modit.release.gate.champion import Champion, load_champion

if TYPE_CHECKING:
    from modit.core.context import StepContext

_STAGES = dict(zip(names.STAGES, ("pretrained", "continued", "finetuned", HPPO_OUTPUTS[-1]), strict=True))


def run(context: StepContext) -> dict[str, object]:
    """Reads the domain's data, the index and all stages.

    Writes `evaluation`: evaluation.json, per_case.npz, and rounds and curves as tables.
    """
    folders = {name: context.input(name) for name in ("catalog", "patterns", "predictor", "cases", "index")}
    domain = EvaluationContext.load(folders, context.domain, context.params.retrieval)
    settings = EvaluationSettings(seed=derived_seed(context.seed, "evaluate", context.domain))
    task, sampler = SeedsTask(domain, settings.seed), context.params.sampler
    stages = {name: context.input(name) for name in ("pretrained", "continued")}
    variants = read_variants(context.input("hppo_variants"))
    hppo_rounds = [context.input(name) for name in HPPO_OUTPUTS]
    records = read_records(stages, context.input("finetuned"), hppo_rounds, folders["predictor"], variants)
    # These two, and variants, are judged at the scale that HPPO validated them at; others choose by the same rule here.
    guidance = dict(zip((names.SFT, names.POLICY), round_guidance(records["rounds"]), strict=True))
    rows = []
    readout_file = context.input("readout") / READOUT_FILE
    readout = read_json(readout_file)
    geometry = Geometry.of(domain.geometry)
    for name, artifact in _STAGES.items():
        model, knows_domain = context.input(artifact) / "model.pt", artifact != "pretrained"
        served = (readout_of_json(readout, geometry), domain.known_patterns) if name == names.POLICY else ()
        rows.append(model_row(name, model, task, sampler, guidance.get(name), knows_domain, *served))
    # The parts of what HPPO serves, without what is known of the patterns.
    for name, part in ((names.NETWORK, None), (names.VOTE, readout_of_json(readout | {"share": 0.0}, geometry))):
        rows.append(model_row(name, model, task, sampler, guidance[names.POLICY], readout=part))
    for variant in variants.trained:
        _, scale = round_guidance(read_rounds(variant.folder))
        rows.append(model_row(variant.row, variant.folder / "model.pt", task, sampler, scale))
    stage = SecondStage.load(context.input("second_stage"), *domain.catalog.embeddings.shape)
    rows.append(served_row(rows[names.STAGES.index(names.POLICY)], stage, domain))
    if staged := StagedCollection.load(folders["index"]):
        ids, dimension = domain.catalog.item_ids, domain.catalog.dimension
        engine = staged_index(staged, ids, dimension, domain.index.digest)
        rows.append(engine_row(rows[names.STAGES.index(names.POLICY)], stage, domain, engine))
        records |= {"engine": asdict(staged)}
    if readouts := context.started_from_by_domain("readout"):
        votes = [read_json(folder / READOUT_FILE) for folder in readouts.values()]
        rows.append(untrained_row(domain, votes, context.input("sampler")))
    champion = Champion.load(context.input("champion"))
    baseline = load_champion(
        champion, context.input("champion"), domain.index, domain.known_verdicts, domain.known_patterns
    )
    if baseline:
        baseline = replace(baseline, retriever=served_list(baseline.retriever, stage, domain))
    evaluation = evaluate_domain(task, rows, settings, baseline)
    # What was judged, for the gate: the candidate by its files, the champion by its version.
    records |= {"candidate": sha256_of_file(context.input(_STAGES[names.POLICY]) / "model.pt")}
    records |= {"candidate_readout": sha256_of_file(readout_file)}
    records |= {"candidate_second_stage": sha256_of_file(context.input("second_stage") / SECOND_STAGE_FILE)}
    records |= {
        "second_stage": second_stage_facts(stage, domain),
        "readout": readout,
        "champion": champion.facts,
        "sampler": {"steps": sampler.steps, "samples": sampler.samples},
    }
    save_evaluation(context.output("evaluation"), evaluation, records)
    save_tables(context.output("evaluation"), records)
    return headline(evaluation.content, task.primary)
