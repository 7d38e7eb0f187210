"""The real steps on a world in which half of the verdicts are missing, one domain is all true and nobody interacts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.registry import REGISTRY
from modit.core.runner import StepRunner
from modit.data.catalog import NOT_SCORED, Catalog
from modit.data.demo import DemoParameters, write_demo_world
from modit.data.splits import VALIDATION, VALIDATIONS, Split
from modit.index.item_index import ItemIndex
from modit.metric.anchors import read_labels
from modit.metric.cases import Cases
from modit.metric.list_metrics import visible_depth
from modit.metric.patterns import Patterns
from modit.metric.trajectories import Trajectories

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
SHARED = ("validate_logs", "assign_patterns", "stage_index", "pretrain")
OWN = ("label_anchors", "fit_metric_predictor", "build_trajectories", "continue_pretrain", "finetune", "hppo_round_1")
ITEMS = 8_000
DOMAIN, ALL_TRUE = "quality", "popular"
OVERRIDES = {"hppo": {"cases": 30, "steps": 3, "batch": 8}, "build_trajectories": {"minimum_case_seeds": 2}}


def write_world(folder: Path) -> None:
    """Half of the items have no verdict in one domain, all are true in the other; there are no interactions."""
    write_demo_world(folder / "whole", DemoParameters(items=ITEMS, domains=2, days=2))
    items = pq.read_table(folder / "whole" / "items.parquet")
    hidden = np.random.default_rng(0).random(len(items)) < 0.5
    verdicts = pa.array(items[f"attr_{DOMAIN}"].to_numpy(), mask=hidden)
    items = items.set_column(items.column_names.index(f"attr_{DOMAIN}"), f"attr_{DOMAIN}", verdicts)
    true = pa.array(np.ones(len(items), bool))
    items = items.set_column(items.column_names.index(f"attr_{ALL_TRUE}"), f"attr_{ALL_TRUE}", true)
    (folder / "half").mkdir()
    pq.write_table(items, folder / "half" / "items.parquet")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run up to round 1, and what `finetune` and the round allowed as results."""
    folder = tmp_path_factory.mktemp("unscored")
    write_world(folder)
    conf = {"catalogue": str(folder / "half"), "preset": "tiny", "overrides": OVERRIDES}
    runner = StepRunner(REGISTRY, str(folder / "run"), PARAMS, conf)
    searches, search = [], ItemIndex.search

    def watched(index, queries, k, allowed=None, exclude=None):
        searches.append((allowed, k))
        return search(index, queries, k, allowed=allowed, exclude=exclude)

    for step in SHARED:
        runner.execute(step)
    for step in OWN:
        with pytest.MonkeyPatch.context() as patch:
            if step in ("finetune", "hppo_round_1"):
                patch.setattr(ItemIndex, "search", watched)
            runner.execute(step, None if step == "continue_pretrain" else DOMAIN)
    return runner, searches


@pytest.fixture(scope="module")
def catalog(run) -> Catalog:
    return Catalog.load(run[0].store.read("catalog"))


def test_the_catalogue_and_the_index_hold_all_items(run, catalog):
    assert len(catalog) == len(ItemIndex.load(run[0].store.read("index"))) == ITEMS
    assert 0.47 * ITEMS < (catalog.verdicts[DOMAIN] == NOT_SCORED).sum() < 0.53 * ITEMS


def test_a_domain_that_all_items_satisfy_is_skipped_by_name_and_the_other_goes_on(run):
    decided = json.loads((run[0].store.read("patterns") / "domains.json").read_text())
    assert decided["domains"] == [DOMAIN]
    reason = decided["skipped"][ALL_TRUE]
    assert reason.startswith("0 negative items beside 8000 positive ones, at least 100 are needed")
    assert "assign_patterns.minimum_negatives" in reason


def test_without_interactions_pretraining_says_that_its_sequences_come_from_the_patterns(run):
    summary = run[0].store.get("pretrained").summary
    assert summary["sequences_from"] == "patterns" and summary["sequences"] == pytest.approx(200, rel=0.1)


def test_labels_trajectories_and_cases_hold_scored_items_alone(run, catalog):
    store, scored = run[0].store, catalog.scored(DOMAIN)
    assert scored[read_labels(store.read("retrieval_labels", DOMAIN))["item"].to_numpy()].all()
    for name in ("own", "shared"):
        items = Trajectories.load(store.read("trajectories", DOMAIN) / f"{name}.npz").items
        assert len(items) > 50 and scored[items].all()
    for split in Split:
        cases = Cases.load(store.read("cases", DOMAIN) / f"{split}.npz")
        rows = np.concatenate([cases.seeds[cases.seeds >= 0], cases.tails[cases.tails >= 0]])
        assert len(cases) > 0 and scored[rows].all(), split


def test_validation_and_labels_of_candidates_see_scored_items_alone_in_lists_of_their_share(run, catalog):
    patterns, scored = Patterns.load(run[0].store.read("patterns") / f"{DOMAIN}.npz"), catalog.scored(DOMAIN)
    wanted = {
        "validation": (patterns.role == VALIDATION) & scored,
        "candidates": patterns.trainable & scored,
    }
    seen = {name: [k for allowed, k in run[1] if np.array_equal(allowed, mask)] for name, mask in wanted.items()}
    # the index also asks itself its canary queries when it is loaded: those allow everything
    assert len(seen["validation"]) + len(seen["candidates"]) == len([1 for allowed, _ in run[1] if allowed is not None])
    for name, mask in wanted.items():
        assert set(seen[name]) == {visible_depth(20, len(catalog), int(mask.sum()))}, name


def test_the_rounds_end_with_a_score_on_both_validation_splits(run):
    rounds = json.loads((run[0].store.read("hppo_1", DOMAIN) / "rounds.json").read_text())["rounds"]
    assert len(rounds) == 2
    for split in VALIDATIONS:
        assert 0 < rounds[0][f"{split.kind}_joint"] <= 1
