"""Writes a demo world as an input folder, chunk by chunk, so that memory does not grow with the embeddings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modit.core.errors import ConfigError
from modit.data.catalog import ATTRIBUTE_PREFIX
from modit.data.demo.faults import ON_TIME, DemoFault, FaultPlan, Place
from modit.data.demo.geometry import Geometry, ItemChunk, chunk_count, draw_items, make_geometry
from modit.data.demo.parameters import FIRST_DAY, DemoParameters
from modit.data.demo.sessions import SessionChunk, Shelf, draw_sessions
from modit.data.demo.titles import pattern_names, titles

WORLD_FILE = "world.json"
# Raise it whenever the same parameters would give other bytes.
WORLD_VERSION = 1
_SCHEMA = pa.schema([("sequence_id", pa.string()), ("item_id", pa.string()), ("timestamp", pa.timestamp("us"))])


def write_demo_world(out: Path, parameters: DemoParameters, faults: Sequence[DemoFault] = ()) -> bool:
    """Writes `items.parquet`, `interactions/date=YYYY-MM-DD/part.parquet` and `world.json`.

    The folder appears under its name only when it is complete.

    Args:
        out: the folder to make.
        parameters: size and geometry.
        faults: to put into its logs; whatever they do not hit has the bytes of the world without them.

    Returns:
        True if it was written, False if the same world was there already.

    Raises:
        ConfigError: `out` exists and is another world, or no world; or a fault does not fit the world.
    """
    plan = FaultPlan(parameters, faults)
    description: dict[str, object] = {"version": WORLD_VERSION, "parameters": asdict(parameters)}
    if plan.faults:
        description["faults"] = [str(fault) for fault in plan.faults]
    if out.exists():
        _expect_same(out, description)
        return False
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    geometry = make_geometry(parameters)
    shelf = _write_items(partial, parameters, geometry)
    interactions = sum(_write_day(partial, parameters, plan, shelf, day) for day in range(parameters.days))
    sizes = {"patterns": parameters.patterns, "super_patterns": parameters.super_patterns, "interactions": interactions}
    (partial / WORLD_FILE).write_text(json.dumps(description | sizes, indent=2) + "\n")
    partial.rename(out)
    return True


def _expect_same(out: Path, description: dict[str, object]) -> None:
    file = out / WORLD_FILE
    if not file.is_file():
        raise ConfigError(f"{out} exists and is no demo world (it has no {WORLD_FILE}); choose another folder")
    found = json.loads(file.read_text())
    if any(found.get(key) != description.get(key) for key in ("version", "parameters", "faults")):
        raise ConfigError(f"{out} holds another demo world (see {file}); remove it or choose another folder")


def _write_items(folder: Path, parameters: DemoParameters, geometry: Geometry) -> Shelf:
    names = pattern_names(geometry.super_pattern)
    patterns, popularity = np.empty(parameters.items, np.int32), np.empty(parameters.items, np.float32)
    with pq.ParquetWriter(folder / "items.parquet", _item_schema(parameters)) as writer:
        for number in range(chunk_count(parameters)):
            chunk = draw_items(parameters, geometry, number)
            place = slice(chunk.first, chunk.first + len(chunk.patterns))
            patterns[place], popularity[place] = chunk.patterns, chunk.popularity
            writer.write_table(_item_table(parameters, chunk, names))
    return Shelf(patterns, popularity, geometry.super_pattern)


def _item_schema(parameters: DemoParameters) -> pa.Schema:
    attributes = [(ATTRIBUTE_PREFIX + domain, pa.bool_()) for domain in parameters.domain_names]
    embedding = ("embedding", pa.list_(pa.float32(), parameters.dimension))
    return pa.schema([("item_id", pa.string()), ("title", pa.string()), *attributes, embedding])


def _item_table(parameters: DemoParameters, chunk: ItemChunk, names: list[str]) -> pa.Table:
    numbers = range(chunk.first, chunk.first + len(chunk.patterns))
    domains = parameters.domain_names
    columns = [
        pa.array([_item_id(number) for number in numbers], pa.string()),
        pa.array(titles(chunk.first, chunk.patterns, chunk.attributes & chunk.scored, names, domains), pa.string()),
        *(pa.array(column, mask=~scored) for column, scored in zip(chunk.attributes, chunk.scored, strict=True)),
        pa.FixedSizeListArray.from_arrays(pa.array(chunk.embeddings.ravel()), parameters.dimension),
    ]
    return pa.table(columns, schema=_item_schema(parameters))


def _write_day(folder: Path, parameters: DemoParameters, plan: FaultPlan, shelf: Shelf, day: int) -> int:
    if plan.leaves_out(day):
        return 0
    today, rows = FIRST_DAY + timedelta(days=day), 0
    with ExitStack() as files:
        writers: dict[Place, pq.ParquetWriter] = {}
        for number, chunk in enumerate(draw_sessions(parameters, shelf, day)):
            for place, table in plan.deliveries(_session_table(chunk, day, today), day, number).items():
                if place not in writers:
                    writers[place] = files.enter_context(_open_file(folder, today, place))
                writers[place].write_table(table)
                rows += len(table)
        if not writers:  # a day without a session
            files.enter_context(_open_file(folder, today, ON_TIME))
    return rows


def _open_file(folder: Path, today: date, place: Place) -> pq.ParquetWriter:
    days_later, name = place
    partition = folder / "interactions" / f"date={today + timedelta(days=days_later)}"
    partition.mkdir(parents=True, exist_ok=True)
    return pq.ParquetWriter(partition / name, _SCHEMA)


def _session_table(chunk: SessionChunk, day: int, today: date) -> pa.Table:
    midnight = np.datetime64(datetime.combine(today, datetime.min.time()), "us")
    columns = [
        pa.array([f"session-{day:03d}-{number:07d}" for number in chunk.session.tolist()], pa.string()),
        pa.array([_item_id(number) for number in chunk.item.tolist()], pa.string()),
        pa.array(midnight + chunk.second.astype("timedelta64[s]"), pa.timestamp("us")),
    ]
    return pa.table(columns, schema=_SCHEMA)


def _item_id(number: int) -> str:
    return f"item-{number:08d}"
