"""Puts every kind of fault into real logs and prints, as Markdown, what caught it.

PYTHONPATH=src:. python benchmarks/fault_table.py [../shared/data/retail]
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq

from modit.data.params import ValidationParams
from tests.faults.kinds import all_faults
from tests.faults.trial import Result, Trial

# What the owner of this catalogue promises beyond the contract: unit length.
PARAMS = ValidationParams(embedding_norm_min=0.5, embedding_norm_max=2.0)
START, DAYS = date(2011, 9, 15), 30


def main() -> int:
    default = Path(os.environ.get("MODIT_DATA", Path(__file__).parents[2] / "shared" / "data")) / "retail"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", nargs="?", type=Path, default=default, help="a dated catalogue (default %(default)s)")
    chosen = parser.parse_args()
    if not chosen.logs.is_dir():
        print(f"no logs in {chosen.logs}: give a folder, or set MODIT_DATA", file=sys.stderr)
        return 2
    logging.getLogger().setLevel(logging.WARNING)
    results = try_all(chosen.logs)
    print(table(results))
    return 0 if all(result.is_right for result in results) else 1


def trial(logs: Path) -> Trial:
    items, interactions = (pq.read_table(logs / f"{name}.parquet") for name in ("items", "interactions"))
    return Trial(items, interactions, START, DAYS, PARAMS)


def try_all(logs: Path, domain: str = "cheap") -> list[Result]:
    prepared = trial(logs)
    return [prepared.run(fault) for fault in all_faults(domain)]


def table(results: list[Result]) -> str:
    right = [result for result in results if result.is_right]
    whole = [result for result in results if result.fault.refused]
    how = f"{len(results) - len(whole)} by setting rows aside, {len(whole)} by refusing the window"
    lost, kept, bad = (sum(getattr(r, name) for r in results) for name in ("good_lost", "bad_kept", "bad"))
    lines = [
        f"{len(results)} kinds of bad input, {len(right)} found as they must be: {how}."
        f" Good rows lost: {lost}; bad rows kept: {kept} of {bad}.",
        "",
        "| table | column | fault | caught by | bad rows | outcome | good lost | bad kept |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        fault = result.fault
        column = f"`{fault.column}`" if fault.column else "file" if fault.rule.startswith("file") else "rows"
        caught = (
            f"`{fault.rule}`" if result.is_right else f"**{', '.join(result.rules) or 'nothing'}**, not `{fault.rule}`"
        )
        rows = "window" if fault.refused else str(result.bad)
        harm = ("–", "–") if fault.refused else (str(result.good_lost), str(result.bad_kept))
        lines.append(
            f"| {fault.table} | {column} | {fault.name} | {caught} | {rows} | {result.found} | {' | '.join(harm)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
