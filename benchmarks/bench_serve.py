"""What a running `modit serve` takes to answer, with random items of its run as seeds.

At a steady rate; a request counts from the moment at which it was due, so that a service that falls behind is seen to.
Beside it, in this process and for the same seeds, the mean of the seeds and faiss's exact search for it: `averaging`.
With `--batches`, also how many questions a second batches of each size answer, one batch after the other.
With `--reload-every`, the champion moves between two versions meanwhile (`modit rollback --to`), and the memory of the
service (`--pid`) is looked at.

    modit serve --registry sqlite:////path/to/runs/.registry/mlflow.db &
    python benchmarks/bench_serve.py --run /path/to/runs/NAME --domain popular --rate 50 --seconds 30
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np

SHARES = (50, 90, 99, 100)
_local = threading.local()


def main() -> None:
    """Prints a line of JSON for each part."""
    options = _options()
    seeds = _seeds(options, options.rate * options.seconds)
    _show("averaging", averaging(options, seeds[:200]))
    _show("service", steady(options, seeds))
    for size in options.batches:
        _show(f"batches of {size}", batches(options, _seeds(options, size * options.rounds), size))


def steady(options: argparse.Namespace, seeds: np.ndarray) -> dict[str, Any]:
    """Requests at the rate, whatever happens meanwhile."""
    bodies = [json.dumps(_question(options, each)).encode() for each in seeds]
    with _champion_moves(options) as moves, _memory_of(options.pid) as memory:
        start = time.perf_counter() + 0.5
        due = [start + number / options.rate for number in range(len(bodies))]
        with ThreadPoolExecutor(options.connections) as pool:
            answers = list(pool.map(lambda when, body: _ask_when_due(options, when, body), due, bodies))
    failed = sum(status != 200 for status, _, _ in answers)
    versions = len({version for _, _, version in answers})
    found = {"requests": len(answers), "failed": failed} | _milliseconds([seconds for _, seconds, _ in answers])
    moved = {"moves": len(moves), "versions": versions, "resident_mb": memory} if options.pid else {}
    return found | moved


def averaging(options: argparse.Namespace, seeds: np.ndarray) -> dict[str, Any]:
    """The mean of the seeds and faiss's exact search, one after the other on one thread."""
    vectors = np.load(options.run / "catalog" / "embeddings.npy")
    item_ids = np.load(options.run / "index" / "item_ids.npy")
    row_of = {item_id: row for row, item_id in enumerate(item_ids.tolist())}
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    faiss.omp_set_num_threads(1)
    times = []
    for each in seeds:
        start = time.perf_counter()
        query = vectors[[row_of[item_id] for item_id in each.tolist()]].mean(0, keepdims=True)
        index.search(query / np.linalg.norm(query), options.k + options.seeds)
        times.append(time.perf_counter() - start)
    return _milliseconds(times)


def batches(options: argparse.Namespace, seeds: np.ndarray, size: int) -> dict[str, Any]:
    """Questions a second by `/v1/retrieve/batch`, from two callers that each wait for their answer."""
    asked = [seeds[start : start + size] for start in range(0, len(seeds), size)]
    bodies = [json.dumps({"requests": [_question(options, each) for each in batch]}).encode() for batch in asked]
    start = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        failed = sum(status != 200 for status, _ in pool.map(lambda body: _ask(options, body, "/batch"), bodies))
    return {"failed": failed, "questions_a_second": round(len(seeds) / (time.perf_counter() - start), 1)}


@contextmanager
def _champion_moves(options: argparse.Namespace) -> Iterator[list[int]]:
    """Moves the champion to and fro in a thread, until the end."""
    if not options.reload_every:
        yield []
        return
    from modit.release.model_registry.registry_access import existing_registry
    from modit.release.promotion.promotion import Order, carry_out

    moves: list[int] = []
    registry = existing_registry(options.registry)

    def move() -> None:
        version = options.versions[len(moves) % 2]
        carry_out(registry, Order("rollback", options.domain, "bench", version, reason="a benchmark"))
        moves.append(version)

    with _repeated(move, options.reload_every):
        yield moves


@contextmanager
def _memory_of(process: int | None) -> Iterator[list[int]]:
    """Megabytes of a process, every ten seconds."""
    seen: list[int] = []

    def look() -> None:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        seen.append(pages * os.sysconf("SC_PAGE_SIZE") >> 20)

    with _repeated(look, 10 if process else None):
        yield seen


@contextmanager
def _repeated(do: Callable[[], None], seconds: float | None) -> Iterator[None]:
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            do()

    thread = threading.Thread(target=repeat, daemon=True)
    if seconds:
        thread.start()
    yield
    ended.set()
    if seconds:
        thread.join()


def _seeds(options: argparse.Namespace, count: int) -> np.ndarray:
    item_ids = np.load(options.run / "index" / "item_ids.npy")
    generator = np.random.default_rng(0)
    return item_ids[np.stack([generator.choice(len(item_ids), options.seeds, replace=False) for _ in range(count)])]


def _question(options: argparse.Namespace, seeds: np.ndarray) -> dict[str, Any]:
    return {"domain": options.domain, "k": options.k, "seeds": {"item_ids": seeds.tolist()}}


def _ask_when_due(options: argparse.Namespace, due: float, body: bytes) -> tuple[int, float, int]:
    """Status, seconds since the request was due, and the version that answered."""
    time.sleep(max(0.0, due - time.perf_counter()))
    status, answer = _ask(options, body)
    seconds = time.perf_counter() - due
    return status, seconds, json.loads(answer).get("version", 0)


def _ask(options: argparse.Namespace, body: bytes, path: str = "") -> tuple[int, bytes]:
    if not hasattr(_local, "connection"):
        _local.connection = http.client.HTTPConnection(options.host, options.port, timeout=60)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {options.key}"}
    _local.connection.request("POST", f"/v1/retrieve{path}", body, headers)
    answer = _local.connection.getresponse()
    return answer.status, answer.read()


def _milliseconds(seconds: list[float]) -> dict[str, float]:
    found = np.percentile(1000 * np.array(seconds), SHARES)
    return {f"p{share}_ms": round(float(value), 2) for share, value in zip(SHARES, found, strict=True)}


def _show(part: str, figures: dict[str, Any]) -> None:
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    print(json.dumps({"part": part} | figures | machine), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a run that is served, the one with the fewest items")
    parser.add_argument("--domain", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--key", default="")
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--rate", type=int, default=50, help="requests a second")
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--batches", type=int, nargs="*", default=[], help="sizes")
    parser.add_argument("--rounds", type=int, default=20, help="batches of each size")
    parser.add_argument("--pid", type=int, help="of the service, whose memory is looked at")
    parser.add_argument("--reload-every", type=float, metavar="SECONDS")
    parser.add_argument("--versions", type=int, nargs=2, help="that the champion moves between")
    parser.add_argument("--registry", help="the MLflow registry, where the champion moves")
    return parser.parse_args()


if __name__ == "__main__":
    main()
