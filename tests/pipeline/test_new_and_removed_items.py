"""New items are in the index and in the store the night they come; removed ones are in neither the night they go."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from nightlogs import OVERRIDES, runner, vector_of, write_day, write_items

from modit.core.errors import UnknownItemError
from modit.core.runner import StepRunner
from modit.features.lookup import OnlineItems
from modit.features.rows import OfflineRows
from modit.features.store import open_store
from modit.index.item_index import ItemIndex
from tests.unit.features.matrices import item_matrix

pytest.importorskip("feast", reason="needs the extra `features`")

STEPS = ("validate_logs", "assign_patterns", "stage_index", "label_anchors", "fit_metric_predictor", "publish_features")
SMALL = {**OVERRIDES, "assign_patterns.minimum_positives": 8}
ITEMS = [f"i{number}" for number in range(600)]
GONE, STAYED, CAME = ["i3", "i77", "i410"], "i5", ["new a", "new b"]
SECOND = datetime(2026, 1, 6, tzinfo=UTC)


def work_through(run: StepRunner) -> StepRunner:
    """Runs the steps, per domain where they do."""
    for name in STEPS:
        for domain in run.domains() if run.registry.get(name).per_domain else [None]:
            run.execute(name, domain)
    return run


@pytest.fixture(scope="module")
def nights(tmp_path_factory) -> tuple[StepRunner, StepRunner]:
    """Two nights; before the second the catalogue loses three items, which its log still names, and gets two."""
    logs = tmp_path_factory.mktemp("nights") / "logs"
    with pytest.MonkeyPatch.context() as variables:
        for name in ("MODIT_FEATURES", "MODIT_REDIS"):
            variables.delenv(name, raising=False)
        write_items(logs, ITEMS)
        for day in range(1, 6):
            write_day(logs, day, rows=200, items=len(ITEMS))
        write_day(logs, 4, rows=2 * len(GONE), name="named", item_id=GONE * 2)
        first = work_through(runner(logs, "n5", 5, overrides=SMALL))
        write_items(logs, [each for each in ITEMS if each not in GONE] + CAME)
        return first, work_through(runner(logs, "n6", 6, overrides=SMALL))


def found_at(run: StepRunner, item_id: str, k: int = 10) -> list[str]:
    """What the run's staged index returns for an item's own vector."""
    index = ItemIndex.load(run.store.read("index"))
    vector = vector_of(item_id)
    return index.item_ids[index.search(vector[None] / np.linalg.norm(vector), k).rows[0]].tolist()


def store_of(run: StepRunner) -> Path:
    return Path(run.store.get("features").summary["store"])


@pytest.fixture(scope="module")
def items(nights) -> OnlineItems:
    return OnlineItems(open_store(store_of(nights[1])))


@pytest.mark.parametrize("item_id", GONE)
def test_a_removed_item_is_in_no_result_the_same_night(nights, item_id):
    first, second = nights
    assert found_at(first, item_id)[0] == item_id
    assert item_id not in found_at(second, item_id)
    before = found_at(first, item_id, len(ITEMS))
    after = found_at(second, item_id, len(ITEMS) - len(GONE) + len(CAME))
    # All that is left is found, in the same order: nothing else went.
    assert [each for each in after if each not in CAME] == [each for each in before if each not in GONE]


@pytest.mark.parametrize("item_id", CAME)
def test_a_new_item_is_the_first_result_at_its_own_vector(nights, item_id):
    first, second = nights
    assert item_id not in found_at(first, item_id, len(ITEMS))
    assert found_at(second, item_id)[0] == item_id


def test_log_rows_of_a_removed_item_are_set_aside_and_do_not_bring_it_back(nights):
    aside = pq.read_table(nights[1].store.read("quarantine") / "interactions.parquet")
    assert set(GONE) == set(aside["item_id"].to_pylist())
    assert set(aside["rule"].to_pylist()) == {"unknown_item"}


def test_new_items_are_in_the_store_and_removed_ones_no_seeds_the_same_night(nights, items):
    facts = nights[1].store.get("features").summary
    assert facts["as_of"] == SECOND.isoformat()
    assert set(facts["removed"].values()) == {len(GONE)}
    for item_id in (STAYED, *CAME):
        vector = vector_of(item_id)
        assert np.allclose(items.embeddings([item_id])[0], vector / np.linalg.norm(vector), atol=1e-6)
    for item_id in GONE:
        with pytest.raises(UnknownItemError, match=rf"1 of 1 items .*\(never published, or removed\): {item_id}$"):
            items.embeddings([item_id])


def test_a_list_of_seeds_with_removed_items_is_refused_by_their_names(items):
    with pytest.raises(UnknownItemError, match=r"2 of 4 items are not in the feature store .*: i3, i77$"):
        items.embeddings(["i3", STAYED, "i77", CAME[0]])


def test_no_view_says_anything_of_a_removed_item_online(nights, items):
    views = {"item_embedding": "embedding", "item_activity": "interactions", "item_metric_quality": "density"}
    references = [f"{view}:{name}" for view, name in views.items()]
    answer = items.store.get_online_features(references, {"item_id": [*GONE, STAYED, *CAME]}).to_dict()
    for name in views.values():
        assert [value is None for value in answer[name]] == [True] * len(GONE) + [False] * 3


def test_offline_the_first_night_still_has_what_the_second_lacks(nights):
    rows = OfflineRows(store_of(nights[1]))
    night = datetime(2026, 1, 5, tzinfo=UTC)
    assert item_matrix(rows, np.array(GONE), as_of=night).shape == (len(GONE), 8)
    with pytest.raises(UnknownItemError, match=f"{len(GONE)} items have no embedding"):
        item_matrix(rows, np.array(GONE), as_of=SECOND)
    with pytest.raises(UnknownItemError, match=f"{len(CAME)} items have no embedding"):
        item_matrix(rows, np.array(CAME), as_of=night)
