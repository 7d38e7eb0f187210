"""The real steps on a small demo world, up to HPPO: nothing held out reaches a stage that learns."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from components.registry import REGISTRY
from modit.core.errors import ConfigError, InsufficientDataError
from modit.core.runner import StepRunner
from modit.data.catalog import ATTRIBUTE_PREFIX, Catalog
from modit.data.demo import DemoParameters, write_demo_world
from modit.data.splits import TEST, TRAIN, VALIDATION, Split
from modit.data.vectors import unit
from modit.index.item_index import ItemIndex
from modit.metric.anchors import read_labels
from modit.metric.cases import Cases
from modit.metric.patterns import Patterns, PatternViews, shared_items
from modit.metric.predictor import DensityPredictor, DomainGeometry, fit_geometry
from modit.metric.trajectories import Trajectories
from modit.training.checkpoint import load_model
from modit.training.stages import sequence_windows

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
STEPS = (
    "validate_logs",
    "assign_patterns",
    "stage_index",
    "label_anchors",
    "fit_metric_predictor",
    "build_trajectories",
    "pretrain",
    "continue_pretrain",
    "finetune",
    "hppo_round_1",
    "hppo_variants",
)
HPPO_STEPS = ("hppo_round_1", "hppo_variants")
DOMAINS = ("popular", "quality")
# Few steps are enough to see what they read; small patterns of a small world are judged with fewer seeds.
OVERRIDES = {
    "assign_patterns": {"minimum_held_out": 2},
    "hppo": {"cases": 60, "steps": 3, "batch": 8},
    "finetune": {"blends": [1.0, 0.5, 0.0]},
    "hppo_variants": {"names": ["adaptive"]},
    "build_trajectories": {"minimum_case_seeds": 4},
}


class Recorder:
    """Keeps what each step asked the index and trained on."""

    def __init__(self) -> None:
        self.task = ""
        self.searches: dict[str, list[dict[str, np.ndarray | None]]] = defaultdict(list)
        self.windows: dict[str, np.ndarray] = {}

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        search, load = ItemIndex.search, ItemIndex.load

        def watched(index, queries, k, allowed=None, exclude=None):
            result = search(index, queries, k, allowed=allowed, exclude=exclude)
            self.searches[self.task].append({"allowed": allowed, "exclude": exclude, "rows": result.rows})
            return result

        def loaded(*arguments, **options):
            """The canary queries of loading are not the step's."""
            before = list(self.searches[self.task])
            index = load(*arguments, **options)
            self.searches[self.task] = before
            return index

        patch.setattr(ItemIndex, "search", watched)
        patch.setattr(ItemIndex, "load", loaded)
        patch.setattr("components.pretrain.run.sequence_windows", self._windows)

    def _windows(self, *arguments):
        self.windows[self.task] = sequence_windows(*arguments)
        return self.windows[self.task]


class Run:
    """A finished run and what was seen on the way."""

    def __init__(self, runner: StepRunner, recorder: Recorder) -> None:
        self.store, self.recorder = runner.store, recorder
        self.catalog = Catalog.load(self.store.read("catalog", None))
        self.patterns = {d: Patterns.load(self.store.read("patterns", None) / f"{d}.npz") for d in DOMAINS}

    def folder(self, artifact: str, domain: str | None = None) -> Path:
        return self.store.read(artifact, domain)

    def held_out(self, domain: str) -> np.ndarray:
        """Validation and test items of the domain, worked out from the hashes and not from `trainable`."""
        patterns = self.patterns[domain]
        return (patterns.item_split != TRAIN) | (patterns.pattern_split[patterns.labels] != TRAIN)

    def rows(self, ids: list[str]) -> np.ndarray:
        row_of = {name: row for row, name in enumerate(self.catalog.item_ids)}
        return np.array([row_of[name] for name in ids])


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("holdouts") / "world"
    write_demo_world(folder, DemoParameters(items=5_000, domains=2, dimension=32, days=5))
    return folder


def runner_of(run: Path, catalogue: Path, **overrides) -> StepRunner:
    conf = {"catalogue": str(catalogue), "preset": "tiny", "overrides": OVERRIDES | overrides}
    return StepRunner(REGISTRY, str(run), PARAMS, conf)


@pytest.fixture(scope="module")
def run(world) -> Run:
    recorder, runner = Recorder(), runner_of(world.parent / "run", world)
    with pytest.MonkeyPatch.context() as patch:
        recorder.watch(patch)
        for name in STEPS:
            for domain in DOMAINS if REGISTRY.get(name).per_domain else (None,):
                recorder.task = f"{name}.{domain}" if domain else name
                runner.execute(name, domain)
    return Run(runner, recorder)


@pytest.mark.parametrize("domain", DOMAINS)
def test_hold_outs_are_there_to_be_kept_out(run, domain):
    """Without this the tests below could not fail."""
    patterns, held_out = run.patterns[domain], run.held_out(domain)
    assert 0.3 < held_out.mean() < 0.8
    assert np.array_equal(held_out, ~patterns.trainable)
    for split in (VALIDATION, TEST):
        assert (patterns.item_split == split).mean() > 0.1
        assert (patterns.pattern_split == split).sum() >= 2


@pytest.mark.parametrize("domain", DOMAINS)
def test_retrieval_labels_name_no_held_out_item(run, domain):
    labels = read_labels(run.folder("retrieval_labels", domain))
    for column in ("anchor", "item"):
        assert not run.held_out(domain)[labels[column].to_numpy()].any(), column


@pytest.mark.parametrize("domain", DOMAINS)
def test_trajectories_hold_trainable_items_alone(run, domain):
    own, shared = (
        Trajectories.load(run.folder("trajectories", domain) / f"{name}.npz").items for name in ("own", "shared")
    )
    assert len(own) > 50
    assert len(shared) > 50
    assert not run.held_out(domain)[own].any()
    assert not run.held_out(domain)[shared].any()
    for other in DOMAINS:
        assert (run.patterns[other].role[shared] != TEST).all(), "a test item of another domain would train its model"


@pytest.mark.parametrize("domain", DOMAINS)
def test_geometry_is_that_of_the_items_left_when_the_held_out_are_replaced(run, domain):
    folder, held_out = run.folder("predictor", domain), run.held_out(domain)
    noise = unit(np.random.default_rng(0).standard_normal(run.catalog.embeddings.shape))
    embeddings = np.where(held_out[:, None], noise, run.catalog.embeddings)
    positive = run.catalog.positive(domain) ^ held_out
    direction = DensityPredictor.load(folder / "predictor.npz").direction
    expected = fit_geometry(embeddings, positive, ~held_out, direction, seed=0)
    stored = DomainGeometry.load(folder / "geometry.npz")
    for name, value in vars(stored).items():
        assert np.allclose(value, getattr(expected, name), rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("domain", DOMAINS)
def test_trajectories_ascend_within_one_pseudo_pattern(run, domain):
    folder = run.folder("trajectories", domain)
    own, views = Trajectories.load(folder / "own.npz"), PatternViews.load(folder / "views.npz")
    predictor = DensityPredictor.load(run.folder("predictor", domain) / "predictor.npz")
    assert (np.diff(predictor.predict(run.catalog.embeddings)[own.items], axis=1) >= 0).all()
    assert (views.labels[own.views[:, None], own.items] == own.patterns[:, None]).all()


def test_windows_of_pretraining_hold_no_shared_hold_out(run):
    windows = run.recorder.windows["pretrain"]
    seen = windows[windows >= 0]
    assert len(windows) > 100
    assert shared_items(list(run.patterns.values()))[seen].all()
    for domain in DOMAINS:
        assert (run.patterns[domain].role[seen] != TEST).all()
        assert (run.patterns[domain].item_split[seen] == TRAIN).all()


@pytest.mark.parametrize("domain", DOMAINS)
def test_anchors_are_labelled_among_trainable_items(run, domain):
    searches = run.recorder.searches[f"label_anchors.{domain}"]
    assert searches
    for search in searches:
        assert np.array_equal(search["allowed"], run.patterns[domain].trainable)


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("step", HPPO_STEPS)
def test_hppo_is_rewarded_by_trainable_items_and_validated_on_those_that_nobody_learns_from(run, step, domain):
    patterns = run.patterns[domain]
    rewards, validations = [], []
    for search in run.recorder.searches[f"{step}.{domain}"]:
        found = search["rows"][search["rows"] >= 0]
        assert search["allowed"] is not None
        assert search["allowed"][found].all()
        if np.array_equal(search["allowed"], patterns.trainable):
            rewards.append(found)
        elif np.array_equal(search["allowed"], patterns.role == VALIDATION):
            validations.append(found)
        else:
            pytest.fail("a search sees other items than those that it may")
    assert rewards
    assert validations
    assert not run.held_out(domain)[np.concatenate(rewards)].any()
    assert (patterns.role[np.concatenate(validations)] == VALIDATION).all()


@pytest.mark.parametrize("domain", DOMAINS)
def test_finetuning_chooses_its_weights_by_searches_among_validation_items(run, domain):
    searches = run.recorder.searches[f"finetune.{domain}"]
    assert searches
    for search in searches:
        assert np.array_equal(search["allowed"], run.patterns[domain].role == VALIDATION)


@pytest.mark.parametrize("domain", DOMAINS)
def test_finetuned_weights_are_those_that_validation_prefers_between_stage_1_and_stage_2(run, domain):
    folder = run.folder("finetuned", domain)
    blends = json.loads((folder / "blends.json").read_text())
    assert {blend["share"] for blend in blends} == {0.0, 0.5, 1.0}
    best = max(blends, key=lambda blend: blend["joint"])["share"]
    before = load_model(run.folder("continued") / "model.pt").state_dict()
    chosen = load_model(folder / "model.pt").state_dict()
    assert all(torch.equal(before[name], value) for name, value in chosen.items()) == (best == 0.0)


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("step", HPPO_STEPS)
def test_no_search_returns_the_seeds_themselves(run, step, domain):
    for search in run.recorder.searches[f"{step}.{domain}"]:
        for rows, seeds in zip(search["rows"], search["exclude"], strict=True):
            assert not set(rows[rows >= 0]) & set(seeds[seeds >= 0])


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("split", Split)
def test_cases_are_in_the_split_that_they_are_named_after(run, domain, split):
    patterns = run.patterns[domain]
    cases = Cases.load(run.folder("cases", domain) / f"{split}.npz")
    rows = np.concatenate([cases.seeds[cases.seeds >= 0], cases.tails[cases.tails >= 0]])
    kind, role = split.split("_")
    wanted = TEST if role == "holdout" else VALIDATION
    assert len(cases) > 0
    assert (patterns.role[rows] == wanted).all()
    assert (patterns.pattern_split[cases.patterns] == (wanted if kind == "pattern" else TRAIN)).all()
    if kind == "item":
        assert (patterns.item_split[rows] == wanted).all()
    for row, pattern in zip(cases.seeds, cases.patterns, strict=True):
        assert (patterns.labels[row[row >= 0]] == pattern).all()


def with_verdicts(world: Path, folder: Path, positives: dict[str, int]) -> Path:
    """The same catalogue, but a domain has that many positives."""
    for path in world.rglob("*.parquet"):
        target = folder / path.relative_to(world)
        target.parent.mkdir(parents=True, exist_ok=True)
        table = pq.read_table(path, partitioning=None)
        for domain, count in positives.items() if path.name == "items.parquet" else ():
            place = table.column_names.index(ATTRIBUTE_PREFIX + domain)
            table = table.set_column(place, ATTRIBUTE_PREFIX + domain, [(np.arange(len(table)) < count).tolist()])
        pq.write_table(table, target)
    return folder


def test_domain_with_too_few_positives_is_skipped_by_name_and_the_other_goes_on(world, tmp_path):
    runner = runner_of(tmp_path / "run", with_verdicts(world, tmp_path / "world", {"quality": 20}))
    runner.execute("validate_logs")
    assert runner.execute("assign_patterns").domains == ["popular"]
    decided = json.loads((runner.store.read("patterns", None) / "domains.json").read_text())
    assert decided["domains"] == ["popular"]
    assert decided["skipped"] == {
        "quality": "20 positive items, at least 192 are needed for 8 patterns "
        "(assign_patterns.minimum times assign_patterns.minimum_positives)"
    }
    with pytest.raises(ConfigError, match="'quality' is not eligible in this run.*20 positive items"):
        runner.execute("label_anchors", "quality")


def test_domain_that_the_catalogue_does_not_have_is_refused_by_name(world, tmp_path):
    conf = {"catalogue": str(world), "preset": "tiny", "domains": ["popular", "spicy"]}
    runner = StepRunner(REGISTRY, str(tmp_path / "run"), PARAMS, conf)
    runner.execute("validate_logs")
    with pytest.raises(ConfigError, match="domains: no attribute spicy; allowed: all, or popular, quality"):
        runner.execute("assign_patterns")


def test_catalogue_in_which_no_domain_fits_is_refused_and_publishes_nothing(world, tmp_path):
    few = {domain: 20 for domain in DOMAINS}
    runner = runner_of(tmp_path / "run", with_verdicts(world, tmp_path / "world", few))
    runner.execute("validate_logs")
    with pytest.raises(InsufficientDataError, match="popular.*20 positive items.*quality.*20 positive items"):
        runner.execute("assign_patterns")
    assert runner.store.find("patterns") is None


def test_interactions_too_short_to_learn_from_are_refused(run, world, tmp_path):
    runner = runner_of(world.parent / "run", world)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(InsufficientDataError, match="no sequence keeps 4 items"):
        patch.setattr("components.pretrain.run.sequence_windows", lambda *a: np.zeros((0, 12), np.int32))
        runner.execute("pretrain", force=True)
