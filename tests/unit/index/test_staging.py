"""A catalogue is staged into an engine as a generation beside the live collection, and labels come from there."""

from __future__ import annotations

import lancedb
import numpy as np
import pytest

from modit.core.errors import ArtifactError
from modit.index.engines.collection import Batch, EngineAddress, EngineError, open_collection
from modit.index.engines.staging import ENGINE_FILE, StagedCollection, load_searched, stage
from modit.index.item_index import ItemIndex
from modit.index.params import IndexParams
from tests.engine_suite import EMBEDDINGS, IDS, QUERIES, expect_equal, unit_vectors


def staged_run(folder, params, ids=IDS, vectors=EMBEDDINGS):
    """The folder of the artifact `index`, as the step writes it."""
    folder.mkdir()
    index = ItemIndex.build(vectors, ids, params)
    index.save(folder)
    stage(index, vectors, params, 0).save(folder)
    return folder, index


def test_labels_come_from_the_generation_and_the_live_collection_is_not_touched(tmp_path):
    params = IndexParams(engine=f"lance://{tmp_path}/engine?collection=goods")
    live = open_collection(EngineAddress.parse(params.engine))
    live.upsert([Batch(IDS[:5], EMBEDDINGS[:5])])
    folder, index = staged_run(tmp_path / "index", params)
    staged = StagedCollection.load(folder)
    assert (staged.items, staged.recall, staged.generation) == (len(IDS), 1.0, index.digest[:16])
    searched = load_searched(folder)
    assert (searched.kind, searched.digest) == ("lancedb", index.digest)
    expect_equal(searched.search(QUERIES, 10), index.search(QUERIES, 10))
    assert live.count() == 5


def test_without_an_engine_the_index_of_the_folder_is_searched(tmp_path):
    index = ItemIndex.build(EMBEDDINGS, IDS, IndexParams())
    index.save(tmp_path)
    assert load_searched(tmp_path).kind == "flat"
    assert StagedCollection.load(tmp_path) is None


def test_a_generation_that_is_there_is_not_written_again_and_an_incomplete_one_is(tmp_path):
    params = IndexParams(engine=f"lance://{tmp_path}/engine?collection=goods")
    _, index = staged_run(tmp_path / "index", params)
    name = f"goods_{index.digest[:16]}"

    def version() -> int:
        return lancedb.connect(tmp_path / "engine").open_table(name).version

    before = version()
    stage(index, EMBEDDINGS, params, 0)
    assert version() == before
    lancedb.connect(tmp_path / "engine").open_table(name).delete("item_id = '12'")
    stage(index, EMBEDDINGS, params, 0)
    assert open_collection(EngineAddress.parse(params.engine).at(index.digest[:16])).count() == len(IDS)


def test_effort_is_raised_until_recall_meets_its_target(tmp_path):
    vectors = unit_vectors(12_000, 3)
    ids = np.arange(len(vectors)).astype(str)
    address = f"lance://{tmp_path}/engine?collection=goods&effort=1"
    params = IndexParams(engine=address, recall_target=0.95, calibration_queries=50)
    folder, _ = staged_run(tmp_path / "index", params, ids, vectors)
    staged = StagedCollection.load(folder)
    assert 1 < staged.effort <= 1_000 and staged.recall >= 0.95
    assert staged.place.effort == staged.effort
    exact = params.model_copy(update={"kind": "flat", "engine": address.replace("goods", "exact")})
    folder, _ = staged_run(tmp_path / "exact", exact, ids, vectors)
    assert StagedCollection.load(folder).recall == 1.0


def test_a_generation_that_is_gone_or_changed_is_refused_by_name(tmp_path):
    params = IndexParams(engine=f"lance://{tmp_path}/engine?collection=goods")
    folder, index = staged_run(tmp_path / "index", params)
    collection = open_collection(EngineAddress.parse(params.engine).at(index.digest[:16]))
    collection.upsert([Batch(np.array(["late"]), EMBEDDINGS[:1])])
    with pytest.raises(ArtifactError, match="holds 1501 items; allowed: the 1500 that were staged"):
        load_searched(folder)
    collection.drop()
    with pytest.raises(EngineError, match="no such collection; run stage_index again"):
        load_searched(folder)
    file = folder / ENGINE_FILE
    file.write_text(file.read_text().replace(index.digest[:16], "0" * 16))
    with pytest.raises(ArtifactError, match="generation is 0000000000000000"):
        load_searched(folder)


def test_a_password_does_not_get_into_parameters():
    for engine in ("postgresql://ann:s3cret@db/shop", "postgresql://db/shop?password=s3cret"):
        with pytest.raises(ValueError, match="an address without a password"):
            IndexParams(engine=engine)
    with pytest.raises(ValueError, match="allowed: postgresql://"):
        IndexParams(engine="http://db")
