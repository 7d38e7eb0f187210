"""A night that stages its catalogue into an engine labels from it, and gets the labels of the run's own index."""

from __future__ import annotations

import lancedb
import pyarrow.parquet as pq
from nightlogs import OVERRIDES, runner, write_day, write_items

from modit.core.runner import StepRunner
from modit.index.engines.engine_index import EngineIndex
from modit.index.engines.staging import StagedCollection

STEPS = ("validate_logs", "assign_patterns", "stage_index", "label_anchors")
ITEMS = [f"i{number}" for number in range(600)]
SMALL = {**OVERRIDES, "assign_patterns.minimum_positives": 8}


def labels_of(run: StepRunner) -> dict[str, object]:
    """Labels by domain and file, after the steps."""
    for name in STEPS:
        for domain in run.domains() if run.registry.get(name).per_domain else [None]:
            run.execute(name, domain)
    folders = [run.store.read("retrieval_labels", domain) for domain in run.domains()]
    return {
        f"{path.parent.name}/{path.name}": pq.read_table(path) for each in folders for path in each.glob("*.parquet")
    }


def test_labels_from_a_generation_are_those_of_the_runs_index(tmp_path, monkeypatch):
    logs, folder, searched = tmp_path / "logs", tmp_path / "engine", []
    write_items(logs, ITEMS)
    for day in range(1, 6):
        write_day(logs, day, rows=200, items=len(ITEMS))
    wanted = labels_of(runner(logs, "plain", 5, overrides=SMALL))
    search = EngineIndex.search
    monkeypatch.setattr(EngineIndex, "search", lambda *given, **named: searched.append(1) or search(*given, **named))
    engine = {"stage_index.engine": f"lance://{folder}?collection=shop"}
    run = runner(logs, "staged", 5, overrides=SMALL | engine)
    found = labels_of(run)
    assert searched and found.keys() == wanted.keys() and all(found[name].equals(wanted[name]) for name in wanted)
    staged = StagedCollection.load(run.store.read("index"))
    assert (staged.items, staged.recall) == (600, 1.0)
    assert lancedb.connect(folder).list_tables().tables == [staged.place.collection]
