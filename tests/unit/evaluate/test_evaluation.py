"""The evaluation of a domain, end to end on a small world with untrained models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modit.core.errors import ArtifactError, ConfigError
from modit.data.splits import HOLDOUTS
from modit.evaluate.bootstrap import MINIMUM_PATTERNS
from modit.evaluate.evaluation import (
    AVERAGE,
    BEST_ORACLE,
    CENTROID_ORACLE,
    Evaluation,
    EvaluationSettings,
    evaluate_domain,
)
from modit.evaluate.generators import Generator, choose_guidance, fan_queries, load_generator, model_queries
from modit.evaluate.rival import ExportedRow
from modit.evaluate.storage import load_evaluation, save_evaluation
from modit.evaluate.world import World, judge, retrieve, validation_joint
from modit.train.checkpoint import save_model
from modit.train.params import SamplerParams

SETTINGS = EvaluationSettings(seed=3, resamples=200)
MODELS = ["Pre. GR", "CPT only", "MO-DiT", "HPPO", "HPPO adaptive"]
CLASSICAL = [AVERAGE, "Global attribute centroid", "Rocchio", "Density step", "Best-scored seeds"]


@pytest.fixture(scope="module")
def evaluation(world: World, generators: list[Generator]) -> Evaluation:
    return evaluate_domain(world, generators, SETTINGS)


def rows_of(evaluation: Evaluation, split: str) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in evaluation.content["splits"][split]["rows"]}


@pytest.mark.parametrize("split", HOLDOUTS)
def test_every_row_is_judged_on_both_splits(evaluation: Evaluation, split: str) -> None:
    assert list(rows_of(evaluation, split)) == [*CLASSICAL, *MODELS, CENTROID_ORACLE, BEST_ORACLE]


@pytest.mark.parametrize("split", HOLDOUTS)
def test_intervals_hold_their_mean(evaluation: Evaluation, split: str) -> None:
    for row in rows_of(evaluation, split).values():
        for figure in ("joint", "same"):
            interval = row[f"{figure}_interval"]
            assert interval["case_low"] <= row[figure] == interval["mean"] <= interval["case_high"]
            if interval["patterns"] >= MINIMUM_PATTERNS:
                assert interval["pattern_low"] <= row[figure] <= interval["pattern_high"]
            else:
                assert interval["pattern_low"] is interval["pattern_high"] is None


@pytest.mark.parametrize("split", HOLDOUTS)
def test_comparisons_are_differences_of_the_rows(evaluation: Evaluation, split: str) -> None:
    rows = rows_of(evaluation, split)
    comparisons = {entry["name"]: entry for entry in evaluation.content["splits"][split]["comparisons"]}
    named = {"HPPO - MO-DiT", "MO-DiT - Pre. GR", "HPPO - best classical", "HPPO - HPPO adaptive"}
    assert named | {f"HPPO - {name}" for name in CLASSICAL} <= set(comparisons)
    for entry in comparisons.values():
        for figure in ("joint", "same"):
            difference = rows[entry["row"]][figure] - rows[entry["against"]][figure]
            assert entry[figure]["mean"] == pytest.approx(difference, abs=1e-12)


@pytest.mark.parametrize("split", HOLDOUTS)
def test_the_headline_classical_row_is_the_best_on_test(evaluation: Evaluation, split: str) -> None:
    rows, content = rows_of(evaluation, split), evaluation.content["splits"][split]
    assert rows[content["best_classical"]["test"]]["joint"] == max(rows[name]["joint"] for name in CLASSICAL)
    best = max(CLASSICAL, key=lambda name: rows[name]["tuned"]["validation_joint"])
    assert content["best_classical"]["validation"] == best


@pytest.mark.parametrize("split", HOLDOUTS)
def test_the_best_of_eight_is_never_below_a_candidate_that_it_holds(evaluation: Evaluation, split: str) -> None:
    best = evaluation.per_case[f"{split}/{BEST_ORACLE}/joint"]
    # Depth 1 of the tail and guidance 2 of HPPO are among the candidates.
    assert (best >= evaluation.per_case[f"{split}/{CENTROID_ORACLE}/joint"]).all()
    assert (best >= evaluation.per_case[f"{split}/HPPO/joint"]).all()


@pytest.mark.parametrize("split", HOLDOUTS)
def test_means_over_the_saved_cases_are_the_table(evaluation: Evaluation, split: str) -> None:
    for name, row in rows_of(evaluation, split).items():
        assert evaluation.per_case[f"{split}/{name}/joint"].mean() == pytest.approx(row["joint"])
        assert evaluation.per_case[f"{split}/{name}/same"].mean() == pytest.approx(row["same"])


@pytest.mark.parametrize("split", HOLDOUTS)
def test_the_order_in_which_seeds_are_given_changes_nothing(evaluation: Evaluation, split: str) -> None:
    curve = evaluation.content["splits"][split]["seed_counts"]
    assert [point["count"] for point in curve] == [1, 3, 5, 8]
    for point in curve:
        assert point["order_difference"] == 0
        assert point["hppo_sorted"] == point["hppo_shuffled"]


@pytest.mark.parametrize("split", HOLDOUTS)
def test_all_seeds_give_the_figures_of_the_table(evaluation: Evaluation, split: str) -> None:
    last = evaluation.content["splits"][split]["seed_counts"][-1]
    rows = rows_of(evaluation, split)
    assert last["hppo_shuffled"]["mean"] == pytest.approx(rows["HPPO"]["joint"])
    assert last["average"]["mean"] == pytest.approx(rows[AVERAGE]["joint"], abs=0.02)


def test_seeds_are_never_counted_as_results(world: World) -> None:
    cases = world.cases["item_holdout"]
    # A query at a seed would find that seed first.
    queries = np.asarray(world.catalog.embeddings[cases.seeds[:, 0]])
    found = retrieve(world, cases, queries)
    assert not (found[:, :, None] == cases.seeds[:, None, :]).any()
    assert (retrieve(world, cases, queries, exclude_seeds=False)[:, 0] == cases.seeds[:, 0]).all()


def test_joint_is_bounded_by_attr_and_same_and_factors_through_cond(world: World) -> None:
    cases = world.cases["pattern_holdout"]
    scores = judge(world, cases, np.asarray(world.catalog.embeddings[cases.tails[:, 0]]))
    assert (scores.joint <= np.minimum(scores.attr, scores.same)).all()
    known = scores.attr > 0
    np.testing.assert_allclose(scores.joint[known], scores.attr[known] * scores.cond[known])
    assert np.isnan(scores.cond[~known]).all()


def test_examples_show_what_was_retrieved_and_escape_nothing(evaluation: Evaluation, world: World) -> None:
    examples = evaluation.content["splits"]["pattern_holdout"]["examples"]
    assert {example["pattern"] for example in examples} == {0, 1}
    for example in examples:
        assert set(example["lists"]) == {AVERAGE, "HPPO"}
        assert all(len(entries) == 10 for entries in example["lists"].values())
        shares = np.mean([entry["attribute"] and entry["pattern"] for entry in example["lists"]["HPPO"]])
        assert example["joint"]["HPPO"] == pytest.approx(shares)


def test_ids_stand_in_where_there_are_no_titles(world: World, generators: list[Generator]) -> None:
    untitled = replace(world, catalog=replace(world.catalog, titles=None))
    example = evaluate_domain(untitled, generators, SETTINGS).content["splits"]["item_holdout"]["examples"][0]
    assert all(entry["title"].startswith("item-") for entry in example["seeds"])


def test_a_split_without_cases_is_skipped_with_its_reason(world: World, generators: list[Generator]) -> None:
    cases = world.cases["pattern_validation"]
    none = replace(cases, seeds=cases.seeds[:0], tails=cases.tails[:0], patterns=cases.patterns[:0])
    bare = replace(world, cases={**world.cases, "pattern_validation": none})
    content = evaluate_domain(bare, generators, SETTINGS).content["splits"]
    assert content["pattern_holdout"] == {
        "cases": 0,
        "reason": "no pattern_validation case: each of its 2 patterns has too few items for a case",
    }
    assert content["item_holdout"]["cases"] == 24


def test_a_missing_stage_is_refused(world: World, generators: list[Generator]) -> None:
    with pytest.raises(ConfigError, match=r"each name once, Pre. GR, CPT only, MO-DiT, HPPO among them"):
        evaluate_domain(world, generators[:3], SETTINGS)


def test_the_same_evaluation_gives_the_same_bytes(
    world: World, generators: list[Generator], evaluation: Evaluation, tmp_path: Path
) -> None:
    for name, value in {"a": evaluation, "b": evaluate_domain(world, generators, SETTINGS)}.items():
        (tmp_path / name).mkdir()
        save_evaluation(tmp_path / name, value, {"rounds": []})
    for file in ("evaluation.json", "per_case.npz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert load_evaluation(tmp_path / "a")["domain"] == "rare"


def test_an_evaluation_of_another_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text(json.dumps({"schema_version": 0}))
    with pytest.raises(ArtifactError, match="schema_version is 0; this version of modit reads 3"):
        load_evaluation(tmp_path)


def test_guidance_is_the_scale_that_validation_prefers(world: World, generators: list[Generator]) -> None:
    scales = (1.0, 2.0, 4.0)
    totals = []
    for scale in scales:
        joints = []
        for split in ("item_validation", "pattern_validation"):
            cases = world.cases[split]
            queries = fan_queries(generators[3].sampler, world.catalog.embeddings, cases.seeds, [scale], 0)[:, 0]
            joints.append(validation_joint(world, cases, queries))
        totals.append(sum(joints))
    assert choose_guidance(world, generators[3].sampler, scales) == scales[int(np.argmax(totals))]


def test_a_saved_model_makes_the_row_that_was_saved(world: World, generators: list[Generator], tmp_path: Path) -> None:
    save_model(tmp_path / "model.pt", generators[3].sampler.model)
    loaded = load_generator("HPPO", tmp_path / "model.pt", world, SamplerParams(steps=2, samples=2, guidance=(2.0,)))
    seeds, embeddings = world.cases["item_holdout"].seeds, world.catalog.embeddings
    expected = model_queries(generators[3], embeddings, seeds, 1)
    np.testing.assert_array_equal(model_queries(loaded, embeddings, seeds, 1), expected)


def test_a_model_from_before_any_domain_is_judged_without_its_axes(
    world: World, generators: list[Generator], tmp_path: Path
) -> None:
    save_model(tmp_path / "model.pt", generators[3].sampler.model)
    params = SamplerParams(steps=2, samples=2, guidance=(2.0,))
    geometry = load_generator("Pre. GR", tmp_path / "model.pt", world, params, knows_domain=False).sampler.geometry
    assert not any(part.any() for part in geometry)


class HppoFile:
    """HPPO as a file would answer."""

    def __init__(self, generator: Generator) -> None:
        self._sampler, self._guidance = generator.sampler, torch.tensor(generator.guidance)

    @torch.no_grad()
    def queries(
        self, seeds: np.ndarray, mask: np.ndarray, noise: np.ndarray, guidance: float | np.ndarray | None = None
    ) -> np.ndarray:
        return self._sampler(*map(torch.from_numpy, (seeds, mask, noise)), self._guidance).numpy()


class BrokenFile:
    """A file that averages the seeds, whatever it was trained for."""

    def queries(
        self, seeds: np.ndarray, mask: np.ndarray, noise: np.ndarray, guidance: float | np.ndarray | None = None
    ) -> np.ndarray:
        mean = (seeds * mask[..., None]).sum(1)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def test_a_file_of_less_precision_is_paired_with_hppo_and_is_no_row(world: World, generators: list[Generator]) -> None:
    hppo = next(generator for generator in generators if generator.name == "HPPO")
    files = {"int8": ExportedRow(HppoFile(hppo), 8), "broken": ExportedRow(BrokenFile(), 8)}
    found = evaluate_domain(world, generators, SETTINGS, None, files)
    for split in HOLDOUTS:
        result, rows = found.content["splits"][split], rows_of(found, split)
        good, broken = result["precisions"]["int8"], result["precisions"]["broken"]
        against = next(entry for entry in result["comparisons"] if entry["name"] == "HPPO - Average pooling")
        for figure in ("joint", "same"):
            assert good[figure] == pytest.approx(rows["HPPO"][figure], abs=1e-6)
            assert good["difference"][figure]["case_low"] == pytest.approx(0, abs=1e-6)
            assert broken[figure] == pytest.approx(rows[AVERAGE][figure])
            assert broken["difference"][figure]["mean"] == pytest.approx(-against[figure]["mean"])
        assert not {"int8", "broken", "HPPO int8"} & set(rows)
        assert found.per_case[f"{split}/HPPO broken/same"].mean() == pytest.approx(broken["same"])
