"""Judges every row of a domain on the held-out cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.evaluate import HPPO_OUTPUTS
from modit.core.seeds import derived_seed
from modit.core.storage import sha256_of_file
from modit.evaluate.evaluation import POLICY, EvaluationSettings, evaluate_domain, headline
from modit.evaluate.generators import load_generator
from modit.evaluate.inputs import load_world
from modit.evaluate.records import read_records, read_rounds, round_guidance
from modit.evaluate.storage import save_evaluation
from modit.evaluate.tables import save_tables
from modit.evaluate.variants import read_variants
from modit.release.gate.champion import Champion, load_rival

if TYPE_CHECKING:
    from modit.core.context import StepContext

_STAGES = {"Pre. GR": "pretrained", "CPT only": "continued", "MO-DiT": "finetuned", "HPPO": HPPO_OUTPUTS[-1]}


def run(context: StepContext) -> dict[str, object]:
    """Reads the domain's data, the index and all stages.

    Writes `evaluation`: evaluation.json, per_case.npz, and rounds and curves as tables.
    """
    folders = {name: context.input(name) for name in ("catalog", "patterns", "predictor", "cases", "index")}
    world = load_world(folders, context.domain, context.params.retrieval)
    stages = {name: context.input(name) for name in ("pretrained", "continued")}
    variants = read_variants(context.input("hppo_variants"))
    hppo_rounds = [context.input(name) for name in HPPO_OUTPUTS]
    records = read_records(stages, context.input("finetuned"), hppo_rounds, folders["predictor"], variants)
    # These two, and variants, are judged at the scale that HPPO validated them at; others choose by the same rule here.
    guidance = dict(zip(("MO-DiT", "HPPO"), round_guidance(records["rounds"]), strict=True))
    rows = []
    for name, artifact in _STAGES.items():
        model, knows_domain = context.input(artifact) / "model.pt", artifact != "pretrained"
        rows.append(load_generator(name, model, world, context.params.sampler, guidance.get(name), knows_domain))
    for variant in variants.trained:
        _, scale = round_guidance(read_rounds(variant.folder))
        rows.append(load_generator(variant.row, variant.folder / "model.pt", world, context.params.sampler, scale))
    settings = EvaluationSettings(seed=derived_seed(context.seed, "evaluate", context.domain))
    champion = Champion.load(context.input("champion"))
    rival = load_rival(champion, context.input("champion"))
    evaluation = evaluate_domain(world, rows, settings, rival)
    # What was judged, for the gate: the candidate by its files, the champion by its version.
    records |= {"candidate": sha256_of_file(context.input(_STAGES[POLICY]) / "model.pt")}
    records |= {"champion": champion.facts}
    save_evaluation(context.output("evaluation"), evaluation, records)
    save_tables(context.output("evaluation"), records)
    return headline(evaluation.content)
