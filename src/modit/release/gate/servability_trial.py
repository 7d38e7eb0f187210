"""`python -m modit.release.gate.servability_trial ORDER RESULT`: a sampler is loaded and asked as the service does it.

It is a process of its own so that nothing but what the service imports is in its memory.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modit.core.errors import ArtifactError, ModitError
from modit.core.storage import sha256_of_file
from modit.inference.answers import Answer, equal_share, load_answers
from modit.inference.items import Items, load_items
from modit.inference.retrieval import Query, retrieve
from modit.inference.runtime import OnnxSampler, load_sampler
from modit.inference.sampler_file import FLOAT32, digest_name, sampler_file, variants_in

_MIB = 1 << 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the order, a JSON file, and writes the result, another.

    Args:
        arguments: the two paths; those of the process if None.

    Returns:
        0, also when the release is refused: the result then says why.
    """
    order_path, result_path = sys.argv[1:] if arguments is None else arguments
    order = json.loads(Path(order_path).read_text(encoding="utf-8"))
    try:
        folders = {name: Path(folder) for name, folder in order["folders"].items()}
        result = try_candidate(folders, order["digests"], order)
    except ModitError as error:
        result = {"refused": str(error)}
    Path(result_path).write_text(json.dumps(result), encoding="utf-8")
    return 0


def try_candidate(folders: Mapping[str, Path], digests: Mapping[str, str], order: dict[str, Any]) -> dict[str, Any]:
    """Loads and asks.

    Args:
        folders: of the artifacts `sampler`, `index` and `catalog`.
        digests: `sampler_digest` and `index_digest` that these must have; `int8_digest` where there is such a file.
        order: `k`, `warmup`, `queries` and `rounds` of section `servability`.

    Returns:
        `equal_lists` in [0, 1], `lists`, `p50_ms`, `p99_ms`, `peak_mb`, `bytes` of the file, `vectors_mb`, `seeds`,
        `torch`: whether that was imported; and `precisions`: name -> the same of a file of less precision, with
        `overlap`, the share of the items of float32's lists that it finds, or with why it was `refused`.

    Raises:
        ModitError: it does not load, or does not answer.
    """
    file, sampler = _load(folders["sampler"], FLOAT32, digests)
    items = load_items(folders["index"], folders["catalog"], (digests["index_digest"], ""))
    stored = load_answers(folders["sampler"])
    equal = equal_share(stored, lambda answer: _ask(sampler, items, answer))
    result = {
        "equal_lists": equal,
        **_timed(file, sampler, items, order),
        "lists": len(stored),
        "peak_mb": round(peak_bytes() / _MIB, 1),
        "vectors_mb": items.embeddings.size * 4 / _MIB,
        "torch": "torch" in sys.modules,
    }
    served = (sampler, items, stored)
    variants = variants_in(digests)
    tried = {name: _try_variant(name, folders["sampler"], digests, order, served) for name in variants}
    return result | {"precisions": tried}


def _load(folder: Path, precision: str, digests: Mapping[str, str]) -> tuple[Path, OnnxSampler]:
    file, name = folder / sampler_file(precision), digest_name(precision)
    if not file.is_file() or (found := sha256_of_file(file)) != digests[name]:
        state = f"sha256 {found}" if file.is_file() else "missing"
        raise ArtifactError(f"{file}: {state}; {name} is {digests[name]}")
    return file, load_sampler(file, threads=1)


def _timed(file: Path, sampler: OnnxSampler, items: Items, order: dict[str, Any]) -> dict[str, Any]:
    seeds = min(sampler.info.maximum_seeds, len(items.index))
    ask = _questions(sampler, items, seeds, order["k"])
    p50, p99 = fastest_round(ask, order["warmup"], order["queries"], order["rounds"])
    return {"p50_ms": round(p50, 3), "p99_ms": round(p99, 3), "bytes": file.stat().st_size, "seeds": seeds}


def _try_variant(
    precision: str,
    folder: Path,
    digests: Mapping[str, str],
    order: dict[str, Any],
    served: tuple[OnnxSampler, Items, Sequence[Answer]],
) -> dict[str, Any]:
    """Of a file of less precision: what it finds of float32's lists, and how fast; or why it does not load."""
    sampler, items, stored = served
    try:
        file, variant = _load(folder, precision, digests)
    except ModitError as error:
        return {"refused": str(error)}
    lists = [(_ask(sampler, items, each)[0], _ask(variant, items, each)[0]) for each in stored]
    found, wanted = sum(len(set(a) & set(b)) for a, b in lists), sum(len(a) for a, _ in lists)
    return {"overlap": found / max(1, wanted), "lists": len(lists), **_timed(file, variant, items, order)}


def fastest_round(ask: Callable[[int], None], warmup: int, queries: int, rounds: int) -> tuple[float, float]:
    """Milliseconds of the median and of the 99 % quantile, in the round with the lowest of these.

    Args:
        ask: asks the question of a number.
        warmup: questions that are not timed.
        queries: timed questions of a round.
        rounds: at least 1.
    """
    for number in range(warmup):
        ask(number)
    found = []
    for start in range(0, rounds * queries, queries):
        times = np.array([_milliseconds(ask, start + number) for number in range(queries)])
        found.append((float(np.quantile(times, 0.5)), float(np.quantile(times, 0.99))))
    return min(found, key=lambda figures: figures[1])


def peak_bytes() -> int:
    """Most memory that this process has had. Not `ru_maxrss`: that counts the parent which started it, too."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ModitError("/proc/self/status has no VmHWM: the memory of a trial can be measured on Linux only")


def _ask(sampler: OnnxSampler, items: Items, answer: Answer) -> tuple[list[str], list[float]]:
    rows = items.rows_of(answer.seeds)
    if (rows < 0).any():
        return [], []
    question = Query(np.asarray(items.embeddings[rows]), len(answer.items), exclude=rows)
    found = retrieve(sampler, items.index, question)
    return items.ids_of(found.rows), found.scores.tolist()


def _questions(sampler: OnnxSampler, items: Items, seeds: int, k: int) -> Callable[[int], None]:
    """Single queries of so many seeds, each of other items."""
    count = len(items.index)

    def ask(number: int) -> None:
        rows = (number * seeds + np.arange(seeds, dtype=np.int64)) % count
        retrieve(sampler, items.index, Query(np.asarray(items.embeddings[rows]), min(k, count), exclude=rows))

    return ask


def _milliseconds(ask: Callable[[int], None], number: int) -> float:
    start = time.perf_counter()
    ask(number)
    return 1000 * (time.perf_counter() - start)


if __name__ == "__main__":
    sys.exit(main())
