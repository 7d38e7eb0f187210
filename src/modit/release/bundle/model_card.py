"""The model card of a bundle: what it is, on what it was measured, and what it is not good for. For people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modit.data.splits import HOLDOUTS
from modit.evaluate.bootstrap import interval_text
from modit.inference.sampler_file import SamplerInfo
from modit.release.bundle.licences import OWN

Json = dict[str, Any]

_COMPARED = ("HPPO - Average pooling", "HPPO - best classical", "HPPO - MO-DiT")


def model_card(info: SamplerInfo, report: Json, judged: Json, window: dict[str, str] | None, items: int) -> str:
    """The card as Markdown.

    Args:
        info: of the sampler.
        report: content of `report.json`.
        judged: the domain's part of `verdict.json`.
        window: days of the data, or None.
        items: in the index.
    """
    run, splits = report["run"], report["domains"][info.domain]["splits"]
    days = f"{window['start']} to the day before {window['end']}" if window else "all that the input had"
    return "\n".join(
        [
            f"# modit-{info.domain}",
            "",
            f"A query generator for the attribute `{info.domain}`: from 1 to {info.maximum_seeds} seed items it writes "
            "a query whose nearest items are like the seeds and have the attribute. One ONNX file, "
            f"{info.steps} steps, {info.samples} samples averaged, embeddings of {info.dimension} numbers, "
            f"guidance {info.guidance:g}.",
            "",
            f"- Data: `{run['catalogue']}`, {days}; {items:,} items.",
            f"- Made with preset `{run['preset']}`, seed {run['seed']}.",
            f"- Verdict: **{judged['status']}**.",
            *(f"  - {reason}" for reason in judged["reasons"]),
            *(f"- Weights of 8 bits: {each['words']}." for each in judged["precisions"].values()),
            "",
            "## Figures",
            "",
            "Joint@K: share of the first K items that have the attribute and the seeds' pattern. Same@K: that have the "
            "pattern. Intervals are 95 % of a paired bootstrap.",
            "",
            *_table(splits),
            "",
            "## Limits",
            "",
            *(f"- {limit}" for limit in _limits(info)),
            "",
            "## Licence",
            "",
            f"The code is {OWN}. Whether the weights may be passed on depends on the data that they learnt from. "
            "`licences.json` lists what the service needs.",
            "",
        ]
    )


def _table(splits: Json) -> list[str]:
    names = " | ".join(f"Joint@K {name} [95 %]" for name in _COMPARED)
    lines = [f"| cases | Joint@K | Same@K | {names} |", f"|{'---|' * (3 + len(_COMPARED))}"]
    for split in HOLDOUTS:
        result = splits[split]
        if not result["cases"]:
            lines.append(f"| {split.description}: none | {'- | ' * (2 + len(_COMPARED))}".rstrip())
            continue
        row = next(row for row in result["rows"] if row["name"] == "HPPO")
        differences = {entry["name"]: entry["joint"] for entry in result["comparisons"]}
        cells = [interval_text(differences[name]) for name in _COMPARED]
        figures = f"{row['joint']:.3f} | {row['same']:.3f} | {' | '.join(cells)}"
        lines.append(f"| {split.description}: {result['cases']} | {figures} |")
    return lines


def _limits(info: SamplerInfo) -> Sequence[str]:
    return (
        "The attribute is what the production scorer says of an item, its errors included.",
        "Seeds and items must be embedded by the encoder of the training catalogue, see `space.json`.",
        f"It was trained with up to {info.maximum_seeds} seeds of one pattern; several patterns were not measured.",
        "The figures are of held-out cases of this catalogue; on another catalogue they say nothing.",
        "Nothing was measured about fairness to groups of people or of makers of items.",
    )
