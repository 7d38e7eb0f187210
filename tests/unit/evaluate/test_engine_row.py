"""A row of the report says what the recall of the site's engine costs in Joint."""

from __future__ import annotations

from modit.evaluate import names
from modit.evaluate.seeds.second_stage import engine_row
from modit.evaluate.task import Row
from modit.index.engines.collection import Batch, EngineAddress, open_collection
from modit.index.engines.engine_index import EngineIndex
from tests.unit.evaluate.conftest import build_generator, build_stage, evaluate


def test_the_served_row_from_an_exact_engine_is_the_served_row_and_the_cost_is_nought(context, tmp_path):
    models = [Row(name, "model", build_generator(context, seed)) for seed, name in enumerate(names.STAGES)]
    catalog, collection = context.catalog, open_collection(EngineAddress.parse(f"lance://{tmp_path}"))
    collection.upsert([Batch(catalog.item_ids, catalog.embeddings)])
    index = EngineIndex(collection, catalog.item_ids, catalog.dimension, context.index.digest)
    row = engine_row(models[-1], build_stage(context), context, index)
    split = evaluate(context, [*models, row], resamples=20).content["splits"]["item_holdout"]
    rows = {each["name"]: each for each in split["rows"]}
    assert rows[names.FROM_ENGINE]["joint"] == rows[names.SERVED]["joint"]
    (cost,) = [each for each in split["comparisons"] if each["name"] == names.ENGINE_COST]
    assert cost["joint"]["mean"] == 0
