"""The servability key's evidence: a model is tried in a fresh process as the service runs it, against its budgets.

What a clock or a gauge measures differs from run to run. So it is not part of `servability.json`, whose digest is
compared, but of the summary of the artifact's manifest. The sentence of a failed check has its figure.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import with_config

import modit
from modit.inference.answers import IDENTICAL_LISTS_MINIMUM
from modit.release.bundle.judged_once import HOW
from modit.release.documents import STRICT, Json, write_document
from modit.release.kinds import SAMPLER
from modit.release.params import ServabilityParams

SERVABILITY_FILE = "servability.json"
LOADS, TORCH, LISTS, MEMORY = "loads", "no torch", "lists", "memory"
LATENCY, RERANK_LATENCY = "latency", "latency with rerank"
# What is checked of each kind of retriever.
CHECKS = {
    SAMPLER: (LOADS, TORCH, LISTS, LATENCY, RERANK_LATENCY, MEMORY),
    **dict.fromkeys(HOW, (LOADS, TORCH, LISTS, LATENCY, MEMORY)),
}
MEASURED = ("p50_ms", "p99_ms", "rerank_p50_ms", "rerank_p99_ms", "peak_mb", "bytes")
_TIMEOUT = 1_800.0


@with_config(STRICT)
@dataclass(frozen=True)
class Check:
    """One condition of serving: its name, whether it holds, and a sentence."""

    name: str
    holds: bool
    sentence: str


def try_in_fresh_process(
    folders: Mapping[str, Path],
    digests: Mapping[str, str],
    scratch: Path,
    params: ServabilityParams,
    retriever: str = SAMPLER,
) -> Json:
    """Runs `modit.release.gate.servability_trial` with this interpreter.

    Args:
        folders: As `try_sampler` or `try_retriever` there takes them.
        digests: Likewise.
        scratch: For the order and the result.
        params: Section `servability`.
        retriever: Kind of what is tried.

    Returns:
        What the trial found; `refused` with the reason where it found nothing.
    """
    order, result = scratch / "order.json", scratch / "result.json"
    named: Json = {"retriever": retriever}
    named |= {"folders": {name: str(folder) for name, folder in folders.items()}, "digests": dict(digests)}
    write_document(order, named | params.model_dump())
    result.unlink(missing_ok=True)
    library = str(Path(modit.__file__).resolve().parents[1])
    paths = os.pathsep.join(filter(None, (library, os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "modit.release.gate.servability_trial", str(order), str(result)]
    environment = os.environ | {"PYTHONPATH": paths}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return {"refused": f"the process did not end within {_TIMEOUT:.0f} seconds"}
    if done.returncode or not result.is_file():
        last = done.stderr.strip().rpartition("\n")[2]
        return {"refused": f"the process ended with status {done.returncode}: {last}"}
    return json.loads(result.read_text(encoding="utf-8"))


def judge_trial(found: Json, params: ServabilityParams) -> list[Check]:
    """The checks of a trial, in the order of `CHECKS`; where the model did not load, only the first."""
    if "refused" in found:
        return [Check(LOADS, False, f"it cannot be served: {found['refused']}")]
    allowed = params.memory_mb + params.index_copies * found["index_mb"]
    equal, needed = found["equal_lists"], IDENTICAL_LISTS_MINIMUM
    reranked = []
    if "rerank_p99_ms" in found:
        what = f"p99 of {found['query']}, its list of {found['rerank_items']} reranked,"
        reranked = [_budget(RERANK_LATENCY, what, found["rerank_p99_ms"], params.p99_ms, "ms")]
    return [
        Check(LOADS, True, "it loads in a fresh process, with the digests and canaries that it was made with"),
        Check(TORCH, not found["torch"], f"serving it {'imports' if found['torch'] else 'does not import'} torch"),
        Check(LISTS, equal >= needed, f"{equal:.3f} of {found['lists']} lists equal torch's, at least {needed}"),
        _budget(LATENCY, f"p99 of {found['query']}", found["p99_ms"], params.p99_ms, "ms"),
        *reranked,
        _budget(MEMORY, "peak memory", found["peak_mb"], allowed, "MiB"),
    ]


def _budget(name: str, what: str, found: float, allowed: float, unit: str) -> Check:
    if found <= allowed:
        return Check(name, True, f"{what} is within its budget of {allowed:,.0f} {unit}")
    return Check(name, False, f"{what} is {found:,.1f} {unit}, its budget {allowed:,.0f} {unit}")


def save_servability(folder: Path, checks: list[Check], digests: Json, params: ServabilityParams) -> None:
    """Writes `servability.json` into an existing folder; `digests` are those of what was tried."""
    content = digests | {"budgets": params.model_dump(), "checks": [asdict(check) for check in checks]}
    write_document(folder / SERVABILITY_FILE, content)
