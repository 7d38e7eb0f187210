"""The data guide keeps up with the code."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modit.data.params import ValidationParams
from modit.data.rules import RULES
from modit.data.validate import validate_logs

GUIDE = (Path(__file__).parents[3] / "docs" / "reference" / "input-contract.md").read_text()


def test_the_guide_explains_every_rule():
    assert set(re.findall(r"^\| `([a-z_]+)` \|", GUIDE, re.MULTILINE)) >= set(RULES)


@pytest.mark.parametrize("field", ["null_share_max", "unknown_item_share_max", "duplicate_share_max"])
def test_the_guide_names_the_default_tolerance(field):
    assert re.search(rf"{getattr(ValidationParams(), field):.0%} \(`{field}`\)", GUIDE)


def test_the_example_of_the_guide_passes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("my_catalogue", "my_quarantine"):
        (tmp_path / folder).mkdir()
    for block in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL):
        exec(block, {})  # noqa: S102
    catalog, _ = validate_logs(tmp_path / "my_catalogue", tmp_path / "my_quarantine")
    assert catalog.item_ids.tolist() == ["a1", "a2", "a3"]
    assert pq.read_table(tmp_path / "my_quarantine" / "interactions.parquet").num_rows == 0
    assert isinstance(pq.read_schema(tmp_path / "my_catalogue" / "items.parquet").field("embedding").type, pa.ListType)
