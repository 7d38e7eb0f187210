"""Judges every row of a domain on the held-out cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.evaluate import HPPO_OUTPUTS
from modit.core.seeds import derived_seed
from modit.data.catalog import Catalog
from modit.evaluate.evaluation import EvaluationSettings, evaluate_domain, headline
from modit.evaluate.generators import load_generator
from modit.evaluate.records import read_records, round_guidance
from modit.evaluate.storage import save_evaluation
from modit.evaluate.world import World
from modit.index import ItemIndex
from modit.metric.cases import SPLITS, Cases
from modit.metric.density import DensityPredictor
from modit.metric.geometry import DomainGeometry
from modit.metric.patterns import Patterns
from modit.metric.retrieval import visible_depth

if TYPE_CHECKING:
    from modit.core.context import StepContext

_STAGES = {"Pre. GR": "pretrained", "CPT only": "continued", "MO-DiT": "finetuned", "HPPO": HPPO_OUTPUTS[-1]}


def run(context: StepContext) -> dict[str, object]:
    """Reads the domain's data, the index and all stages; writes `evaluation`: evaluation.json and per_case.npz."""
    catalog, retrieval = Catalog.load(context.input("catalog")), context.params.retrieval
    patterns = Patterns.load(context.input("patterns") / f"{context.domain}.npz")
    world = World(
        catalog=catalog,
        domain=context.domain,
        patterns=patterns,
        predictor=DensityPredictor.load(context.input("predictor") / "predictor.npz"),
        geometry=DomainGeometry.load(context.input("predictor") / "geometry.npz"),
        index=ItemIndex.load(context.input("index")),
        cases={split: Cases.load(context.input("cases") / f"{split}.npz") for split in SPLITS},
        k=retrieval.depth(len(catalog)),
        validation_k=visible_depth(
            retrieval.depth(len(catalog)), len(catalog), int(patterns.visible_for_validation.sum())
        ),
    )
    stages = {name: context.input(name) for name in ("pretrained", "continued", "finetuned")}
    records = read_records(stages, [context.input(name) for name in HPPO_OUTPUTS], context.input("predictor"))
    # These two are judged at the scale that HPPO validated them at; the others choose theirs by the same rule here.
    guidance = dict(zip(("MO-DiT", "HPPO"), round_guidance(records["rounds"]), strict=True))
    rows = [
        load_generator(
            name,
            context.input(artifact) / "model.pt",
            world,
            context.params.sampler,
            guidance.get(name),
            knows_domain=artifact != "pretrained",
        )
        for name, artifact in _STAGES.items()
    ]
    settings = EvaluationSettings(seed=derived_seed(context.seed, "evaluate", context.domain))
    evaluation = evaluate_domain(world, rows, settings)
    save_evaluation(context.output("evaluation"), evaluation, records)
    return headline(evaluation.content)
