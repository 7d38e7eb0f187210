"""A file of verdicts: ids and 0 / 1 in the formats of the input, some items only, and a refusal of what is amiss."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modit.core.errors import ContractError
from modit.core.run_config import NewDomain
from modit.data.catalog import NEGATIVE, NOT_SCORED, POSITIVE
from modit.data.files import FORMATS
from modit.data.verdict_file import read_verdicts

IDS = np.array(["a", "b", "c", "7"])
EXPECTED = [POSITIVE, NOT_SCORED, NEGATIVE, POSITIVE]


def written(folder: Path, text: str, name: str = "verdicts.csv") -> str:
    file = folder / name
    file.write_text(text)
    return str(file)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("v.csv", "item_id,verdict\na,1\nc,0\n7,1\n"),
        ("v.tsv", "item_id\tlabel\n7\ttrue\nc\tfalse\na\tTrue\n"),
        ("v.csv", "sku;title;attr_new\na;x, y;1\nc;;0\nb;;\n7;;1\n"),
        ("v.jsonl", '{"id": "a", "verdict": true}\n{"id": "c", "verdict": 0}\n{"id": 7, "verdict": 1}\n'),
        (
            "v.json",
            json.dumps([{"item_id": item, "verdict": verdict} for item, verdict in (("a", 1), ("c", 0), ("7", 1))]),
        ),
    ],
)
def test_every_text_format_and_usual_name_of_the_columns_is_read(tmp_path, name, text):
    assert read_verdicts(written(tmp_path, text, name), IDS, "new").tolist() == EXPECTED


@pytest.mark.parametrize("values", [[True, False, True, None], [1, 0, 1, None], [1.0, 0.0, 1.0, float("nan")]])
def test_parquet_with_any_type_of_verdict_is_read_and_null_is_not_scored(tmp_path, values):
    pq.write_table(pa.table({"item_id": ["a", "c", "7", "b"], "verdict": pa.array(values)}), tmp_path / "v.parquet")
    assert read_verdicts(str(tmp_path / "v.parquet"), IDS).tolist() == EXPECTED


def test_integer_ids_and_gzip_are_read(tmp_path):
    pq.write_table(pa.table({"item_id": [7], "verdict": [False]}), tmp_path / "v.parquet")
    assert read_verdicts(str(tmp_path / "v.parquet"), IDS).tolist() == [NOT_SCORED] * 3 + [NEGATIVE]
    with gzip.open(tmp_path / "v.csv.gz", "wt") as file:
        file.write("item_id,verdict\n7,0\n")
    assert read_verdicts(str(tmp_path / "v.csv.gz"), IDS).tolist() == [NOT_SCORED] * 3 + [NEGATIVE]


def test_a_remote_file_is_read_and_a_missing_one_is_named(tmp_path):
    import fsspec

    with fsspec.filesystem("memory").open("/folder/v.csv", "w") as file:
        file.write("item_id,verdict\na,1\n")
    assert read_verdicts("memory://folder/v.csv", IDS)[0] == POSITIVE
    with pytest.raises(ContractError, match=r"nothing\.csv.*missing"):
        read_verdicts(str(tmp_path / "nothing.csv"), IDS)


def test_an_item_may_occur_again_with_the_same_verdict(tmp_path):
    text = "item_id,verdict\na,1\na,\na,true\nc,0\n7,1\n"
    assert read_verdicts(written(tmp_path, text), IDS).tolist() == EXPECTED


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "item_id,verdict\na,1\nz,1\ny,0\n",
            r"verdicts\.csv, row 1 \(from 0\), column 'item_id': is 'z' \(2 such rows\)",
        ),
        (
            "item_id,verdict\na,1\n,0\n",
            r"row 1 \(from 0\), column 'item_id': is empty; allowed: an id of the catalogue",
        ),
        (
            "item_id,label\na,1\nb,perhaps\n",
            r"row 1 \(from 0\), column 'label': is 'perhaps'; allowed: boolean, or 0 and 1",
        ),
        ("item_id,verdict\na,2\n", r"row 0 \(from 0\), column 'verdict': is '2'; allowed: boolean, or 0 and 1"),
        ("item_id,verdict\na,0.5\n", r"row 0 \(from 0\), column 'verdict': is '0\.5'"),
        ("item_id,verdict\nc,0\na,1\na,0\n", r"row 1 .*: is 1 of item 'a', row 2 says 0; allowed: one verdict"),
        ("item_id,verdict\na,\n", r"verdicts\.csv: has no verdict; allowed: at least one row"),
        ("item_id,score\na,1\n", r"verdicts\.csv, column 'verdict'.*missing; columns are item_id, score$"),
        ("a,1\nb,0\n", r"column 'item_id'.*missing; columns are a, 1"),
        ("", r"verdicts\.csv: rule file_readable .*the file is empty"),
    ],
)
def test_what_is_amiss_is_named_by_file_row_value_and_what_is_allowed(tmp_path, text, said):
    with pytest.raises(ContractError, match=f"(?m){said}"):
        read_verdicts(written(tmp_path, text), IDS)


def test_a_column_of_a_type_that_is_no_verdict_is_refused(tmp_path):
    pq.write_table(pa.table({"item_id": ["a"], "verdict": ["yes"]}), tmp_path / "v.parquet")
    with pytest.raises(ContractError, match="must be boolean, or 0 and 1, is string"):
        read_verdicts(str(tmp_path / "v.parquet"), IDS)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_scorer_whose_name_ends_as_a_readable_file_does_is_a_file(tmp_path, suffix):
    new = NewDomain(name="new", run=str(tmp_path), scorer=f"{tmp_path}/v{suffix}")
    assert (new.file, new.column, new.entry_point) == (f"{tmp_path}/v{suffix}", None, None)


def test_a_scorer_is_one_of_column_function_and_file(tmp_path):
    def kinds(scorer: str) -> tuple[object, ...]:
        new = NewDomain(name="new", run=str(tmp_path), scorer=scorer)
        return new.file, new.column, new.entry_point

    assert kinds("") == (None, "attr_new", None)
    assert kinds("is_new") == (None, "is_new", None)
    assert kinds("our.module:score") == (None, None, ("our.module", "score"))
    assert kinds("s3://bucket/v.csv") == ("s3://bucket/v.csv", None, None)
    assert kinds("v.csv") == (str(Path.cwd() / "v.csv"), None, None)
