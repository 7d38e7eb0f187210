"""A domain that is added to a run: what it takes comes over byte for byte, what was there stays as it was."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from components.registry import REGISTRY
from modit.core.errors import ConfigError, ContractError
from modit.core.run_config import wanted_config
from modit.core.runner import StepRunner
from modit.data.catalog import Catalog
from modit.data.demo import DemoParameters, write_demo_world
from modit.params import load_params
from modit.release.domain_plan import plan_domain, plan_text

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
SHORT = {"pretrain.steps": 2, "continue_pretrain.steps": 2, "finetune.steps": 2}
TAKEN = ("index", "pretrained", "continued")
SHARED_STEPS = ("validate_logs", "assign_patterns", "stage_index", "label_anchors", "fit_metric_predictor")
SHARED_STEPS += ("build_trajectories", "pretrain", "continue_pretrain")
SCORER = """
asked = []

def score(items):
    asked.extend(items["item_id"].to_pylist())
    if len(asked) == 2048:
        raise RuntimeError("the scorer is away")
    return [title.endswith("(handpicked)") for title in items["title"].to_pylist()]
"""


def run_steps(runner: StepRunner, names) -> dict[str, str]:
    statuses = {}
    for step in REGISTRY.steps:
        if step.name in names:
            for domain in runner.domains() if step.per_domain else [None]:
                statuses[step.name] = runner.execute(step.name, domain).status
    return statuses


def files_of(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A run of one of three domains, up to the shared checkpoint; the third one is no column of the contract yet."""
    folder = tmp_path_factory.mktemp("new-domain")
    write_demo_world(folder / "world", DemoParameters(items=5_000, domains=3, days=3, dimension=32))
    domains = sorted(attributes_of(folder / "world"))
    table = pq.read_table(folder / "world" / "items.parquet")
    names = [{f"attr_{domains[2]}": "is_third"}.get(name, name) for name in table.column_names]
    pq.write_table(table.rename_columns(names), folder / "world" / "items.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODIT_CACHE", str(folder / "cache"))
        conf = {"catalogue": str(folder / "world"), "preset": "tiny", "domains": domains[:1], "overrides": SHORT}
        runner = StepRunner(REGISTRY, str(folder / "runs" / "base"), PARAMS, conf)
        run_steps(runner, SHARED_STEPS)
        yield runner, domains


def attributes_of(world: Path) -> list[str]:
    return [name[5:] for name in pq.read_schema(world / "items.parquet").names if name.startswith("attr_")]


def adding(base: StepRunner, name: str, run: str, scorer: str = "", **fields) -> StepRunner:
    new = {"name": name, "run": base.run.uri, "scorer": scorer}
    conf = base.config.model_dump(mode="json") | {"domains": [name], "new_domain": new} | fields
    return StepRunner(REGISTRY, str(base.run.parent.local / run), PARAMS, conf)


def test_a_domain_is_trained_from_the_shared_checkpoint_and_the_run_that_it_starts_from_stays_as_it_was(base):
    runner, (_, second, _) = base
    before = files_of(runner.run.local)
    added = adding(runner, second, "second")
    statuses = run_steps(added, (*SHARED_STEPS, "finetune"))
    assert {statuses[step] for step in ("stage_index", "pretrain", "continue_pretrain")} == {"reused"}
    assert {statuses[step] for step in ("validate_logs", "finetune")} == {"ran"}
    assert added.domains() == [second]
    for name in TAKEN:
        there, here = runner.store.get(name), added.store.get(name)
        assert (here.digest, here.files) == (there.digest, there.files) and here.origin == runner.store.at(name).uri
    assert files_of(runner.run.local) == before
    assert set(run_steps(added, (*SHARED_STEPS, "finetune")).values()) == {"cached"}


def test_a_step_that_is_forced_still_takes_the_checkpoint(base):
    runner, (_, second, _) = base
    added = adding(runner, second, "forced")
    run_steps(added, ("validate_logs", "assign_patterns"))
    assert added.execute("pretrain", force=True).status == "reused"
    assert added.store.get("pretrained").digest == runner.store.get("pretrained").digest


def test_another_checkpoint_there_is_taken_the_next_time(base):
    runner, (_, second, _) = base
    folder = runner.run.local.parent.parent / "elsewhere" / "moving"
    shutil.copytree(runner.run.local, folder)
    other = StepRunner(REGISTRY, str(folder), PARAMS)
    added = adding(other, second, "moved")
    run_steps(added, ("validate_logs", "assign_patterns", "pretrain"))
    manifest = other.store.get("pretrained")
    other.run.write_json("pretrained/manifest.json", {**vars(manifest), "files": [], "digest": "another"})
    assert added.why("pretrain")[0] == "pretrain would run because input pretrained changed"


def test_a_column_of_any_name_may_be_the_scorer(base):
    runner, (_, _, third) = base
    added = adding(runner, third, "third", "is_third")
    run_steps(added, ("validate_logs", "assign_patterns"))
    catalog = Catalog.load(added.store.read("catalog"))
    said = pq.read_table(Path(runner.config.catalogue) / "items.parquet", columns=["item_id", "is_third"])
    assert dict(zip(catalog.item_ids, catalog.positive(third), strict=True)) == dict(
        zip(said["item_id"].to_pylist(), said["is_third"].to_pylist(), strict=True)
    )
    assert added.domains() == [third]


@pytest.mark.parametrize(("scorer", "what"), [("", "attr_{} is missing"), ("item_id", "is string")])
def test_a_column_without_verdicts_is_refused(base, scorer, what):
    runner, (_, _, third) = base
    added = adding(runner, third, f"refused-{scorer}", scorer)
    with pytest.raises(ContractError, match="allowed: boolean, or 0 and 1"):
        added.execute("validate_logs")


def test_a_function_is_asked_about_every_item_once_though_it_fails_in_between(base, tmp_path, monkeypatch):
    runner, _ = base
    (tmp_path / "our_scorer.py").write_text(SCORER)
    monkeypatch.syspath_prepend(str(tmp_path))
    added = adding(runner, "handpicked", "handpicked", "our_scorer:score")
    with pytest.raises(RuntimeError, match="away"):
        added.execute("validate_logs")
    added.execute("validate_logs")
    asked = sys.modules["our_scorer"].asked
    catalog = Catalog.load(added.store.read("catalog"))
    # The batch that it failed on was not answered.
    assert len(asked) == len(catalog) + 1024 and set(asked) == set(catalog.item_ids)
    assert catalog.positive("handpicked").any() and not catalog.positive("handpicked").all()
    (tmp_path / "our_scorer.py").write_text(SCORER.replace("(handpicked)", "(other)"))
    assert "code changed: our_scorer" in added.why("validate_logs")[0]


@pytest.mark.parametrize(("scorer", "what"), [("no_such_module:score", "No module"), ("json:nothing", "no attribute")])
def test_a_function_that_is_not_there_is_refused(base, scorer, what):
    runner, _ = base
    with pytest.raises(ConfigError, match=what):
        adding(runner, "absent", f"absent-{what[:2]}", scorer).execute("validate_logs")


def test_a_run_that_adds_a_domain_has_no_other(base):
    runner, (first, second, _) = base
    with pytest.raises(ConfigError, match="has no other"):
        adding(runner, second, "both", domains=[first, second])


def planned(base: StepRunner, name: str, budget: int, scorer: str = "", **fields):
    conf = {"new_domain": {"name": name, "run": base.run.uri, "scorer": scorer}, **fields}
    config = wanted_config(conf)
    return plan_domain(REGISTRY, config, load_params(PARAMS, config.preset, config.overrides), budget)


def test_a_plan_tells_time_and_labels_of_past_runs_and_what_it_does_not_name_is_as_in_the_run_before(base):
    runner, (first, second, _) = base
    alone = runner.run.local.parent.parent / "alone" / "base"
    shutil.copytree(runner.run.local, alone)
    plan = planned(StepRunner(REGISTRY, str(alone), PARAMS), second, 10_000)
    seen = runner.store.get("retrieval_labels", first).summary["rows"]
    # 500 anchors of the preset, each with 20 results, of which the index finds all.
    assert (plan.items, plan.asked, plan.anchors, plan.seen) == (5_000, 0, 10_000, seen)
    assert plan.seconds["pretrain"] is None and plan.seconds["finetune"] == []
    assert plan.seconds["label_anchors"] == [runner.store.get("retrieval_labels", first).seconds]
    assert plan.runs == 1 and plan.expected == pytest.approx(sum(each[0] for each in plan.seconds.values() if each))
    text = plan_text(plan)
    assert f"read from column attr_{second}: 10,000, budget 10,000" in text
    assert "pretrain               taken as it is" in text and "finetune               no past run says" in text


def test_a_plan_over_the_budget_is_refused_and_says_what_to_lower(base):
    runner, (_, second, _) = base
    plan = planned(runner, second, 14_999, "our:score")
    assert plan.labels == 15_000
    with pytest.raises(ConfigError, match=r"15,000 labels, the budget is 14,999; raise it, or lower label_anchors"):
        plan.expect_within_budget()
    planned(runner, second, 14_999, "our:score", overrides={"label_anchors.anchors": 400}).expect_within_budget()


def test_a_domain_that_the_run_has_is_not_added_again(base):
    runner, (first, _, _) = base
    with pytest.raises(ConfigError, match=f"'{first}' is a domain of"):
        planned(runner, first, 10_000)


def test_a_run_that_is_not_there_is_named(base):
    with pytest.raises(ConfigError, match="new_domain.run: '/nowhere/run' is no run"):
        wanted_config({"new_domain": {"name": "a", "run": "/nowhere/run"}})
