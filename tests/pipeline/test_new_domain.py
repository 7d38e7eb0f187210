"""A domain that is added to a run: what it takes comes over byte for byte, what was there stays as it was."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from components.registry import REGISTRY
from modit.cli import main
from modit.core.artifacts import MANIFEST, Manifest, digest_of_files, list_files
from modit.core.errors import ConfigError, ContractError
from modit.core.run_config import NewDomain, wanted_config
from modit.core.runner import StepRunner
from modit.core.storage import Storage
from modit.data.catalog import Catalog
from modit.data.demo import DemoParameters, write_demo_world
from modit.export.sampler import export_vote
from modit.inference.vote_file import VOTE_FILE
from modit.model.readout import Move, readout_json
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
    for step in REGISTRY.of("retrain").steps:
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


def adding(
    base: StepRunner, name: str, run: str, scorer: str = "", label_budget: int | None = None, **fields
) -> StepRunner:
    new = {"name": name, "run": base.run.uri, "scorer": scorer, "label_budget": label_budget}
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


ALWAYS = """
asked = []

def score(items):
    asked.extend(items["item_id"].to_pylist())
    return [title.endswith("(handpicked)") for title in items["title"].to_pylist()]
"""


def test_a_function_is_asked_about_no_more_items_than_the_budget_and_a_larger_one_adds_to_them(
    base, tmp_path, monkeypatch
):
    runner, _ = base
    (tmp_path / "frugal_scorer.py").write_text(ALWAYS)
    monkeypatch.syspath_prepend(str(tmp_path))
    asked = {}
    for budget in (1_500, 3_000):
        added = adding(runner, "frugal", f"frugal-{budget}", "frugal_scorer:score", label_budget=budget)
        added.execute("validate_logs")
        catalog = Catalog.load(added.store.read("catalog"))
        asked[budget] = set(sys.modules["frugal_scorer"].asked)
        sys.modules["frugal_scorer"].asked.clear()
        assert set(catalog.item_ids[catalog.scored("frugal")]) == asked[budget] and len(asked[budget]) == budget
    assert asked[1_500] < asked[3_000]


def test_a_file_of_some_verdicts_may_be_the_scorer_and_the_rest_is_not_scored(base, tmp_path):
    runner, (_, second, _) = base
    listed = pq.read_table(Path(runner.config.catalogue) / "items.parquet", columns=["item_id", f"attr_{second}"])
    pyarrow.csv.write_csv(listed.slice(0, 3_000), tmp_path / "verdicts.csv")
    added = adding(runner, second, "by-file", str(tmp_path / "verdicts.csv"))
    statuses = run_steps(added, SHARED_STEPS)
    assert (statuses["validate_logs"], statuses["build_trajectories"]) == ("ran", "ran")
    catalog = Catalog.load(added.store.read("catalog"))
    said = dict(zip(*(listed.slice(0, 3_000)[name].to_pylist() for name in listed.column_names), strict=True))
    scored = catalog.scored(second)
    assert set(catalog.item_ids[scored]) == set(said)
    assert [said[item] for item in catalog.item_ids[scored]] == catalog.positive(second)[scored].tolist()
    assert set(run_steps(added, SHARED_STEPS).values()) == {"cached"}
    pyarrow.csv.write_csv(listed.slice(0, 2_999), tmp_path / "verdicts.csv")
    assert "file of verdicts changed" in added.why("validate_logs")[0]


def test_a_file_of_verdicts_that_is_not_there_is_refused(base, tmp_path):
    runner, (_, second, _) = base
    with pytest.raises(ConfigError, match=r"gone\.csv' cannot be read"):
        adding(runner, second, "gone", str(tmp_path / "gone.csv")).execute("validate_logs")


@pytest.mark.parametrize(("scorer", "what"), [("no_such_module:score", "No module"), ("json:nothing", "no attribute")])
def test_a_function_that_is_not_there_is_refused(base, scorer, what):
    runner, _ = base
    with pytest.raises(ConfigError, match=what):
        adding(runner, "absent", f"absent-{what[:2]}", scorer).execute("validate_logs")


def test_a_run_that_adds_a_domain_has_no_other(base):
    runner, (first, second, _) = base
    with pytest.raises(ConfigError, match="has no other"):
        adding(runner, second, "both", domains=[first, second])


def planned(base: StepRunner, name: str, budget: int | None, scorer: str = "", **fields):
    new = {"name": name, "run": base.run.uri, "scorer": scorer, "label_budget": budget}
    config = wanted_config({"new_domain": new, **fields})
    return plan_domain(REGISTRY, config, load_params(PARAMS, config.preset, config.overrides))


def test_a_plan_tells_time_and_labels_of_past_runs_and_what_it_does_not_name_is_as_in_the_run_before(base):
    runner, (first, second, _) = base
    alone = runner.run.local.parent.parent / "alone" / "base"
    shutil.copytree(runner.run.local, alone)
    plan = planned(StepRunner(REGISTRY, str(alone), PARAMS), second, 10_000)
    seen = runner.store.get("retrieval_labels", first).summary["rows"]
    # 500 anchors of the preset, each with 20 results, of which the index finds all.
    assert (plan.items, plan.labels, plan.looked_up, plan.seen) == (5_000, 0, 10_000, seen)
    assert plan.seconds["pretrain"] is None and plan.seconds["finetune"] == []
    assert plan.seconds["label_anchors"] == [runner.store.get("retrieval_labels", first).seconds]
    assert plan.runs == 1 and plan.expected == pytest.approx(sum(each[0] for each in plan.seconds.values() if each))
    text = plan_text(plan)
    assert f"none asked, read from column attr_{second}; budget 10,000, 10,000 left" in text
    assert "pretrain               taken as it is" in text and "finetune               no past run says" in text


def test_a_function_is_planned_to_be_asked_about_the_budget_and_never_about_more_than_the_catalogue(base):
    runner, (_, second, _) = base
    assert [planned(runner, second, budget, "our:score").labels for budget in (None, 6_000, 4_999)] == [
        5_000,
        5_000,
        4_999,
    ]
    plan = planned(runner, second, 1_200, "our:score")
    plan.expect_within_budget()
    assert "1,200 asked of our:score; budget 1,200, 0 left" in plan_text(plan)


def test_a_plan_for_fewer_verdicts_than_training_needs_is_refused(base):
    runner, (_, second, _) = base
    plan = planned(runner, second, 100, "our:score")
    with pytest.raises(ConfigError, match=r"100 verdicts will be asked for, training needs at least \d+ positive"):
        plan.expect_within_budget()


def test_the_verdicts_of_a_file_count_and_a_file_with_too_few_or_more_than_the_budget_is_refused(base, tmp_path):
    runner, (_, second, _) = base
    listed = pq.read_table(Path(runner.config.catalogue) / "items.parquet", columns=["item_id", f"attr_{second}"])
    file = tmp_path / "verdicts.csv"
    pyarrow.csv.write_csv(listed, file)
    plan = planned(runner, second, 6_000, str(file))
    positives = sum(listed[f"attr_{second}"].to_pylist())
    plan.expect_within_budget()
    assert (plan.labels, plan.positives) == (5_000, positives)
    assert f"5,000 in {file}, {positives:,} of them positive; budget 6,000, 1,000 left" in plan_text(plan)
    with pytest.raises(ConfigError, match=r"5,000 verdicts in .*verdicts\.csv, the budget is 4,999"):
        planned(runner, second, 4_999, str(file)).expect_within_budget()
    pyarrow.csv.write_csv(listed.slice(0, 50), file)
    with pytest.raises(ConfigError, match=r"training needs at least .*`modit score-next` lists more"):
        planned(runner, second, None, str(file)).expect_within_budget()
    file.write_text("item_id,verdict\nnobody,1\n")
    with pytest.raises(ContractError, match=r"row 0 \(from 0\), column 'item_id': is 'nobody'"):
        planned(runner, second, None, str(file))


def test_a_list_of_items_to_score_is_filled_in_and_becomes_the_verdicts_so_far(base, tmp_path, capsys):
    runner, (first, second, _) = base
    catalog = Catalog.load(runner.store.read("catalog"))
    listed = pq.read_table(Path(runner.config.catalogue) / "items.parquet", columns=["item_id", f"attr_{second}"])
    verdict = dict(zip(*(listed[name].to_pylist() for name in listed.column_names), strict=True))
    ask, known = tmp_path / "ask.csv", tmp_path / "known.csv"
    order = ["score-next", "--run", runner.run.uri, "--out", str(ask)]
    assert main([*order, "--count", "60", "--label-budget", "100"]) == 0
    assert (
        "60 items to score, beside 0 scored (0 positive); the budget of 100 then has 40 left" in capsys.readouterr().out
    )
    table = pyarrow.csv.read_csv(ask)
    assert table.column_names == ["item_id", "title", "verdict"] and table["verdict"].null_count == 60
    filled = [int(verdict[item]) for item in table["item_id"].to_pylist()]
    pyarrow.csv.write_csv(table.set_column(2, "verdict", pa.array(filled)), known)
    more = [*order, "--verdicts", str(known), "--label-budget", "100"]
    assert main([*more, "--count", "41"]) == 1 and "allowed: 1 to 40" in capsys.readouterr().err
    assert main([*more, "--count", "40"]) == 0
    again = pyarrow.csv.read_csv(ask)["item_id"].to_pylist()
    assert len(again) == 40 and not set(again) & set(table["item_id"].to_pylist())
    assert main([*order, "--domain", first, "--count", "1"]) == 1 and "5,000 are scored" in capsys.readouterr().err
    assert main([*order, "--domain", "absent", "--count", "1"]) == 1 and f"allowed: {first}" in capsys.readouterr().err
    assert set(again) <= set(catalog.item_ids)


def test_a_domain_that_has_only_verdicts_is_answered_from_the_runs_folder(base, tmp_path, capsys):
    runner, (first, second, _) = base
    run = tmp_path / "copy"
    shutil.copytree(runner.run.local, run)
    catalog = Catalog.load(run / "catalog")
    listed = pq.read_table(Path(runner.config.catalogue) / "items.parquet", columns=["item_id", f"attr_{second}"])
    verdict = dict(zip(*(listed[name].to_pylist() for name in listed.column_names), strict=True))
    pyarrow.csv.write_csv(listed.slice(0, 1_000), tmp_path / "known.csv")
    negatives = [item for item in catalog.item_ids[:200].tolist() if not verdict[item]][:3]
    order = ["query", "--run", str(run), "--seeds", ",".join(negatives), "-k", "10"]
    known = ["--domain", second, "--verdicts", str(tmp_path / "known.csv")]
    assert main([*order, *known]) == 1 and "none of its domains has a readout yet" in capsys.readouterr().err
    voted = readout_json(0.0, [Move("mean", "attribute", 1.0), Move("mean", "both", 0.6, "30", 0.6)], [0.5, 0.5])
    publish(run, "readout", first, lambda folder: (folder / "readout.json").write_text(json.dumps(voted)))
    assert main([*order, *known]) == 1 and "has a sampler yet" in capsys.readouterr().err
    publish(run, "sampler", first, lambda folder: export_vote(catalog.dimension, 32, folder / VOTE_FILE))
    assert main([*order, *known, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found) == 10 and not {each["item_id"] for each in found} & set(negatives)
    given = set(listed.slice(0, 1_000)["item_id"].to_pylist())
    for each in found:
        assert each["verdict"] == (verdict[each["item_id"]] if each["item_id"] in given else None)
        assert 0 < each["probability"] < 1 and each["title"]
    assert sum(verdict[each["item_id"]] for each in found) / 10 > sum(verdict.values()) / len(verdict)
    assert main([*order, *known]) == 0 and found[0]["item_id"] in capsys.readouterr().out.splitlines()[0]
    unknown = ["query", "--run", str(run), "--seeds", "nobody", *known]
    assert main(unknown) == 1 and "'nobody' is not in the catalogue" in capsys.readouterr().err
    assert main(order) == 1 and "--verdicts is missing" in capsys.readouterr().err


def test_the_evaluation_reads_the_votes_of_the_run_that_it_starts_from_and_is_made_anew_when_they_change(
    base, tmp_path
):
    runner, (first, second, _) = base
    run = tmp_path / "there"
    shutil.copytree(runner.run.local, run)
    new = NewDomain(name=second, run=str(run))
    step, store = REGISTRY.get("evaluate"), runner.store
    assert new.artifacts_there(REGISTRY, step, store) == {}
    digests = []
    for share in (0.0, 0.5):
        voted = readout_json(share, [Move("mean", "attribute", 1.0)], [1.0])
        shutil.rmtree(run / "readout", ignore_errors=True)
        publish(run, "readout", first, lambda folder, v=voted: (folder / "readout.json").write_text(json.dumps(v)))
        ((place, made),) = new.artifacts_there(REGISTRY, step, store).items()
        assert place == ("readout", first)
        digests.append(made.digest)
    assert digests[0] != digests[1]
    assert new.artifacts_there(REGISTRY, REGISTRY.get("finetune"), store) == {}


def publish(run: Path, name: str, domain: str, write: Callable[[Path], object]) -> None:
    folder = run / name / domain
    folder.mkdir(parents=True)
    write(folder)
    files = list_files(folder)
    manifest = Manifest(name, domain, files, digest_of_files(files), {}, "test", "key", {})
    Storage(str(folder)).write_json(MANIFEST, asdict(manifest))


def test_a_domain_that_the_run_has_is_not_added_again(base):
    runner, (first, _, _) = base
    with pytest.raises(ConfigError, match=f"'{first}' is a domain of"):
        planned(runner, first, 10_000)


def test_a_run_that_is_not_there_is_named(base):
    with pytest.raises(ConfigError, match="new_domain.run: '/nowhere/run' is no run"):
        wanted_config({"new_domain": {"name": "a", "run": "/nowhere/run"}})
