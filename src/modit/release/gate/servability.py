"""The servability key's evidence: a sampler tried in a fresh process as the service would run it, against its budgets.

What a clock or a gauge measured differs from run to run, so it is no part of `servability.json`, whose digest is
compared; it stands in the summary of the artifact's manifest. A check that fails says its figure.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import modit
from modit.core.errors import ArtifactError
from modit.core.storage import Storage
from modit.inference.answers import IDENTICAL_LISTS_MINIMUM
from modit.inference.sampler_file import variants_in
from modit.release.params import ServabilityParams

SERVABILITY_FILE = "servability.json"
LOADS, TORCH, LISTS, LATENCY, MEMORY = "loads", "no torch", "lists", "latency", "memory"
CHECKS = (LOADS, TORCH, LISTS, LATENCY, MEMORY)
VARIANT_CHECKS = (LOADS, LISTS, LATENCY)  # of a file of less precision
LEAST_OVERLAP = 0.9  # share of the items of float32's lists that such a file must find
MEASURED = ("p50_ms", "p99_ms", "peak_mb", "bytes")
_TIMEOUT = 1_800.0

Json = dict[str, Any]


@dataclass(frozen=True)
class Check:
    """One condition of serving: its name, whether it holds, and a sentence."""

    name: str
    holds: bool
    sentence: str


def try_in_fresh_process(
    folders: Mapping[str, Path], digests: Mapping[str, str], scratch: Path, params: ServabilityParams
) -> Json:
    """Runs `modit.release.gate.servability_trial` with this interpreter.

    Args:
        folders: of the artifacts `sampler`, `index` and `catalog`.
        digests: `sampler_digest` and `index_digest` that these must have; `int8_digest` where there is such a file.
        scratch: for the order and the result.
        params: section `servability`.

    Returns:
        What the trial found; `refused` with the reason where it found nothing.
    """
    order, result = scratch / "order.json", scratch / "result.json"
    named = {"folders": {name: str(folder) for name, folder in folders.items()}, "digests": dict(digests)}
    order.write_text(json.dumps(named | params.model_dump()), encoding="utf-8")
    result.unlink(missing_ok=True)
    library = str(Path(modit.__file__).resolve().parents[1])
    paths = os.pathsep.join(filter(None, (library, os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "modit.release.gate.servability_trial", str(order), str(result)]
    try:
        done = subprocess.run(
            command,
            env=os.environ | {"PYTHONPATH": paths},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"refused": f"the process did not end within {_TIMEOUT:.0f} seconds"}
    if done.returncode or not result.is_file():
        last = done.stderr.strip().rpartition("\n")[2]
        return {"refused": f"the process ended with status {done.returncode}: {last}"}
    return json.loads(result.read_text(encoding="utf-8"))


def judge_trial(found: Json, params: ServabilityParams) -> list[Check]:
    """The checks of a trial, in the order of `CHECKS`; of one that did not load there is only the first."""
    if "refused" in found:
        return [Check(LOADS, False, f"it cannot be served: {found['refused']}")]
    allowed = params.memory_mb + params.index_copies * found["vectors_mb"]
    equal, needed = found["equal_lists"], IDENTICAL_LISTS_MINIMUM
    return [
        Check(LOADS, True, "it loads in a fresh process, with the digests and canaries that it was made with"),
        Check(TORCH, not found["torch"], f"serving it {'imports' if found['torch'] else 'takes no'} torch"),
        Check(LISTS, equal >= needed, f"{equal:.3f} of {found['lists']} lists are those of torch, at least {needed}"),
        _budget(LATENCY, f"p99 of a query of {found['seeds']} seeds", found["p99_ms"], params.p99_ms, "ms"),
        _budget(MEMORY, "peak memory", found["peak_mb"], allowed, "MiB"),
    ]


def judge_variants(found: Json, digests: Mapping[str, str], params: ServabilityParams) -> dict[str, list[Check]]:
    """The checks of each file of less precision, by precision, in the order of `VARIANT_CHECKS`.

    Args:
        found: by the trial; where float32 did not load, nothing else was tried, and nothing else is served.
        digests: of what was to be tried.
        params: section `servability`.
    """
    tried = found.get("precisions", {})
    return {name: _judge_variant(name, tried.get(name, found), params) for name in variants_in(digests)}


def _judge_variant(name: str, found: Json, params: ServabilityParams) -> list[Check]:
    if "refused" in found:
        return [Check(LOADS, False, f"{name} cannot be served: {found['refused']}")]
    shared = found["overlap"]
    lists = f"{name} finds {shared:.3f} of the items of float32's {found['lists']} lists, at least {LEAST_OVERLAP}"
    return [
        Check(LOADS, True, f"{name} loads in a fresh process, with the digest that it was made with"),
        Check(LISTS, shared >= LEAST_OVERLAP, lists),
        _budget(LATENCY, f"p99 of a query of {found['seeds']} seeds in {name}", found["p99_ms"], params.p99_ms, "ms"),
    ]


def measured_figures(found: Json) -> Json:
    """What clock and gauge said, flat; of a file of less precision under its name, such as `int8_p99_ms`."""
    figures = {name: found[name] for name in MEASURED if name in found}
    for precision, variant in found.get("precisions", {}).items():
        figures |= {f"{precision}_{name}": variant[name] for name in MEASURED if name in variant}
    return figures


def _budget(name: str, what: str, found: float, allowed: float, unit: str) -> Check:
    if found <= allowed:
        return Check(name, True, f"{what} is within its budget of {allowed:,.0f} {unit}")
    return Check(name, False, f"{what} is {found:,.1f} {unit}, its budget {allowed:,.0f} {unit}")


def save_servability(folder: Path, found: Json, digests: Json, params: ServabilityParams) -> None:
    """Writes `servability.json` into an existing folder.

    Args:
        folder: of the artifact.
        found: by the trial.
        digests: `sampler_digest`, `index_digest` and those of the variants, of what was tried.
        params: section `servability`.
    """
    checks = [vars(check) for check in judge_trial(found, params)]
    variants = {name: [vars(check) for check in each] for name, each in judge_variants(found, digests, params).items()}
    content = digests | {"budgets": params.model_dump(), "checks": checks, "precisions": variants}
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    (folder / SERVABILITY_FILE).write_text(text, encoding="utf-8")


def load_servability(folder: Path) -> Json:
    """Reads what `save_servability` wrote.

    Raises:
        ArtifactError: it is missing.
    """
    content = Storage(str(folder)).read_json(SERVABILITY_FILE)
    if content is None:
        raise ArtifactError(f"{folder / SERVABILITY_FILE} is missing")
    return content
