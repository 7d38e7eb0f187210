"""The little SVG that the report's charts need: scales, axes and marks. The same input gives the same text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Literal

from markupsafe import Markup

Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True)
class Scale:
    """A linear map from data to pixels.

    Attributes:
        low: data value at `start`.
        high: data value at `end`.
        start: pixel.
        end: pixel.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of a data value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round values that span [low, high], ends included."""
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if span / (power * factor) <= count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if first == last:
        last += 1
    return [round(number * step, 10) for number in range(first, last + 1)]


@dataclass
class Canvas:
    """Collects elements of one picture.

    Attributes:
        width: pixels.
        height: pixels.
        label: what a screen reader says.
    """

    width: int
    height: int
    label: str
    _parts: list[str] = field(default_factory=list)

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
        """A straight line; `style` is a CSS class."""
        self._parts.append(f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def path(self, points: Sequence[tuple[float, float]], color: str, style: str = "curve") -> None:
        """A line through points."""
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(f'<polyline class="{style}" points="{joined}" stroke="{color}"/>')

    def area(self, points: Sequence[tuple[float, float]], color: str) -> None:
        """A filled band."""
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(f'<polygon points="{joined}" fill="{color}" opacity="0.15"/>')

    def circle(self, x: float, y: float, radius: float, color: str, hollow: bool = False, tip: str = "") -> None:
        """A dot; `tip` shows when the pointer rests on it."""
        fill = "#fff" if hollow else color
        self._parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{fill}" stroke="{color}" stroke-width="1.8">'
            f"<title>{escape(tip)}</title></circle>"
        )

    def bar(self, x: float, y: float, width: float, height: float, color: str, tip: str = "") -> None:
        """A filled rectangle."""
        self._parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{max(height, 0):.1f}" rx="2" fill="{color}">'
            f"<title>{escape(tip)}</title></rect>"
        )

    def text(self, x: float, y: float, content: str, style: str = "tick", anchor: Anchor = "start") -> None:
        """A line of text at its baseline."""
        self._parts.append(
            f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>'
        )

    def side_text(self, x: float, y: float, content: str) -> None:
        """Text that runs upwards, for the y axis."""
        turned = f'transform="rotate(-90 {x:.1f} {y:.1f})"'
        self._parts.append(
            f'<text class="axis" x="{x:.1f}" y="{y:.1f}" text-anchor="middle" {turned}>{escape(content)}</text>'
        )

    def render(self) -> Markup:
        """The picture as an inline element."""
        head = f'<svg viewBox="0 0 {self.width} {self.height}" width="{self.width}" role="img"'
        return Markup(f'{head} aria-label="{escape(self.label)}">{"".join(self._parts)}</svg>')  # noqa: S704 - escaped above


@dataclass(frozen=True)
class Frame:
    """A canvas with both axes drawn, and the scales to put marks on it."""

    canvas: Canvas
    x: Scale
    y: Scale


def framed(
    size: tuple[int, int],
    label: str,
    x_ticks: Sequence[float] | Mapping[float, str],
    y_ticks: Sequence[float],
    titles: tuple[str, str],
    right: int = 16,
) -> Frame:
    """Draws axes over [first, last] tick of both directions.

    Args:
        size: width and height in pixels.
        label: for screen readers.
        x_ticks: ascending, with labels where they are not the numbers; empty for a categorical axis that the caller
            labels.
        y_ticks: ascending.
        titles: of the x and the y axis.
        right: margin for labels beyond the plot.
    """
    width, height = size
    canvas = Canvas(width, height, label)
    left, top, bottom = 52, 14, 42
    labels = x_ticks if isinstance(x_ticks, Mapping) else {tick: f"{tick:g}" for tick in x_ticks}
    limits = (min(labels), max(labels)) if labels else (0.0, 1.0)
    x = Scale(*limits, left, width - right)
    y = Scale(y_ticks[0], y_ticks[-1], height - bottom, top)
    for tick in y_ticks:
        canvas.line(left, y(tick), width - right, y(tick), "grid")
        canvas.text(left - 7, y(tick) + 4, f"{tick:g}", anchor="end")
    for tick, words in labels.items():
        canvas.line(x(tick), height - bottom, x(tick), height - bottom + 4, "axis-line")
        canvas.text(x(tick), height - bottom + 17, words, anchor="middle")
    canvas.line(left, height - bottom, width - right, height - bottom, "axis-line")
    canvas.text((left + width - right) / 2, height - 6, titles[0], "axis", "middle")
    canvas.side_text(13, (top + height - bottom) / 2, titles[1])
    return Frame(canvas, x, y)
