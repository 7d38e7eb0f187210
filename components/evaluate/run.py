"""Judges every row of a domain on the held-out cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.evaluate import HPPO_OUTPUTS
from modit.core.seeds import derived_seed
from modit.evaluate.evaluation import EvaluationSettings, evaluate_domain, headline
from modit.evaluate.generators import load_generator
from modit.evaluate.inputs import load_world
from modit.evaluate.records import read_records, round_guidance
from modit.evaluate.storage import save_evaluation

if TYPE_CHECKING:
    from modit.core.context import StepContext

_STAGES = {"Pre. GR": "pretrained", "CPT only": "continued", "MO-DiT": "finetuned", "HPPO": HPPO_OUTPUTS[-1]}


def run(context: StepContext) -> dict[str, object]:
    """Reads the domain's data, the index and all stages; writes `evaluation`: evaluation.json and per_case.npz."""
    folders = {name: context.input(name) for name in ("catalog", "patterns", "predictor", "cases", "index")}
    world = load_world(folders, context.domain, context.params)
    stages = {name: context.input(name) for name in ("pretrained", "continued", "finetuned")}
    records = read_records(stages, [context.input(name) for name in HPPO_OUTPUTS], folders["predictor"])
    # These two are judged at the scale that HPPO validated them at; the others choose theirs by the same rule here.
    guidance = dict(zip(("MO-DiT", "HPPO"), round_guidance(records["rounds"]), strict=True))
    rows = []
    for name, artifact in _STAGES.items():
        model, knows_domain = context.input(artifact) / "model.pt", artifact != "pretrained"
        rows.append(load_generator(name, model, world, context.params.sampler, guidance.get(name), knows_domain))
    settings = EvaluationSettings(seed=derived_seed(context.seed, "evaluate", context.domain))
    evaluation = evaluate_domain(world, rows, settings)
    save_evaluation(context.output("evaluation"), evaluation, records)
    return headline(evaluation.content)
