"""Memory of a `modit serve` process: before any release, and with the releases that have an alias.

Each service is started as a user starts it and stopped at the end. `resident_mb` counts every page of the process;
`proportional_mb` divides a page among the processes that share it; `private_mb` has only pages that no other process
has. Before any release: no registry yet, then the registry with an alias that no version has.

    python benchmarks/bench_service_memory.py --registry sqlite:////path/to/runs/.registry/mlflow.db --alias champion
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NOBODY = "an-alias-that-no-version-has"
START_SECONDS = 120.0
# Readings after the registry was read: the watcher may still hold what it needed for that.
SETTLE_SECONDS = 3.0
FIGURES = {"resident_mb": ("Rss",), "proportional_mb": ("Pss",), "private_mb": ("Private_Clean", "Private_Dirty")}


def main() -> None:
    """Prints a line of JSON for each part."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        _show("no registry", before_any_release(f"sqlite:///{folder}/mlflow.db", "champion"))
    _show("no version with the alias", empty := before_any_release(options.registry, NOBODY))
    _show("released", found := released(options.registry, options.alias))
    more = found["resident_mb"] - empty["resident_mb"]
    _show("released against before", {"ratio": round(found["resident_mb"] / empty["resident_mb"], 2), "more_mb": more})


def before_any_release(registry: str, alias: str) -> dict[str, Any]:
    """A service that has asked the registry and found no version."""
    with _service(registry, alias) as (process, url):
        while "registry" not in (said := _ask(url, "/readyz")["problems"]) or "not asked yet" in said["registry"]:
            time.sleep(0.2)
        time.sleep(SETTLE_SECONDS)
        return memory_of(process.pid)


def released(registry: str, alias: str) -> dict[str, Any]:
    """A service that answers for all domains of the registry, then after the page *Releases* was looked at."""
    with _service(registry, alias) as (process, url):
        deadline = time.monotonic() + START_SECONDS
        while not (said := _ask(url, "/readyz"))["ready"]:
            if time.monotonic() > deadline:
                raise SystemExit(f"not ready within {START_SECONDS:g} s: {said['problems']}")
            time.sleep(0.2)
        time.sleep(SETTLE_SECONDS)
        found = {"domains": sorted(said["releases"])} | memory_of(process.pid)
        urllib.request.urlopen(f"{url}/releases", timeout=60).read()
        return found | {"after_page_releases_mb": memory_of(process.pid)["resident_mb"]}


def memory_of(process: int) -> dict[str, int]:
    """Megabytes of a process, of 10^6 bytes."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {name.rstrip(":"): int(size) for name, size, _ in map(str.split, lines)}
    return {figure: round(sum(kilobytes[name] for name in names) * 1.024e-3) for figure, names in FIGURES.items()}


@contextmanager
def _service(registry: str, alias: str) -> Iterator[tuple[subprocess.Popen, str]]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = ["serve", "--port", str(port), "--registry", registry, "--alias", alias]
    process = subprocess.Popen([sys.executable, "-m", "modit.cli", *command], stderr=subprocess.DEVNULL)
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + START_SECONDS
    try:
        while True:
            try:
                _ask(url, "/healthz")
                break
            except OSError as error:  # not listening yet
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"modit {' '.join(command)} does not answer") from error
                time.sleep(0.2)
        yield process, url
    finally:
        process.terminate()
        process.wait(30)


def _ask(url: str, path: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(url + path, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:  # 503 until it is ready
        return json.load(error)


def _show(part: str, figures: dict[str, Any]) -> None:
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    print(json.dumps({"part": part} | figures | machine), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--registry", required=True, help="the MLflow registry")
    parser.add_argument("--alias", default="champion", help="of the versions to load (default %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
