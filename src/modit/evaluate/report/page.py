"""`report.html`: one self-contained page from the content of `report.json`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from modit.data.splits import HOLDOUTS
from modit.evaluate import names
from modit.evaluate.bootstrap import TOO_FEW, direction
from modit.evaluate.records import VARIANT_WORDS
from modit.evaluate.report.charts import (
    COLORS,
    Series,
    forest,
    lines,
    reliability_points,
    stage_bars,
    tradeoff,
    verdict_lines,
)

Json = dict[str, Any]

FIGURES = ("auc", "attr", "same", "joint", "cond")
STAGE_NAMES = {"pretrained": "pretraining", "continued": "continued pretraining", "finetuned": "fine-tuning"}
# The rows of the headline and what is compared, in words.
MEANS = (
    ("average", "averaging the seeds"),
    ("before_training", "before training, from its verdicts"),
    ("best_classical", "best classical row"),
    ("mo_dit", "MO-DiT"),
    ("hppo", "HPPO"),
    ("best_two_stage", "best two-stage row"),
    ("hppo_reranked", "HPPO + rerank"),
)
COMPARISONS = (
    (names.AGAINST_UNTRAINED, "HPPO against what the domain's verdicts gave before training"),
    (names.AGAINST_SFT, "HPPO against MO-DiT, the same model before preference alignment"),
    (names.AGAINST_CLASSICAL, "HPPO against the best classical row, which answers with one closed-form query"),
    (names.AGAINST_TWO_STAGE, "HPPO with a reranked list against the best classical row with one"),
    (names.AGAINST_AVERAGE, "HPPO against averaging the seeds"),
    (names.SFT_GAIN, "MO-DiT against the pretrained generator"),
)
_MARKS = {1: ("▲", "up"), 0: ("–", "level"), -1: ("▼", "down"), None: ("?", "unknown")}
_EVALUATION_COLOR = {"item": "#1d4ed8", "pattern": "#b45309"}


def render_page(report: Json) -> str:
    """The page as HTML; nothing in it is fetched from anywhere.

    Args:
        report: content of `report.json`.
    """
    folder = files("modit.evaluate.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "percent": percent,
        "interval": interval_text,
        "difference": difference_text,
        "mark": mark,
        "setting": setting,
        "decimals": decimals,
    }
    means = [(key, words) for key, words in MEANS if key in report["mean_joint"]]
    comparisons = [(name, words) for name, words in COMPARISONS if name in report["counts"]]
    environment.globals |= {"MEANS": means, "COMPARISONS": comparisons, "greatest_mean": _greatest_mean}
    environment.globals["best_of"] = best_of
    environment.globals["whole_k"] = next(iter(report["domains"].values()))["whole_catalogue"]["k"]
    environment.globals["split_words"] = {split: split.description for split in HOLDOUTS}
    template = environment.from_string((folder / "page.html").read_text(encoding="utf-8"))
    return template.render(
        report=report,
        style=Markup((folder / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
        domains=[_domain_view(name, content) for name, content in report["domains"].items()],
        forests=_forests(report["cells"]),
    )


def percent(value: float | None) -> str:
    """A share in percent with one decimal."""
    return "–" if value is None else f"{100 * value:.1f}"


def decimals(value: float | None, places: int = 3) -> str:
    """A number, or a dash where there is none."""
    return "–" if value is None else f"{value:.{places}f}"


def interval_text(interval: Json) -> str:
    """[low, high] over patterns, in percent; nothing with too few patterns."""
    if interval["pattern_low"] is None:
        return ""
    return f"[{percent(interval['pattern_low'])}, {percent(interval['pattern_high'])}]"


def difference_text(interval: Json, kind: str = "pattern", brief: bool = False) -> str:
    """The mean with its interval, +mean [low, high], in percentage points.

    Args:
        interval: As `paired_interval` returns it.
        kind: "pattern" or "case", which are resampled.
        brief: Leave out the words where there is no interval, because a mark beside it says so.
    """
    mean, low, high = f"{100 * interval['mean']:+.1f}", interval[f"{kind}_low"], interval[f"{kind}_high"]
    if low is None and brief:
        return mean.replace("-", "−")
    bounds = TOO_FEW if low is None else f"{100 * low:+.1f}, {100 * high:+.1f}"
    return f"{mean} [{bounds}]".replace("-", "−")


def mark(interval: Json) -> Markup:
    """Above, below or level by the interval over patterns; a question mark with too few patterns."""
    symbol, style = _MARKS[direction(interval)]
    return Markup('<span class="mark {}">{}</span>').format(style, symbol)


def setting(row: Json) -> str:
    """What validation chose for a row, in words: its setting, or the guidance of a model."""
    chosen = row["tuned"]["setting"] if row["tuned"] else {}
    if row["guidance"] is not None:
        chosen = {"guidance": row["guidance"]} | chosen
    return ", ".join(f"{name} {value if isinstance(value, str) else f'{value:g}'}" for name, value in chosen.items())


def best_of(rows: Sequence[Json]) -> dict[str, float]:
    """The greatest value of each figure among the rows that are no oracles."""
    fair = [row for row in rows if row["kind"] != "oracle"]
    return {figure: max((row[figure] for row in fair if row[figure] is not None), default=0.0) for figure in FIGURES}


def _greatest_mean(means: Json) -> float:
    return max(means[key] for key, _ in MEANS if key in means)


def _forests(cells: Sequence[Json]) -> list[tuple[str, Markup]]:
    judged = [cell for cell in cells if cell["cases"]]
    if not judged:
        return []
    titles = {
        names.AGAINST_SFT: "HPPO minus MO-DiT",
        names.AGAINST_CLASSICAL: "HPPO minus best classical row",
        names.AGAINST_TWO_STAGE: "HPPO + rerank minus best two-stage row",
    }
    if names.AGAINST_UNTRAINED in judged[0]["differences"]:
        titles[names.AGAINST_UNTRAINED] = "HPPO minus before training"
    return [
        (
            title,
            forest(
                [(f"{cell['domain']}, {cell['split'].split('_')[0]}", cell["differences"][name]) for cell in judged],
                title,
            ),
        )
        for name, title in titles.items()
    ]


def _domain_view(name: str, content: Json) -> Json:
    k = content["k"]
    splits = [
        {
            "name": split,
            "result": result,
            "whole": content["whole_catalogue"]["splits"][split],
            **(_split_charts(result, k) if result["cases"] else {}),
        }
        for split, result in sorted(content["splits"].items())
    ]
    return {
        "name": name,
        "content": content,
        "splits": splits,
        "rounds": _rounds_chart(content.get("rounds", []), k),
        "variants": content.get("variants"),
        "second_stage": _second_stage_view(content.get("second_stage")),
        "judged": judged_against(content.get("champion")),
        "training": [(_stage_name(stage), _curve_chart(curve)) for stage, curve in _curves(content)],
    }


def _second_stage_view(facts: Json | None) -> Json | None:
    """The second stage with its plot; None in an evaluation that has none."""
    return facts and facts | {"plot": reliability_points(facts["reliability"]["bins"])}


def judged_against(champion: Json | None) -> str:
    """What the gate compares HPPO with, in words.

    Args:
        champion: of `evaluation.json`; None where the registry was not asked.
    """
    if champion is None:
        return "The registry was not asked for a champion."
    name = f"{champion['model']}/{champion['version']}"
    return {
        "none": "There is no champion yet: the gate holds the served lists to absolute thresholds, and slices are "
        "compared with averaging the seeds.",
        "ready": f"The champion is {name}. Its exported sampler is the row Champion: the same cases, the same noise, "
        "today's index and second stage. The gate asks for a gain of the served lists over its, and that no slice "
        "loses.",
    }.get(champion["status"], f"The champion {name} cannot be judged on today's cases: {champion['reason']}.")


def _split_charts(result: Json, k: int) -> Json:
    return {
        "tradeoff": tradeoff(result["rows"], k),
        "stages": stage_bars(result["rows"], k),
        "seed_counts": _seed_count_chart(result["seed_counts"], k),
        "verdict_counts": verdict_lines(result["verdict_counts"], k),
    }


def _seed_count_chart(curve: Sequence[Json], k: int) -> Markup:
    def series(name: str, key: str) -> Series:
        points = [(point["count"], 100 * point[key]["mean"]) for point in curve]
        kind = "case" if curve[0][key]["pattern_low"] is None else "pattern"
        band = [(100 * point[key][f"{kind}_low"], 100 * point[key][f"{kind}_high"]) for point in curve]
        return Series(name, COLORS[name], points, band)

    both = [series("HPPO", "hppo_shuffled"), series("Average pooling", "average")]
    return lines(both, ("seeds given, in any order", f"Joint@{k}, %"))


def _rounds_chart(rounds: Sequence[Json], k: int) -> Markup | None:
    ran = [entry for entry in rounds if "item_joint" in entry]
    if len(ran) < 2:  # noqa: PLR2004 - a line needs two points
        return None
    hollow = [not entry["kept"] for entry in ran]
    series = [
        Series(
            f"validation {kind}s",
            color,
            [(entry["round"], 100 * entry[f"{kind}_joint"]) for entry in ran],
            hollow=hollow,
        )
        for kind, color in _EVALUATION_COLOR.items()
    ]
    ticks = list(range(ran[0]["round"], ran[-1]["round"] + 1))
    return lines(series, ("round (0: before HPPO)", f"Joint@{k}, %"), from_zero=False, x_ticks=ticks)


def _curves(content: Json) -> list[tuple[str, list[Json]]]:
    """Curves with at least two points, in the order in which the stages run."""
    training = content.get("training", {})
    order = [*STAGE_NAMES, *sorted(set(training) - set(STAGE_NAMES))]
    return [(stage, training[stage]) for stage in order if len(training.get(stage, [])) > 1]


def _curve_chart(curve: Sequence[Json]) -> Markup:
    points = [(point["step"], point["loss"]) for point in curve if point["loss"] is not None]
    return lines([Series("loss", "#374151", points)], ("step", ""), size=(270, 190), from_zero=False)


def _stage_name(stage: str) -> str:
    kind = stage.removeprefix("hppo_")
    return STAGE_NAMES.get(stage, f"HPPO {VARIANT_WORDS.get(kind, f'round {kind}')}")
