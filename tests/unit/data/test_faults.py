"""Every kind of bad input is caught by its rule; no good row is lost with it, and no bad row is kept."""

import os
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from modit.data.demo import DemoParameters, write_demo_world
from modit.data.params import ValidationParams
from modit.data.rules import RULES
from tests.faults.kinds import all_faults
from tests.faults.trial import Trial

DATA = Path(os.environ.get("MODIT_DATA", Path(__file__).parents[3].parent / "shared" / "data"))
PARAMS = ValidationParams(embedding_norm_min=0.5, embedding_norm_max=2.0)
FAULTS = all_faults("popular")


def _name(fault):
    return f"{fault.table}: {fault.name}" + (f" ({fault.column})" if fault.column else "")


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    world = tmp_path_factory.mktemp("demo") / "world"
    write_demo_world(world, DemoParameters(items=5_000, days=16, dimension=16, sessions_per_item=1.0))
    interactions = pq.read_table(world / "interactions", partitioning=None)
    return Trial(pq.read_table(world / "items.parquet"), interactions, date(2026, 1, 1), 8, PARAMS)


# the demo world knows no night, so that its clock cannot be seen to be wrong
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if "clock is nine" not in fault.name], ids=_name)
def test_a_fault_is_caught_by_its_rule_and_nothing_else_is_touched(fault, trial):
    result = trial.run(fault)
    assert result.is_right, result


def test_there_is_a_fault_for_every_rule_and_every_column_of_the_logs():
    # how far these lie is a matter of degree: they have tests of their own
    degrees = {"time_order", "drift_distance", "interactions_not_empty"}
    # of the mapping file, which test_forms.py breaks in every way; of items without embeddings: test_without_domains.py
    beside_the_tables = {"mapping_valid", "text_present"}
    # of queries and their labels: test_judged_queries.py
    beside_the_tables |= {
        name for name, rule in RULES.items() if rule.ranges and set(rule.ranges) <= {"queries", "labels"}
    }
    assert {fault.rule for fault in FAULTS} >= set(RULES) - degrees - beside_the_tables
    hit = {(fault.table, fault.column) for fault in FAULTS}
    for column in ("sequence_id", "item_id", "timestamp"):
        assert ("interactions", column) in hit
    for column in ("request_id", "timestamp", "domain", "anchor_item_id", "rank", "item_id", "label"):
        assert ("retrieval_labels", column) in hit


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real catalogues in {DATA} (set MODIT_DATA to their folder)")
def test_faults_in_real_logs_are_caught_too():
    items, interactions = (pq.read_table(DATA / "retail" / f"{name}.parquet") for name in ("items", "interactions"))
    trial = Trial(items, interactions, date(2011, 10, 1), 14, PARAMS)
    chosen = [
        fault for number, fault in enumerate(all_faults("cheap")) if number % 6 == 5 or "clock is nine" in fault.name
    ]
    results = [trial.run(fault) for fault in chosen]
    assert [result for result in results if not result.is_right] == []
