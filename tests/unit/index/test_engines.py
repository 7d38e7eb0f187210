"""LanceDB, and FAISS as the reference, answer as every index must; addresses of engines, with passwords unseen."""

from __future__ import annotations

import lancedb
import numpy as np
import pyarrow as pa
import pytest

from modit.core.errors import ConfigError
from modit.index.engines.collection import EngineAddress, EngineDownError, open_collection
from tests.engine_suite import *  # noqa: F403
from tests.engine_suite import DIMENSION, EMBEDDINGS, QUERIES, expect_equal, over


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lance")
    return lambda name: f"lance://{folder}?collection={name}"


def test_a_table_of_the_site_with_ids_of_integers_and_longer_vectors_is_searched_as_it_is(tmp_path, flat):
    numbers = np.arange(len(EMBEDDINGS)) * 7
    lengths = np.random.default_rng(0).uniform(0.5, 4, (len(numbers), 1))
    vectors = pa.FixedSizeListArray.from_arrays(pa.array((EMBEDDINGS * lengths).ravel().astype(np.float32)), DIMENSION)
    table = pa.table({"sku": numbers, "vec": vectors, "price": np.ones(len(numbers))})
    lancedb.connect(tmp_path).create_table("shop", table)
    collection = open_collection(EngineAddress.parse(f"lance://{tmp_path}?collection=shop&id=sku&vector=vec"))
    index = over(collection, numbers.astype(str))
    expect_equal(index.search(QUERIES, 10), flat.search(QUERIES, 10))
    few = np.arange(len(numbers)) % 100 == 0
    expect_equal(index.search(QUERIES, 10, few), flat.search(QUERIES, 10, few))


def test_a_folder_that_cannot_be_read_is_an_engine_that_is_down(tmp_path):
    (tmp_path / "file").write_text("")
    collection = open_collection(EngineAddress.parse(f"lance://{tmp_path}/file/below?collection=items"))
    with pytest.raises(EngineDownError, match="cannot be read"):
        collection.search(QUERIES, 3)


@pytest.mark.parametrize(
    "text",
    ["postgresql://ann:s3cret@db:5432/shop?collection=items&sslmode=require", "postgresql://:s3cret@db/shop"],
)
def test_a_password_is_given_to_the_client_and_shown_nowhere(text):
    address = EngineAddress.parse(text)
    assert "s3cret" in address.place and "collection" not in address.place
    assert "s3cret" not in f"{address} {address!r} {address.at('ab12')}"


def test_an_address_has_defaults_and_a_generation_is_a_collection_of_its_own():
    address = EngineAddress.parse("postgresql://db/shop?collection=public.goods&id=sku&vector=vec&effort=40")
    assert (address.collection, address.id, address.vector, address.effort) == ("public.goods", "sku", "vec", 40)
    nightly = address.at("ab12")
    assert (nightly.collection, nightly.id, nightly.vector) == ("public.goods_ab12", "item_id", "embedding")
    socket = EngineAddress.parse("postgresql:///shop?host=/var/run/postgresql&collection=goods")
    assert socket.place == "postgresql:///shop?host=%2Fvar%2Frun%2Fpostgresql"
    assert str(EngineAddress.parse("lance:///data/x")) == "lance:///data/x?collection=items"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://db:19530", "'http://db:19530'; allowed: postgresql://..., lance://..."),
        ("http://ann:s3cret@db", "'http://ann@db'"),
        ("lance:///x?collection=a-b", "collection of the index engine lance:///x is 'a-b'"),
        ("lance:///x?id=a.b", "id of the index engine lance:///x is 'a.b'"),
        ("lance:///x?effort=0", "effort of the index engine lance:///x is '0'; allowed: 1..1000"),
    ],
)
def test_a_wrong_address_is_refused_with_what_is_allowed(text, message):
    with pytest.raises(ConfigError) as refused:
        EngineAddress.parse(text)
    assert message in str(refused.value) and "s3cret" not in str(refused.value)
