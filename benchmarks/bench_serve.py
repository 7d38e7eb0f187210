"""Time to answer of a running `modit serve` at a steady rate of requests, with random items of its run as seeds.

A request counts from the moment at which it was due, so that a service that falls behind is seen to.

    modit serve --registry sqlite:////path/to/runs/.registry/mlflow.db --alias challenger &
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

_local = threading.local()


def main() -> None:
    """Prints one line of JSON."""
    options = _options()
    bodies = _bodies(options)
    start = time.perf_counter() + 0.5
    with ThreadPoolExecutor(options.connections) as pool:
        due = [start + number / options.rate for number in range(len(bodies))]
        answers = list(pool.map(lambda when, body: _ask(options, when, body), due, bodies))
    milliseconds = 1000 * np.array([seconds for _, seconds in answers])
    figures = {f"p{share}_ms": round(float(np.percentile(milliseconds, share)), 2) for share in (50, 90, 99)}
    failed = sum(status != 200 for status, _ in answers)
    asked = {name: getattr(options, name) for name in ("domain", "seeds", "k", "rate", "seconds")}
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    print(json.dumps(asked | {"requests": len(answers), "failed": failed} | figures | machine))


def _bodies(options: argparse.Namespace) -> list[bytes]:
    item_ids = np.load(options.run / "index" / "item_ids.npy")
    generator = np.random.default_rng(0)
    chosen = (generator.choice(item_ids, options.seeds, replace=False) for _ in range(options.rate * options.seconds))
    asked = ({"domain": options.domain, "k": options.k, "seeds": {"item_ids": seeds.tolist()}} for seeds in chosen)
    return [json.dumps(each).encode() for each in asked]


def _ask(options: argparse.Namespace, due: float, body: bytes) -> tuple[int, float]:
    """Status, and seconds since the request was due."""
    time.sleep(max(0.0, due - time.perf_counter()))
    if not hasattr(_local, "connection"):
        _local.connection = http.client.HTTPConnection(options.host, options.port, timeout=60)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {options.key}"}
    _local.connection.request("POST", "/v1/retrieve", body, headers)
    answer = _local.connection.getresponse()
    answer.read()
    return answer.status, time.perf_counter() - due


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="the run that is served")
    parser.add_argument("--domain", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--key", default="")
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--rate", type=int, default=50, help="requests a second")
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--connections", type=int, default=16)
    return parser.parse_args()


if __name__ == "__main__":
    main()
