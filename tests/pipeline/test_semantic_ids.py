"""The real steps of the pipeline `semantic_ids` on a small demo world."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.registry import REGISTRY
from modit.core.errors import InsufficientDataError
from modit.core.runner import StepRunner
from modit.data.catalog import Catalog
from modit.data.demo import DemoParameters, write_demo_world
from modit.data.sessions import Sessions, training_counts
from modit.semantic_ids.item_codes import ItemCodes
from modit.semantic_ids.quantizers import Quantizer, popular_items
from modit.semantic_ids.retriever import CODES_FILE, QUANTIZER_FILE, load_retriever

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
PIPELINE = REGISTRY.of("semantic_ids")


def runner(run: Path, catalogue: Path, **overrides) -> StepRunner:
    conf = {"catalogue": str(catalogue), "preset": "tiny", "pipeline": "semantic_ids", "overrides": overrides}
    return StepRunner(REGISTRY, str(run), PARAMS, conf)


def all_steps(run: Path, catalogue: Path, **overrides) -> dict[str, Path]:
    """Runs the pipeline; the folder of each artifact."""
    steps = runner(run, catalogue, **overrides)
    for step in PIPELINE.steps:
        steps.execute(step.name)
    return {name: run / name for name in PIPELINE.writer}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("semantic_ids") / "catalogue"
    write_demo_world(folder, DemoParameters(items=1_000, domains=1))
    return folder


@pytest.fixture(scope="module")
def made(world) -> dict[str, Path]:
    return all_steps(world.parent / "a", world)


def test_the_pipeline_needs_no_domain():
    assert [step.name for step in PIPELINE.steps if step.per_domain or step.decides_domains] == []


def test_every_item_has_an_id_and_a_session_gets_items(made):
    catalog = Catalog.load(made["catalog"])
    codes = ItemCodes.load(made["item_codes"] / CODES_FILE)
    assert len(codes) == len(catalog)
    sessions = Sessions(catalog.sequences)
    counts = training_counts(sessions.training, len(catalog))
    assert np.array_equal(codes.counts, counts)
    found = load_retriever(made["next_item_retriever"], made["item_codes"]).recommend([sessions.training[0]], 10)[0]
    assert len(set(found.rows.tolist())) == len(found.rows) == 10
    assert json.loads((made["next_item_retriever"] / "curve.json").read_text())[-1]["step"] == 20


def test_the_quantiser_of_the_artifact_gives_items_their_ids_again_and_new_ones_one(made):
    catalog = Catalog.load(made["catalog"])
    codes = ItemCodes.load(made["item_codes"] / CODES_FILE)
    quantizer = Quantizer.load(made["item_codes"] / QUANTIZER_FILE)
    head = popular_items(codes.counts, 0.8)
    assert np.array_equal(quantizer.assign(catalog.embeddings, head), codes.codes)
    new = catalog.embeddings[:2] + 0.01
    more = codes.extended(quantizer.assign(new), np.zeros(2))
    assert (more.trie.find(more.tokens[-2:]) >= 0).all()


def test_one_seed_gives_the_same_bytes(made, world, tmp_path, monkeypatch):
    monkeypatch.setenv("MODIT_CACHE", str(tmp_path / "cache"))
    again = all_steps(tmp_path / "b", world, runner={"cross_run_cache": False})
    for name in ("item_codes", "next_item_retriever"):
        for file in sorted(made[name].glob("*.[np]*")):
            assert (again[name] / file.name).read_bytes() == file.read_bytes(), file.name


def test_test_and_validation_items_change_nothing_that_is_learned(made, world, tmp_path):
    """The last two items of every session are others: IDs and weights stay, to the byte."""
    changed = tmp_path / "catalogue"
    shutil.copytree(world, changed)
    changed_catalog = Catalog.load(made["catalog"])
    files = sorted(changed.glob("interactions*"))
    assert files, "the demo world has interactions"
    sequences = changed_catalog.sequences
    items = np.array(sequences.items)
    for end, start in zip(sequences.offsets[1:], sequences.offsets[:-1], strict=True):
        items[max(start, end - 2) : end] = 0
    folder = tmp_path / "catalog"
    shutil.copytree(made["catalog"], folder)
    np.save(folder / "sequence_items.npy", items)
    before, after = (Sessions(Catalog.load(each).sequences).training for each in (made["catalog"], folder))
    assert np.array_equal(before.items, after.items)


def test_a_catalogue_without_long_sessions_is_refused(world, tmp_path):
    short = tmp_path / "catalogue"
    shutil.copytree(world, short)
    file = next(short.glob("interactions*"))
    table = pq.read_table(file)
    pq.write_table(table.slice(0, 2), file)
    steps = runner(tmp_path / "run", short, tokenize_items={"method": "sarq"})
    steps.execute("validate_logs")
    steps.execute("tokenize_items")
    with pytest.raises(InsufficientDataError, match="needs sessions of 4 items and more"):
        steps.execute("train_retriever")
