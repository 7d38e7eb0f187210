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
MEANS = (
    *("Average pooling", "Fixed move", "Local feedback", "Pre. GR", "MO-DiT", "HPPO, network alone"),
    *("HPPO, vote alone", "HPPO", "HPPO + rerank", "Filter on all verdicts"),
)
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


def overall_section(reports: list[dict[str, Any]]) -> list[str]:
    """Counts over the judged cells of all runs, and the mean Joint@K of some rows."""
    cells = [(cell, report["domains"]) for report in reports for cell in report["cells"] if cell["cases"]]
    lines = [f"### All {len(cells)} cells", ""]
    lines += ["| comparison | higher | by case: above, below | by pattern: above, below, too few | goal, above |"]
    lines += ["|---|---|---|---|---|"]
    for name, goal in GOALS.items():
        found = [cell["differences"][name] for cell, _ in cells]
        ends = {
            kind: [(each[f"{kind}_low"], each[f"{kind}_high"]) for each in found if each[f"{kind}_low"] is not None]
            for kind in ("case", "pattern")
        }
        counted = {
            kind: f"{sum(low > 0 for low, _ in each)}, {sum(high < 0 for _, high in each)}"
            for kind, each in ends.items()
        }
        higher, too_few = sum(each["mean"] > 0 for each in found), len(found) - len(ends["pattern"])
        goal_text = f"{goal} of 24" if goal else ""
        lines.append(f"| {name} | {higher} | {counted['case']} | {counted['pattern']}, {too_few} | {goal_text} |")
    joint: dict[str, list[float]] = {}
    for cell, domains in cells:
        rows = {row["name"]: row["joint"] for row in domains[cell["domain"]]["splits"][cell["split"]]["rows"]}
        chosen = {name: rows[name] for name in MEANS}
        chosen |= {"best classical": rows[cell["best_classical"]], "best two-stage": rows[cell["best_two_stage"]]}
        for name, value in chosen.items():
            joint.setdefault(name, []).append(value)
    lines += ["", "Mean Joint@K over these cells; the best rows are chosen on the test cells:", ""]
    lines += ["| " + " | ".join(joint) + " |", "|" + "---|" * len(joint)]
    return [*lines, "| " + " | ".join(percent(sum(each) / len(each)) for each in joint.values()) + " |", ""]


def catalogue_section(report: dict[str, Any]) -> list[str]:
    """Heading, counts, and the table of a run."""
    run, counts, total = report["run"], report["counts"], len(report["cells"])
    lines = [f"### {run['catalogue']} (preset {run['preset']}, seed {run['seed']})", ""]
    for name in GOALS:
        count, too_few = counts[name], counts[name]["too_few_patterns"]
        lines.append(
            f"- {name}: Joint@K higher in {count['mean_above']} of {total} cells. The 95% interval over patterns is "
            f"above zero in {count['above']} and below zero in {count['below']}; {too_few} cells have too few "
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
    reports = [json.loads((folder / "report" / "report.json").read_text()) for folder in chosen.runs]
    lines = overall_section(reports) + [line for report in reports for line in catalogue_section(report)]
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(before + BEGIN + "\n" + "\n".join(lines) + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
