"""A file with the scorer's verdicts on some items of a catalogue: an item id and a verdict in each row."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modit.core.errors import ContractError
from modit.core.storage import Storage
from modit.data.catalog import ATTRIBUTE_PREFIX, NOT_SCORED
from modit.data.contract import VERDICT, literal
from modit.data.engine import Engine
from modit.data.files import ROW_BITS, open_file
from modit.data.mapping import Mapping, understand

_ALLOWED = f"{VERDICT.name}; nothing where the item is not scored"
# Of each kind of fault, the first row that has it and how many have.
_FAULTS = {
    "no id": "item_id IS NULL",
    "unread": "verdict_text IS NOT NULL",
    "unknown": "item_id NOT IN (SELECT item_id FROM known)",
    "contradicted": "item_id IN (SELECT item_id FROM given GROUP BY item_id HAVING min(verdict) < max(verdict))",
}


def read_verdicts(address: str, item_ids: np.ndarray, domain: str = "") -> np.ndarray:
    """Reads a CSV, Parquet or JSON-lines file of `item_id` and `verdict`.

    The verdict's column may also be called `label` or `attr_<domain>`. A row without a verdict says nothing, so a list
    of items to score can be filled in bit by bit. An item may occur again with the same verdict.

    Args:
        address: of the file, a path or an address such as `s3://...`; its format shows in how its name ends.
        item_ids: of the catalogue [N].
        domain: whose verdicts they are.

    Returns:
        Verdicts in the order of the catalogue, int8 [N]; `NOT_SCORED` where the file has none.

    Raises:
        ArtifactError: there is no file at a remote address.
        ContractError: the file cannot be read, a column is missing, a row has no id, one that the catalogue does not
            have, another value than a verdict, or a verdict that another row contradicts; or there is no verdict.
    """
    with TemporaryDirectory(prefix="modit-") as folder, Engine(Path(folder)) as engine:
        file = open_file(_local(address, Path(folder)), engine)
        attribute = ATTRIBUTE_PREFIX + domain
        named = {"verdicts": {"verdict": attribute}} if attribute in file.columns else {}
        layout = understand("verdicts", [file], Mapping(named), engine)
        with layout.decoding([file], engine):
            engine.run(f"CREATE TABLE given AS {layout.scan([file])}")
        engine.save("known", pa.table({"item_id": pa.array(item_ids.tolist(), pa.string())}))
        for fault, broken in _FAULTS.items():
            _expect_none(engine, fault, broken, file.name, layout.columns["verdict"].column)
        found = engine.table("SELECT DISTINCT item_id, verdict FROM given WHERE verdict IS NOT NULL")
    if not len(found):
        raise ContractError(f"{file.name}: has no verdict; allowed: at least one row with {VERDICT.name}")
    rows = pc.index_in(pa.array(item_ids.tolist(), pa.string()), found["item_id"])
    return pc.fill_null(found["verdict"].take(rows), NOT_SCORED).to_numpy().astype(np.int8)


def _local(address: str, folder: Path) -> Path:
    place = Storage(address)
    if place.local is None:
        place.parent.download(place.name, folder / place.name)
    return place.local or folder / place.name


def _expect_none(engine: Engine, fault: str, broken: str, file: str, column: str) -> None:
    rows = engine.rows(
        f"SELECT pos & {(1 << ROW_BITS) - 1}, item_id, verdict, verdict_text, count(*) OVER () FROM given "
        f"WHERE {broken} ORDER BY pos LIMIT 1"
    )
    if not rows:
        return
    row, item, verdict, text, count = rows[0]
    place, more = f"{file}, row {row} (from 0)", f" ({count} such rows)" if count > 1 else ""
    if fault == "no id":
        raise ContractError(f"{place}, column 'item_id': is empty{more}; allowed: an id of the catalogue")
    if fault == "unread":
        raise ContractError(f"{place}, column {column!r}: is {text!r}{more}; allowed: {_ALLOWED}")
    if fault == "unknown":
        raise ContractError(f"{place}, column 'item_id': is {item!r}{more}; allowed: an id of the catalogue")
    other = engine.value(
        f"SELECT min(pos) & {(1 << ROW_BITS) - 1} FROM given WHERE item_id = {literal(item)} AND verdict <> {verdict}"
    )
    raise ContractError(
        f"{place}, column {column!r}: is {verdict} of item {item!r}, row {other} says {1 - verdict}; "
        f"allowed: one verdict of an item"
    )
