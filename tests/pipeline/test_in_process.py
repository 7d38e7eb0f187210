"""`modit.train` runs all steps of a pipeline in order in this process, skips what is there, and shows how far it is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import modit
from modit import pipeline
from modit.core.errors import ConfigError


@pytest.fixture
def steps(toy, monkeypatch):
    """The toy's steps in place of modit's."""
    monkeypatch.setattr(pipeline, "find_steps", lambda: (toy.registry, toy.folder / "params.yaml"))
    monkeypatch.setattr(pipeline, "_without_versioning", dict)
    return toy


def test_it_makes_what_the_steps_make_one_by_one(steps, capsys):
    steps.run_all(steps.folder / "runs" / "one")
    run = modit.train(steps.folder / "catalogue", run=steps.folder / "runs" / "two", preset="tiny")
    assert steps.digests(run.folder) == steps.digests(steps.folder / "runs" / "one")
    assert run.domains == tuple(steps.runner(run.folder).domains())
    shown = capsys.readouterr().err
    assert "100%" in shown and steps.registry.last_steps[-1] in shown


def test_the_same_call_resumes_and_another_one_needs_another_folder(steps, capsys):
    call = {"run": steps.folder / "run", "preset": "tiny", "progress": False}
    first = modit.train(steps.folder / "catalogue", **call)
    made = {path: path.stat().st_mtime_ns for path in first.folder.rglob("manifest.json")}
    assert modit.train(steps.folder / "catalogue", **call) == first
    assert {path: path.stat().st_mtime_ns for path in first.folder.rglob("manifest.json")} == made
    assert "%|" not in capsys.readouterr().err  # no bar
    with pytest.raises(ConfigError, match="field seed is None, --conf says 5"):
        modit.train(steps.folder / "catalogue", **call, seed=5)


def test_a_table_is_written_beside_the_run(steps):
    items = pd.DataFrame({"item_id": [1, 2], "embedding": [[1.0, 0.0], [0.0, 1.0]], "attr_good": [True, None]})
    steps.folder.joinpath("catalogue").rename(steps.folder / "run-catalogue")  # the toy's steps read another file
    run = modit.train(items, run=steps.folder / "run", preset="tiny", progress=False)
    written = pd.read_parquet(run.folder.parent / "run-catalogue" / "items.parquet")
    assert written["item_id"].tolist() == [1, 2] and written["embedding"][0].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("kind", [list, np.array, lambda row: np.array(row, np.float16), torch.tensor])
def test_embeddings_of_a_table_are_written_as_they_are_and_ids_may_be_its_index(tmp_path, kind):
    given = [kind([1.0, 0.0]), None, kind([0.5, 2.0])]
    items = pd.DataFrame({"embedding": given}, index=pd.Index([7, 8, 9], name="item_id"))
    written = pd.read_parquet(pipeline._address(items, tmp_path / "run") + "/items.parquet")
    assert written["item_id"].tolist() == [7, 8, 9]
    assert [row if row is None else row.tolist() for row in written["embedding"]] == [[1.0, 0.0], None, [0.5, 2.0]]
