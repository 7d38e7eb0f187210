"""`python -m modit.release.gate.servability_trial ORDER RESULT`: loads a model and queries it as the service does.

It is a process of its own, so that its memory holds only what the service imports.
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
from modit.index.engines.staging import StagedCollection, staged_index
from modit.inference.answers import Answer, equal_share, load_answers
from modit.inference.items import Items, load_items
from modit.inference.retrieval import Query, Retriever, SamplerRetriever, retriever_over
from modit.inference.runtime import load_sampler
from modit.inference.sampler_file import SAMPLER_FILE
from modit.inference.second_stage import served_second_stage
from modit.metric.second_stage import SECOND_STAGE_FILE, SecondStage
from modit.release.bundle.canaries import ask
from modit.release.bundle.judged_once import HOW, expect_digests
from modit.release.kinds import CATALOG, KINDS, RETRIEVER, SAMPLER

Json = dict[str, Any]
_MIB = 1 << 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the order and writes the result, two JSON files; of a refused candidate, the result has the reason."""
    order_path, result_path = sys.argv[1:] if arguments is None else arguments
    order = json.loads(Path(order_path).read_text(encoding="utf-8"))
    try:
        folders = {name: Path(folder) for name, folder in order["folders"].items()}
        result = _TRIALS[order["retriever"]](folders, order["digests"], order)
    except ModitError as error:
        result = {"refused": str(error)}
    Path(result_path).write_text(json.dumps(result), encoding="utf-8")
    return 0


def try_sampler(folders: Mapping[str, Path], digests: Mapping[str, str], order: Json) -> Json:
    """Loads a sampler with its second stage and asks it.

    Args:
        folders: Of the artifacts `sampler`, `second_stage`, `index` and `catalog`.
        digests: `sampler_digest`, `second_stage_digest` and `index_digest` that these must have.
        order: `k`, `warmup`, `queries` and `rounds` of section `servability`.

    Returns:
        `equal_lists` in [0, 1], `lists`, `p50_ms`, `p99_ms`, the same with a reranked list (`rerank_p50_ms`,
        `rerank_p99_ms`) of `rerank_items`, `peak_mb`, `bytes` of the file, `index_mb` of the vectors, `query`: what was
        asked, in words, and `torch`: whether torch was imported.

    Raises:
        ModitError: The candidate does not load, or does not answer; or a generation that its index was staged into
            is no longer in the engine as it was.
    """
    file = folders["sampler"] / SAMPLER_FILE
    of_stage = folders["second_stage"] / SECOND_STAGE_FILE
    _expect_file(file, "sampler_digest", digests)
    _expect_file(of_stage, "second_stage_digest", digests)
    sampler = load_sampler(file, threads=1)
    items = load_items(folders["index"], folders["catalog"], (digests["index_digest"], ""))
    if staged := StagedCollection.load(folders["index"]):
        staged_index(staged, items.index.item_ids, items.embeddings.shape[1], digests["index_digest"])
    stage = SecondStage.load(folders["second_stage"], *items.embeddings.shape)
    # The stored answers are those of the exported graph, before what is known of the patterns moves a query.
    plain, stored = retriever_over(sampler, items), load_answers(folders["sampler"])
    equal = equal_share(stored, lambda answer: _answer_again(plain, items, answer))
    retriever = retriever_over(sampler, items, stage.patterns)
    seeds = min(sampler.info.maximum_seeds, len(items.index))
    reranker = served_second_stage(stage, retriever, items, sampler.info.domain).retriever
    (p50, p99), (rerank_p50, rerank_p99) = (
        fastest_round(_questions(each, items, seeds, order["k"]), order["warmup"], order["queries"], order["rounds"])
        for each in (retriever, reranker)
    )
    return {
        "equal_lists": equal,
        "lists": len(stored),
        "p50_ms": round(p50, 3),
        "p99_ms": round(p99, 3),
        "rerank_p50_ms": round(rerank_p50, 3),
        "rerank_p99_ms": round(rerank_p99, 3),
        "rerank_items": reranker.reach(min(order["k"], len(items.index))),
        "bytes": file.stat().st_size,
        "query": f"a query of {seeds} seeds",
        "peak_mb": round(peak_bytes() / _MIB, 1),
        "index_mb": items.embeddings.size * 4 / _MIB,
        "torch": "torch" in sys.modules,
    }


def try_judged_once(folders: Mapping[str, Path], digests: Mapping[str, str], order: Json) -> Json:
    """Loads an exported retriever of a kind that is judged once for a catalogue, and asks it.

    Args:
        folders: Of the exported artifact and of `catalog`, as `retriever` and `catalog`.
        digests: `retriever_digest` and `index_digest` that the first must have.
        order: `k`, `warmup`, `queries` and `rounds` of section `servability`, and the kind as `retriever`.

    Returns:
        As `try_sampler`, without what is of reranked lists; `index_mb` of all files.

    Raises:
        ModitError: The candidate does not load, or does not answer.
    """
    folder = folders[RETRIEVER]
    how, kind = HOW[order["retriever"]], next(each for each in KINDS if each.retriever == order["retriever"])
    expect_digests(kind, folder, digests)
    retriever, items = how.load(folder, folders[CATALOG])
    stored, size = load_answers(folder), sum(path.stat().st_size for path in folder.iterdir())

    def again(answer: Answer) -> tuple[list[str], list[float]]:
        found = how.ask(retriever, items, answer.seeds, len(answer.items))
        return found.items, found.scores

    equal = equal_share(stored, again)
    request, words = how.costly(retriever, items, order["k"])
    p50, p99 = fastest_round(
        lambda number: retriever.retrieve([request(number)]), order["warmup"], order["queries"], order["rounds"]
    )
    return {
        "equal_lists": equal,
        "lists": len(stored),
        "p50_ms": round(p50, 3),
        "p99_ms": round(p99, 3),
        "bytes": size,
        "query": words,
        "peak_mb": round(peak_bytes() / _MIB, 1),
        "index_mb": size / _MIB,
        "torch": "torch" in sys.modules,
    }


_TRIALS = {SAMPLER: try_sampler} | dict.fromkeys(HOW, try_judged_once)


def fastest_round(ask: Callable[[int], None], warmup: int, queries: int, rounds: int) -> tuple[float, float]:
    """Milliseconds of the median and of the 99 % quantile, in the round with the lowest 99 % quantile.

    Args:
        ask: Asks the query of a number.
        warmup: Queries that are not timed.
        queries: Timed queries of a round.
        rounds: At least 1.
    """
    for number in range(warmup):
        ask(number)
    found = []
    for start in range(0, rounds * queries, queries):
        times = np.array([_milliseconds(ask, start + number) for number in range(queries)])
        found.append((float(np.quantile(times, 0.5)), float(np.quantile(times, 0.99))))
    return min(found, key=lambda figures: figures[1])


def peak_bytes() -> int:
    """Peak memory of this process. `ru_maxrss` would include the parent that started it."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ModitError("/proc/self/status has no VmHWM: the memory of a trial can be measured on Linux only")


def _expect_file(place: Path, name: str, digests: Mapping[str, str]) -> None:
    found = sha256_of_file(place) if place.is_file() else "missing"
    if found != digests[name]:
        raise ArtifactError(f"{place}: {found}; {name} is {digests[name]}")


def _answer_again(retriever: SamplerRetriever, items: Items, answer: Answer) -> tuple[list[str], list[float]]:
    if (items.rows_of(answer.seeds) < 0).any():
        return [], []
    found = ask(retriever, items, answer.seeds, len(answer.items))
    return found.items, found.scores


def _questions(retriever: Retriever[Query], items: Items, seeds: int, k: int) -> Callable[[int], None]:
    """Asks single queries of `seeds` seeds, each of other items."""
    count = len(items.index)

    def question(number: int) -> None:
        rows = (number * seeds + np.arange(seeds, dtype=np.int64)) % count
        retriever.retrieve([Query(np.asarray(items.embeddings[rows]), min(k, count), exclude=rows)])

    return question


def _milliseconds(ask: Callable[[int], None], number: int) -> float:
    start = time.perf_counter()
    ask(number)
    return 1000 * (time.perf_counter() - start)


if __name__ == "__main__":
    sys.exit(main())
