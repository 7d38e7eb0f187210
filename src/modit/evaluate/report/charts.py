"""The report's charts, from the values of `evaluation.json`. Shares come in as [0, 1] and are drawn in percent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from modit.evaluate import names
from modit.evaluate.bootstrap import direction
from modit.evaluate.report.svg import Canvas, Frame, Scale, framed, nice_ticks

Json = dict[str, Any]

COLORS = {
    "HPPO": "#1d4ed8",
    "MO-DiT": "#0d9488",
    "CPT only": "#84a59d",
    "Pre. GR": "#b8c4c2",
    "Average pooling": "#d97706",
}
_KIND_COLORS = {
    "classical": "#d97706",
    "two_stage": "#b45309",
    "model": "#6d5bd0",
    "champion": "#be185d",
    "oracle": "#6b7280",
}
# The rows of the chart over verdicts; reranked rows are dashed, in the colour of the row that they rerank.
VERDICT_COLORS = {
    names.POLICY: "#1d4ed8",
    names.AVERAGE: "#d97706",
    names.FIXED_MOVE: "#6d5bd0",
    names.LOCAL_FEEDBACK: "#15803d",
}
_LABEL_GAP = 14.0
_FIELDS = ("case_low", "case_high", "pattern_low", "pattern_high")
_MOST_POINTS = 240
_TICK_GAP = 0.12  # of labels on the logarithmic axis, in powers of ten


@dataclass(frozen=True)
class Series:
    """A line of a chart.

    Attributes:
        name: in the legend.
        color: CSS colour.
        points: (x, y), x ascending.
        band: (low, high) for each point, or empty.
        hollow: which points are drawn hollow, or empty.
    """

    name: str
    color: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float]] = ()
    hollow: Sequence[bool] = ()


def color_of(row: Json) -> str:
    """The colour of a row: its own, or its kind's."""
    return COLORS.get(row["name"], _KIND_COLORS[row["kind"]])


def tradeoff(rows: Sequence[Json], k: int) -> Markup:
    """Joint@K against Same@K: up is better, right keeps the pattern. Oracles are hollow."""
    x_ticks = nice_ticks(100 * min(row["same"] for row in rows), 100 * max(row["same"] for row in rows), 6)
    y_ticks = nice_ticks(0, 100 * max(row["joint"] for row in rows))
    titles = (f"Same@{k}, %: results in the seeds' pattern", f"Joint@{k}, %: attribute and pattern")
    frame = framed((578, 380), f"Joint against Same at {k}", x_ticks, y_ticks, titles, right=168)
    places = [(frame.x(100 * row["same"]), frame.y(100 * row["joint"])) for row in rows]
    heights = _spread([y for _, y in places], 14, 330)
    edge = frame.x.end + 14
    for row, (x, y), height in zip(rows, places, heights, strict=True):
        tip = f"{row['name']}: Joint {100 * row['joint']:.1f} %, Same {100 * row['same']:.1f} %"
        frame.canvas.line(x + 5, y, edge - 3, height, "leader")
        frame.canvas.circle(x, y, 6 if row["name"] == "HPPO" else 4.5, color_of(row), row["kind"] == "oracle", tip)
        frame.canvas.text(edge, height + 4, row["name"], "strong" if row["name"] == "HPPO" else "tick")
    return frame.canvas.render()


def _spread(heights: Sequence[float], low: float, high: float) -> list[float]:
    """Moves label heights apart so that none overlap, as little as a single pass down and one up do."""
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    placed = list(heights)
    floor = low
    for index in order:
        placed[index] = max(placed[index], floor)
        floor = placed[index] + _LABEL_GAP
    ceiling = high
    for index in reversed(order):
        placed[index] = min(placed[index], ceiling)
        ceiling = placed[index] - _LABEL_GAP
    return placed


def verdict_lines(curve: Sequence[Json], k: int) -> Markup | None:
    """Joint@K of each row against the number of known verdicts; None with a single number of them.

    Args:
        curve: as `modit.evaluate.seeds.verdict_counts.verdict_curve` returns it.
        k: of the title.
    """
    if len(curve) < 2:  # noqa: PLR2004 - a line needs two points
        return None
    ticks = {math.log10(point["count"]): f"{point['count']:,}" for point in curve}
    if len(curve) > 2 and list(ticks)[-1] - list(ticks)[-2] < _TICK_GAP:  # noqa: PLR2004 - the one before the last
        ticks[list(ticks)[-2]] = ""
    rows = [name for name in curve[-1] if name != "count"]
    greatest = max(100 * point[name]["mean"] for point in curve for name in rows)
    titles = ("known verdicts", f"Joint@{k}, %")
    frame = framed((640, 380), f"Joint at {k} by known verdicts", ticks, nice_ticks(0, greatest), titles, right=190)
    heights = _spread([frame.y(100 * curve[-1][name]["mean"]) for name in rows], 14, 330)
    for name, height in zip(rows, heights, strict=True):
        first = name.removesuffix(names.reranked(""))
        color, edge = VERDICT_COLORS[first], frame.x.end + 14
        points = [(frame.x(x), frame.y(100 * point[name]["mean"])) for x, point in zip(ticks, curve, strict=True)]
        frame.canvas.path(points, color, "curve" if name == first else "curve dashed")
        for (x, y), point in zip(points, curve, strict=True):
            tip = f"{name}, {point['count']:,} verdicts: {100 * point[name]['mean']:.1f} %"
            frame.canvas.circle(x, y, 3, color, name != first, tip)
        frame.canvas.line(points[-1][0] + 5, points[-1][1], edge - 3, height, "leader")
        frame.canvas.text(edge, height + 4, name, "strong" if first == names.POLICY else "tick")
    return frame.canvas.render()


def stage_bars(rows: Sequence[Json], k: int) -> Markup:
    """Joint@K after each stage with its interval; the dashed line is average pooling."""
    by_name = {row["name"]: row for row in rows}
    stages = [by_name[name] for name in ("Pre. GR", "CPT only", "MO-DiT", "HPPO")]
    average = 100 * by_name["Average pooling"]["joint"]
    top = max([average] + [100 * _bounds(row["joint_interval"])[1] for row in stages])
    frame = framed((390, 300), f"Joint at {k} by stage", [], nice_ticks(0, 1.08 * top), ("", f"Joint@{k}, %"), right=72)
    width = (frame.x.end - frame.x.start) / len(stages)
    labels = []
    for number, row in enumerate(stages):
        low, high = _bounds(row["joint_interval"])
        middle, height = frame.x.start + (number + 0.5) * width, frame.y(100 * row["joint"])
        tip = f"{row['name']}: {100 * row['joint']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
        frame.canvas.bar(middle - 0.3 * width, height, 0.6 * width, frame.y.start - height, color_of(row), tip)
        upper = frame.y(100 * high)
        frame.canvas.line(middle, upper, middle, frame.y(100 * low), "whisker")
        labels.append((middle, upper - 5, f"{100 * row['joint']:.1f}"))
        frame.canvas.text(middle, frame.y.start + 17, row["name"], anchor="middle")
    frame.canvas.line(frame.x.start, frame.y(average), frame.x.end, frame.y(average), "reference")
    frame.canvas.text(frame.x.end + 6, frame.y(average) - 1, "averaging", "reference-text")
    frame.canvas.text(frame.x.end + 6, frame.y(average) + 13, f"{average:.1f}", "reference-text")
    for x, y, content in labels:  # last, so that the dashed line does not strike them through
        frame.canvas.text(x, y, content, "strong", "middle")
    return frame.canvas.render()


def lines(
    series: Sequence[Series],
    titles: tuple[str, str],
    size: tuple[int, int] = (400, 280),
    from_zero: bool = True,
    x_ticks: Sequence[float] | None = None,
) -> Markup:
    """Lines with a legend below the top edge, bands where given; `x_ticks` for an axis of whole numbers."""
    ys = [value for entry in series for _, value in entry.points]
    ys += [value for entry in series for pair in entry.band for value in pair]
    xs = [x for entry in series for x, _ in entry.points]
    y_ticks = nice_ticks(0 if from_zero else min(ys), max(ys) + 0.12 * (max(ys) - (0 if from_zero else min(ys))))
    frame = framed(size, f"{titles[1]} by {titles[0]}", x_ticks or nice_ticks(min(xs), max(xs)), y_ticks, titles)
    for entry in series:
        _draw_series(frame, entry)
    if len(series) > 1:
        _legend(frame, series)
    return frame.canvas.render()


def _draw_series(frame: Frame, entry: Series) -> None:
    points = _thinned(entry.points)
    if entry.band:
        upper = [(frame.x(x), frame.y(high)) for (x, _), (_, high) in zip(entry.points, entry.band, strict=True)]
        lower = [(frame.x(x), frame.y(low)) for (x, _), (low, _) in zip(entry.points, entry.band, strict=True)]
        frame.canvas.area(upper + lower[::-1], entry.color)
    frame.canvas.path([(frame.x(x), frame.y(y)) for x, y in points], entry.color)
    if len(points) <= 12:
        hollow = entry.hollow or [False] * len(points)
        for (x, y), empty in zip(points, hollow, strict=True):
            frame.canvas.circle(frame.x(x), frame.y(y), 3.5, entry.color, empty, f"{entry.name}: {y:.4g} at {x:g}")


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    step = max(1, len(points) // _MOST_POINTS)
    kept = list(points[::step])
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def _legend(frame: Frame, series: Sequence[Series]) -> None:
    x = frame.x.start + 8
    for entry in series:
        frame.canvas.line(x, 20, x + 16, 20, "legend-line")
        frame.canvas.path([(x, 20), (x + 16, 20)], entry.color)
        frame.canvas.text(x + 21, 24, entry.name)
        x += 40 + 6.3 * len(entry.name)


def reliability_points(bins: Sequence[Json]) -> Markup:
    """Observed against predicted share of items with the attribute, in bins; on the dashed line both are equal.

    A whisker is the 95 % interval of a share of that many items (Wilson 1927).
    """
    ticks = [0, 20, 40, 60, 80, 100]
    titles = ("predicted probability, %", "observed share, %")
    frame = framed((400, 340), "Observed share by predicted probability", ticks, ticks, titles)
    frame.canvas.line(frame.x(0), frame.y(0), frame.x(100), frame.y(100), "reference")
    for entry in bins:
        low, high = wilson_interval(entry["observed"], entry["items"])
        x, y = frame.x(100 * entry["predicted"]), frame.y(100 * entry["observed"])
        frame.canvas.line(x, frame.y(100 * low), x, frame.y(100 * high), "whisker")
        predicted, observed = (f"{name} {100 * entry[name]:.1f} %" for name in ("predicted", "observed"))
        tip = f"{entry['items']:,} items: {predicted}, {observed}"
        frame.canvas.circle(x, y, 4.5, COLORS[names.POLICY], tip=tip)
    return frame.canvas.render()


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of `count` independent items, in [0, 1]."""
    z2 = 1.96**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = math.sqrt(z2 * (share * (1 - share) + z2 / (4 * count)) / count) / (1 + z2 / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def forest(cells: Sequence[tuple[str, Json]], title: str) -> Markup:
    """Paired differences of Joint@K, a line for each cell: thin over patterns, thick over cases.

    Args:
        cells: (label, interval as in `evaluation.json`).
        title: for screen readers.
    """
    bounds = [100 * cell[field] for _, cell in cells for field in _FIELDS if cell[field] is not None]
    ticks = nice_ticks(min([0.0, *bounds]), max([0.0, *bounds]), 6)
    height = 26 * len(cells) + 50
    canvas = Canvas(540, height, title)
    x = Scale(ticks[0], ticks[-1], 175, 522)
    for tick in ticks:
        canvas.line(x(tick), 6, x(tick), height - 40, "zero" if tick == 0 else "grid")
        canvas.text(x(tick), height - 24, f"{tick:g}", anchor="middle")
    for number, (label, cell) in enumerate(cells):
        y = 20 + 26 * number
        color = {1: "#15803d", 0: "#6b7280", None: "#6b7280", -1: "#b91c1c"}[direction(cell)]
        canvas.text(165, y + 4, label, anchor="end")
        if cell["pattern_low"] is not None:
            canvas.path([(x(100 * cell["pattern_low"]), y), (x(100 * cell["pattern_high"]), y)], color, "thin")
        canvas.path([(x(100 * cell["case_low"]), y), (x(100 * cell["case_high"]), y)], color, "thick")
        low, high = _bounds(cell)
        tip = f"{label}: {100 * cell['mean']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
        canvas.circle(x(100 * cell["mean"]), y, 4.5, color, tip=tip)
    canvas.text((x.start + x.end) / 2, height - 6, "difference in Joint, percentage points", "axis", "middle")
    return canvas.render()


def _bounds(interval: Json) -> tuple[float, float]:
    """The interval over patterns; with too few of them, the one over cases."""
    kind = "case" if interval["pattern_low"] is None else "pattern"
    return interval[f"{kind}_low"], interval[f"{kind}_high"]
