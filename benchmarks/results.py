"""Writes the quality part of docs/explanation/results.md from finished runs.

    PYTHONPATH=src:. python benchmarks/run_catalogues.py --runs runs ../shared/data/{goodbooks,spotify,retail}
    PYTHONPATH=src:. python benchmarks/results.py runs/goodbooks-small-0 runs/spotify-small-0 runs/retail-small-0

Figures come from each run's report.json alone; the text between the markers of docs/explanation/results.md is replaced.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

PAGE = Path("docs/explanation/results.md")
BEGIN, END = "<!-- quality: begin -->", "<!-- quality: end -->"
# Comparison -> in how many of the 24 cells of the three catalogues its interval must lie above zero.
GOALS = {
    "HPPO - MO-DiT": 20,
    "MO-DiT - Pre. GR": 20,
    "HPPO - best classical": 16,
    "HPPO + rerank - best two-stage": 14,
    "HPPO - Average pooling": None,
}
HEADER = (
    *("domain", "hold-out", "cases / patterns", "average", "best classical", "Pre. GR", "MO-DiT", "network alone"),
    *("vote alone", "HPPO", "best two-stage", "HPPO + rerank", "filter", "HPPO − MO-DiT", "HPPO − best classical"),
    "HPPO + rerank − best two-stage",
)


def percent(value: float) -> str:
    """A share as a percentage with one decimal."""
    return f"{100 * value:.1f}"


def interval(difference: dict[str, Any], kind: str = "pattern") -> str:
    """A paired difference in points with its interval over patterns or cases."""
    low, high = difference[f"{kind}_low"], difference[f"{kind}_high"]
    if low is None:
        return f"{100 * difference['mean']:+.1f} [too few patterns]"
    return f"{100 * difference['mean']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def cell_row(cell: dict[str, Any], domains: dict[str, Any]) -> str:
    """A line of the table: one domain and split; intervals over patterns, then over cases."""
    found = [cell["domain"], cell["split"].split("_")[0]]
    if not cell["cases"]:
        return f"| {' | '.join(found)} | skipped: {cell['reason']} |" + " |" * (len(HEADER) - 3)
    rows = {row["name"]: row for row in domains[cell["domain"]]["splits"][cell["split"]]["rows"]}
    joint = {name: percent(row["joint"]) for name, row in rows.items()}
    two_stage = cell["best_two_stage"]
    found += [
        f"{cell['cases']} / {cell['patterns']}",
        joint["Average pooling"],
        f"{joint[cell['best_classical']]} {cell['best_classical']}",
        *(joint[name] for name in ("Pre. GR", "MO-DiT", "HPPO, network alone", "HPPO, vote alone")),
        f"**{joint['HPPO']}**",
        f"{joint[two_stage]} {two_stage.removesuffix(' + rerank')}",
        joint["HPPO + rerank"],
        joint["Filter on all verdicts"],
    ]
    for name in ("HPPO - MO-DiT", "HPPO - best classical", "HPPO + rerank - best two-stage"):
        difference = cell["differences"][name]
        by_case = interval(difference, "case").split(" ", 1)[1]
        found.append(f"{interval(difference)} {by_case}")
    return "| " + " | ".join(found) + " |"


def catalogue_section(folder: Path) -> list[str]:
    """Heading, counts against the goals, and the table of a run."""
    report = json.loads((folder / "report" / "report.json").read_text())
    run, counts, total = report["run"], report["counts"], len(report["cells"])
    lines = [f"### {run['catalogue']} (preset {run['preset']}, seed {run['seed']})", ""]
    for name, goal in GOALS.items():
        count, too_few = counts[name], counts[name]["too_few_patterns"]
        wanted = f" (goal over the three catalogues: {goal} of 24)" if goal else ""
        lines.append(
            f"- {name}: Joint@K higher in {count['mean_above']} of {total} cells. The 95% interval over patterns is "
            f"above zero in {count['above']}{wanted} and below zero in {count['below']}; {too_few} cells have too few "
            f"patterns to tell. Over cases, which are not independent, it is above zero in {count['above_by_case']}."
        )
    lines += ["", "| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    lines += [cell_row(cell, report["domains"]) for cell in report["cells"]]
    return [*lines, ""]


def main() -> None:
    """Rewrites the part between the markers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    chosen = parser.parse_args()
    lines = [line for folder in chosen.runs for line in catalogue_section(folder)]
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(before + BEGIN + "\n" + "\n".join(lines) + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
