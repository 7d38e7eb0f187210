"""The model card of a bundle: what the model does, how it was measured, and its limits."""

from __future__ import annotations

from collections.abc import Sequence

from modit.evaluate.bootstrap import interval_text
from modit.inference.sampler_file import SamplerInfo
from modit.metric.second_stage import SecondStage
from modit.release.documents import Json
from modit.release.kinds import ReleaseKind
from modit.release.verdict import figures_of

_TEMPLATE = """\
# modit-{domain}

A query generator for the attribute `{domain}`. From 1 to {seeds} seed items it generates a query whose nearest items
are similar to the seeds and have the attribute. One ONNX file, {steps} steps, {samples} samples averaged, embeddings of
{dimension} numbers, guidance {guidance:g}. {readout}

{second_stage}

- Data: `{catalogue}`, {days}; {items:,} items.
- Made with preset `{preset}`, seed {seed}.
- Verdict: **{status}**.
{reasons}

## Figures

Joint@K: share of the first K items that have both the attribute and the seeds' pattern. Same@K: share that has the
pattern. Intervals are 95 % intervals of a paired bootstrap over patterns.

{table}

## Limits

{limits}

## Licence

The code is Apache-2.0. Whether the weights may be passed on depends on the training data.
"""


_JUDGED_ONCE_TEMPLATE = """\
# modit-{name}

{what}

- Data: `{catalogue}`, {days}; {items:,} items.
- Made with preset `{preset}`, seed {seed}.
- Verdict: **{status}**.
{reasons}

## Figures

{figures}

{table}

## Limits

{limits}

## Licence

The code is Apache-2.0. Whether the weights may be passed on depends on the training data.
"""


def card_judged_once(
    kind: ReleaseKind,
    said: tuple[str, str, Sequence[str]],
    run: Json,
    judged: Json,
    window: dict[str, str] | None,
    items: int,
) -> str:
    """The card of a retriever that is judged once for a catalogue, as Markdown.

    Args:
        kind: Its kind.
        said: What it does, what its figures are, and its limits.
        run: `catalogue`, `preset` and `seed` of the run.
        judged: Its part of `verdict.json`.
        window: Days of the data, or None.
        items: N.
    """
    what, figures, limits = said
    names = list(figures_of(judged["rows"][0])) if judged["rows"] else []
    table = [
        f"| row | {' | '.join([f'{name} [95 %]' for name in names[:1]] + names[1:])} |",
        f"|{'---|' * (1 + len(names))}",
    ]
    for row in judged["rows"]:
        first, *others = (f"{value:.4f}" for value in figures_of(row).values())
        table.append(f"| {' | '.join([row['name'], f'{first} {_between(row)}'.strip(), *others])} |")
    return _JUDGED_ONCE_TEMPLATE.format(
        name=kind.name,
        what=what,
        figures=figures,
        table="\n".join(table),
        limits="\n".join(f"- {limit}" for limit in limits),
        items=items,
        **_made_with(run, judged, window),
    )


def _between(row: Json) -> str:
    return f"[{row['low']:.4f}, {row['high']:.4f}]" if row["low"] is not None else ""


def _made_with(run: Json, judged: Json, window: dict[str, str] | None) -> Json:
    """What cards of all kinds say of run, data and verdict."""
    return {
        "catalogue": run["catalogue"],
        "days": f"{window['start']} to the day before {window['end']}" if window else "all that the input had",
        "preset": run["preset"],
        "seed": run["seed"],
        "status": judged["status"],
        "reasons": "\n".join(f"  - {reason}" for reason in judged["reasons"]),
    }


def model_card(
    info: SamplerInfo, stage: SecondStage, run: Json, judged: Json, window: dict[str, str] | None, items: int
) -> str:
    """The card as Markdown; `run` is that of `report.json`, `judged` the domain's part of `verdict.json`."""
    return _TEMPLATE.format(
        domain=info.domain,
        seeds=info.maximum_seeds,
        steps=info.steps,
        samples=info.samples,
        dimension=info.dimension,
        guidance=info.guidance,
        readout=_readout(info),
        second_stage=_second_stage(stage),
        items=items,
        table="\n".join(_table(judged["splits"])),
        limits="\n".join(f"- {limit}" for limit in _limits(info)),
        **_made_with(run, judged, window),
    )


def _readout(info: SamplerInfo) -> str:
    """What the query is made of, as a sentence."""
    share = info.network_share
    start = {0.0: "from the seeds; no network is run", 1.0: "from the network's query"}
    where = start.get(share, f"from the seeds and, with a share of {share:g}, from the network's query")
    evidence = " Some go along what the stored verdicts of items near the seeds say." if info.uses_evidence else ""
    return f"The query is a vote of moves that start {where}.{evidence}"


def _second_stage(stage: SecondStage) -> str:
    """What the second stage is, and whether it answers unasked."""
    default = "It is on unless a request turns it off." if stage.enabled else "It is off unless a request asks for it."
    return (
        f"A second stage can reorder a list that is fetched {stage.depth} times as long, by inner product + "
        f"{stage.weight:g} * log P(attribute and pattern). The attribute is the stored verdict of an item or, where "
        f"there is none, what a calibrated attribute model ({stage.facts.get('kind')}) says; the pattern follows from "
        f"the seeds and {len(stage.patterns.centres)} known patterns. {default} The figures below are of the first "
        "stage alone, but for those of a reranked list."
    )


def _table(splits: Json) -> list[str]:
    if not splits:
        return ["No split was judged."]
    names = list(next(iter(splits.values()))["differences"])
    lines = ["| split | cases | Joint@K | Same@K | " + " | ".join(f"Joint@K, {name} [95 %]" for name in names) + " |"]
    lines.append(f"|{'---|' * (4 + len(names))}")
    for split, figures in splits.items():
        cells = [interval_text(figures["differences"][name]) for name in names]
        means = [f"{figures[name]['hppo']:.3f}" for name in ("joint", "same")]
        lines.append("| " + " | ".join([split, str(figures["cases"]), *means, *cells]) + " |")
    return lines


def _limits(info: SamplerInfo) -> Sequence[str]:
    return (
        "The attribute is the production scorer's verdict on an item, its errors included.",
        "Seeds and items must be embedded by the encoder of the training catalogue, see `space.json`.",
        f"It was trained with up to {info.maximum_seeds} seeds of one pattern; several patterns were not measured.",
        "The figures are of held-out cases of this catalogue; they say nothing about another catalogue.",
        "Fairness to groups of people or of makers of items was not measured.",
    )
