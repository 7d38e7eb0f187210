"""The catalogue on disk: verdicts, the items that no scorer has judged among them."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modit.data.catalog import NEGATIVE, NOT_SCORED, POSITIVE, Catalog, Sequences


def catalog_with(verdicts):
    ids = np.array([f"item {number}" for number in range(len(verdicts))])
    embeddings = np.eye(len(verdicts), 4, dtype=np.float32)
    return Catalog(ids, embeddings, {"rare": np.array(verdicts, np.int8)}, None, Sequences.none())


def test_items_that_are_not_scored_are_neither_positive_nor_negative(tmp_path):
    catalog_with([POSITIVE, NEGATIVE, NOT_SCORED, POSITIVE]).save(tmp_path)
    loaded = Catalog.load(tmp_path)
    assert loaded.verdicts["rare"].tolist() == [1, 0, -1, 1] and loaded.verdicts["rare"].dtype == np.int8
    assert loaded.positive("rare").tolist() == [True, False, False, True]
    assert loaded.scored("rare").tolist() == [True, True, False, True]
    assert pq.read_table(tmp_path / "items.parquet")["attr_rare"].to_pylist() == [True, False, None, True]


def test_where_every_item_is_scored_the_file_has_the_bytes_of_plain_booleans(tmp_path):
    catalog = catalog_with([POSITIVE, NEGATIVE, POSITIVE])
    catalog.save(tmp_path)
    columns = {"item_id": pa.array(catalog.item_ids.tolist()), "attr_rare": pa.array(np.array([True, False, True]))}
    pq.write_table(pa.table(columns), tmp_path / "plain.parquet")
    digests = [hashlib.sha256((tmp_path / name).read_bytes()).digest() for name in ("items.parquet", "plain.parquet")]
    assert digests[0] == digests[1]


def test_a_catalogue_is_read_without_pandas_whose_import_costs_each_task_seconds(tmp_path):
    catalog_with([POSITIVE, NOT_SCORED, NEGATIVE]).save(tmp_path)
    code = (
        "import sys; from pathlib import Path; from modit.data.catalog import Catalog; "
        "found = Catalog.load(Path(sys.argv[1])); print(*found.verdicts['rare']); sys.exit('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["1", "-1", "0"]
