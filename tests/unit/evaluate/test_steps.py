"""The steps `evaluate` and `render_report` on artifacts as the steps before write them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from components.evaluate import HPPO_OUTPUTS
from components.evaluate.run import run as run_evaluate
from components.render_report.run import run as run_render_report
from modit.core.params import Params
from modit.core.run_config import RunConfig
from modit.evaluate.generators import Generator
from modit.evaluate.world import World
from modit.model.storage import save_model


@dataclass
class FolderContext:
    """What the steps use of a step context, over plain folders."""

    root: Path
    params: Params
    domain: str | None = "rare"
    seed: int = 0
    run_config: RunConfig = RunConfig(catalogue="/somewhere/books/", preset="tiny")

    def input(self, name: str) -> Path:
        return self.root / name

    def inputs_by_domain(self, name: str) -> dict[str, Path]:
        return {"rare": self.root / name}

    def output(self, name: str) -> Path:
        (self.root / name).mkdir(exist_ok=True)
        return self.root / name


def _write_artifacts(root: Path, world: World, generators: list[Generator]) -> None:
    stages = dict(zip(("pretrained", "continued", "finetuned"), generators, strict=False))
    stages |= dict.fromkeys(HPPO_OUTPUTS, generators[3])
    for name in ("catalog", "patterns", "predictor", "cases", "index", *stages):
        (root / name).mkdir()
    world.catalog.save(root / "catalog")
    world.patterns.save(root / "patterns" / "rare.npz")
    (root / "patterns" / "domains.json").write_text(json.dumps({"domains": ["rare"], "skipped": {"odd": "too few"}}))
    world.predictor.save(root / "predictor" / "predictor.npz")
    world.geometry.save(root / "predictor" / "geometry.npz")
    (root / "predictor" / "validation.json").write_text("[]")
    world.index.save(root / "index")
    for split, cases in world.cases.items():
        cases.save(root / "cases" / f"{split}.npz")
    figures = {"item_joint": 0.1, "item_same": 0.9, "pattern_joint": 0.2, "pattern_same": 0.8}
    rounds = [{"round": number, "kept": True, "guidance": 1.0 + number, **figures} for number in (0, 1)]
    for name, generator in stages.items():
        save_model(root / name / "model.pt", generator.sampler.model)
        (root / name / "curve.json").write_text(json.dumps([{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]))
        (root / name / "rounds.json").write_text(json.dumps({"rounds": rounds, "stopped": True}))


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory, world: World, generators: list[Generator]) -> FolderContext:
    root = tmp_path_factory.mktemp("run")
    _write_artifacts(root, world, generators)
    return FolderContext(root, Params(sampler={"steps": 2, "samples": 2, "guidance": (1.0, 3.0)}))


def test_evaluate_and_render_report_write_what_they_declare(context: FolderContext) -> None:
    summary = run_evaluate(context)
    assert set(summary) == {"item_holdout", "pattern_holdout"}
    content = json.loads((context.root / "evaluation" / "evaluation.json").read_text())
    assert content["k"] == context.params.retrieval.depth(1_200)
    assert list(content["training"]) == sorted(["pretrained", "continued", "finetuned", *HPPO_OUTPUTS])
    with np.load(context.root / "evaluation" / "per_case.npz") as stored:
        assert stored["item_holdout/HPPO/joint"].shape == (24,)
    run_render_report(context)
    report = json.loads((context.root / "report" / "report.json").read_text())
    assert report["run"] == {"catalogue": "books", "preset": "tiny", "seed": 0, "skipped_domains": {"odd": "too few"}}
    assert "<title>modit report: books</title>" in (context.root / "report" / "report.html").read_text()


def test_models_are_judged_at_the_guidance_that_the_rounds_recorded(context: FolderContext) -> None:
    run_evaluate(context)
    content = json.loads((context.root / "evaluation" / "evaluation.json").read_text())
    guidance = {row["name"]: row["guidance"] for row in content["splits"]["item_holdout"]["rows"]}
    assert (guidance["MO-DiT"], guidance["HPPO"]) == (1.0, 2.0)
    assert guidance["Pre. GR"] in (1.0, 3.0)
