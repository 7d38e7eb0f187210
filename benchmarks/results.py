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
GOALS = (("HPPO - MO-DiT", 7), ("MO-DiT - Pre. GR", 7), ("HPPO - best classical", 6), ("HPPO - Average pooling", None))


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
    """A line of the table: one domain and split."""
    rows = {row["name"]: row for row in domains[cell["domain"]]["splits"][cell["split"]]["rows"]}
    stages = [percent(rows[name]["joint"]) for name in ("Average pooling", "Pre. GR", "CPT only", "MO-DiT")]
    differences = [interval(cell["differences"][name]) for name in ("HPPO - MO-DiT", "HPPO - best classical")]
    by_case = interval(cell["differences"]["HPPO - MO-DiT"], "case")
    best = f"{percent(cell['joint']['best_classical'])} {cell['best_classical']}"
    cases = f"{cell['cases']} / {cell['patterns']}"
    same = f"{percent(rows['MO-DiT']['same'])} → {percent(rows['HPPO']['same'])}"
    oracle = percent(rows["Oracle tail centroid"]["joint"])
    cells = [cell["domain"], cell["split"].split("_")[0], cases, stages[0], best, *stages[1:]]
    cells += [f"**{percent(rows['HPPO']['joint'])}**", same, differences[0], by_case, differences[1], oracle]
    return "| " + " | ".join(cells) + " |"


def catalogue_section(folder: Path) -> list[str]:
    """Heading, counts against the goals, and the table of a run."""
    report = json.loads((folder / "report" / "report.json").read_text())
    run, counts, total = report["run"], report["counts"], len(report["cells"])
    lines = [f"### {run['catalogue']} (preset {run['preset']}, seed {run['seed']})", ""]
    for name, goal in GOALS:
        count, too_few = counts[name], counts[name]["too_few_patterns"]
        wanted = f" (goal: {goal} of 8)" if goal else ""
        lines.append(
            f"- {name}: Joint@K higher in {count['mean_above']} of {total} cells. The 95% interval over patterns is "
            f"above zero in {count['above']}{wanted} and below zero in {count['below']}; {too_few} cells have too few "
            f"patterns to tell. Over cases, which are not independent, it is above zero in {count['above_by_case']}."
        )
    header = [
        "domain",
        "hold-out",
        "cases / patterns",
        "average",
        "best classical",
        "Pre. GR",
        "CPT",
        "MO-DiT",
        "HPPO",
        "Same MO-DiT → HPPO",
        "HPPO − MO-DiT",
        "same, over cases",
        "HPPO − best classical",
        "oracle tail",
    ]
    lines += ["", "| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
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
