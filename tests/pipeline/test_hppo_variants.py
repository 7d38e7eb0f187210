"""The step `hppo_variants` in a run on a small demo world: what it trains, resumes and hands to the evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from components.registry import REGISTRY
from modit.core.runner import StepRunner
from modit.data.demo import DemoParameters, write_demo_world
from modit.hppo import chain
from modit.hppo.round import run_round
from modit.training.checkpoint import load_model

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
DOMAIN = "popular"
NAMES = ["off_policy", "adaptive"]
# Few steps, so that rounds are quick; lenient, so that more than one is kept.
HPPO = {"cases": 40, "steps": 3, "batch": 8, "fall_allowed": 0.9, "learning_rate": 1e-3}


class Interrupted(Exception):
    pass


def runner_of(folder: Path, run: str, **overrides) -> StepRunner:
    conf = {
        "catalogue": str(folder / "world"),
        "preset": "tiny",
        "domains": [DOMAIN],
        "overrides": {"build_trajectories": {"minimum_case_seeds": 4}, "hppo": HPPO, **overrides},
    }
    return StepRunner(REGISTRY, str(folder / run), PARAMS, conf)


def execute_up_to(runner: StepRunner, last: str) -> None:
    wanted, waiting = set(), [last]
    while waiting:
        name = waiting.pop()
        wanted.add(name)
        waiting += [earlier for earlier, later in REGISTRY.edges if later == name]
    for step in REGISTRY.steps:
        if step.name in wanted:
            runner.execute(step.name, DOMAIN if step.per_domain else None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("variants")
    write_demo_world(folder / "world", DemoParameters(items=5_000, domains=2, dimension=32, days=3))
    return folder


@pytest.fixture(scope="module")
def trained(folder) -> tuple[StepRunner, list[str]]:
    """A run whose step died in the second round of the last variant and went on; the variants of the later rounds."""
    runner = runner_of(folder, "run", hppo_variants={"names": NAMES})
    execute_up_to(runner, "finetune")
    rounds: list[str] = []

    def watched(*arguments):
        params, number = arguments[3], arguments[5]
        rounds.append(f"{params.variant} {number}")
        if len(rounds) == 3:
            raise Interrupted
        return run_round(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain, "run_round", watched)
        with pytest.raises(Interrupted):
            runner.execute("hppo_variants", DOMAIN)
        assert rounds == ["off_policy 1", "adaptive 1", "adaptive 2"]
        runner.execute("hppo_variants", DOMAIN)
    return runner, rounds[3:]


def read(runner: StepRunner, artifact: str, name: str = "") -> tuple[list[dict], dict[str, torch.Tensor]]:
    folder = runner.store.read(artifact, DOMAIN) / name
    return json.loads((folder / "rounds.json").read_text())["rounds"], load_model(folder / "model.pt").state_dict()


def test_a_variant_or_round_that_was_finished_is_not_trained_again(trained):
    assert trained[1][0] == "adaptive 2"
    assert "adaptive 1" not in trained[1]


def test_a_variant_is_what_the_chain_of_steps_makes_of_it(folder, trained):
    """So rows differ by their variant alone; and neither another variant before nor an interruption has a say."""
    steps = runner_of(folder, "steps", hppo={**HPPO, "variant": "adaptive"})
    execute_up_to(steps, "hppo_round_4")
    expected_rounds, expected = read(steps, "hppo_4")
    rounds, weights = read(trained[0], "hppo_variants", "adaptive")
    assert rounds == expected_rounds
    assert len(rounds) == 5
    for name, value in expected.items():
        assert torch.equal(weights[name], value), name
    curve = json.loads((trained[0].store.read("hppo_variants", DOMAIN) / "adaptive" / "curve.json").read_text())
    assert curve[0]["step"] == HPPO["steps"]
    assert len(curve) == sum("pairs" in record for record in rounds)


def test_variants_differ_from_each_other_and_from_their_start(trained):
    found = [read(trained[0], "hppo_variants", name)[1]["bos"] for name in NAMES]
    assert not torch.equal(*found)


def test_variants_are_rows_of_the_evaluation_and_of_the_report(trained, monkeypatch):
    def export(context):
        """The evaluation waits for the export, which takes longer than all else, and reads nothing of it."""
        (context.output("sampler") / "sampler.onnx").write_bytes(b"")

    monkeypatch.setattr("components.export_sampler.run.run", export)
    runner, _ = trained
    execute_up_to(runner, "render_report")
    content = json.loads((runner.store.read("evaluation", DOMAIN) / "evaluation.json").read_text())
    for name, row_name in zip(NAMES, ("HPPO off-policy", "HPPO adaptive"), strict=True):
        kept = [record for record in read(runner, "hppo_variants", name)[0] if record["kept"]]
        for split in content["splits"].values():
            row = next(row for row in split["rows"] if row["name"] == row_name)
            assert row["guidance"] == kept[-1]["guidance"]
    assert "HPPO − HPPO adaptive" in (runner.store.read("report", None) / "report.html").read_text()


def test_without_names_nothing_is_read_or_trained(folder, trained, monkeypatch):
    runner = runner_of(folder, "none")
    execute_up_to(runner, "finetune")
    monkeypatch.setattr("modit.hppo.chain.train_chain", lambda *arguments: pytest.fail("trains"))
    runner.execute("hppo_variants", DOMAIN)
    artifact = runner.store.read("hppo_variants", DOMAIN)
    assert sorted(path.name for path in artifact.iterdir()) == ["manifest.json", "variants.json"]
    assert json.loads((artifact / "variants.json").read_text()) == {"hppo": "pareto_epsilon", "names": []}
