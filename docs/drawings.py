"""Draws the figures of the documentation: `python -m docs.drawings [--check]`.

A figure is an SVG that GitHub and the site show as it is, without a script. The steps in it are those that are
declared: a step that is missing from the figure of the architecture, or no longer declared, is an error.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from components.registry import REGISTRY

FOLDER = Path(__file__).parent / "explanation"
INK, SOFT, EDGE = "#1d2733", "#465364", "#5b6b7f"
BLUE, GREEN, RED, YELLOW, WHITE = "#eef2f7", "#f1f6f1", "#fcf0ed", "#fff8e6", "#fff"
_LINE = 15  # pixels from line to line


@dataclass(frozen=True)
class Box:
    """A box with a heading and lines below it; lengths in pixels.

    Attributes:
        x: Of its left edge.
        y: Of its upper edge.
        width: Of the box.
        height: Of the box.
        heading: Its first line.
        lines: Further lines.
        fill: Its colour.
    """

    x: float
    y: float
    width: float
    height: float
    heading: str
    lines: tuple[str, ...] = ()
    fill: str = WHITE

    @property
    def left(self) -> tuple[float, float]:
        """The middle of its left edge."""
        return self.x, self.y + self.height / 2

    @property
    def right(self) -> tuple[float, float]:
        """The middle of its right edge."""
        return self.x + self.width, self.y + self.height / 2

    @property
    def top(self) -> tuple[float, float]:
        """The middle of its upper edge."""
        return self.x + self.width / 2, self.y

    @property
    def bottom(self) -> tuple[float, float]:
        """The middle of its lower edge."""
        return self.x + self.width / 2, self.y + self.height


@dataclass
class Drawing:
    """A figure that is drawn from back to front.

    Attributes:
        width: In pixels.
        height: In pixels.
        label: What it shows, for people who cannot see it.
        parts: Its elements.
    """

    width: int
    height: int
    label: str
    parts: list[str] = field(default_factory=list)

    def group(
        self, x: float, y: float, width: float, height: float, heading: str, fill: str, below: bool = False
    ) -> None:
        """Draws a background with a heading, which stands above its boxes or `below` them."""
        self.parts.append(f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8" fill="{fill}"/>')
        self.text(
            x + 12, y + height - 11 if below else y + 20, heading, size=12, bold=True, colour=SOFT, anchor="start"
        )

    def box(self, box: Box) -> Box:
        """Draws a box and returns it."""
        shape = f'x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}"'
        self.parts.append(f'<rect {shape} rx="6" fill="{box.fill}" stroke="{EDGE}"/>')
        middle, first = box.x + box.width / 2, box.y + box.height / 2 + 4.5 - _LINE * len(box.lines) / 2
        self.text(middle, first, box.heading, size=12 if box.width > 126 else 10.5, bold=True)
        for number, line in enumerate(box.lines, 1):
            self.text(middle, first + number * _LINE, line, size=10.5, colour=SOFT)
        return box

    def row(self, x: float, y: float, width: float, height: float, content: Sequence[tuple[str, ...]]) -> list[Box]:
        """Draws boxes side by side, each from its heading and lines, over a whole width."""
        gap = 16
        each = (width - gap * (len(content) - 1)) / len(content)
        places = (x + number * (each + gap) for number in range(len(content)))
        return [
            self.box(Box(place, y, each, height, heading, lines))
            for place, (heading, *lines) in zip(places, content, strict=True)
        ]

    def arrow(self, *points: tuple[float, float], both: bool = False, dashed: bool = False) -> None:
        """Draws a line through points that ends in an arrow head, or begins with one too."""
        path = " L".join(f"{x:g} {y:g}" for x, y in points)
        start = ' marker-start="url(#b)"' if both else ""
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        line = f'fill="none" stroke="{SOFT}" stroke-width="1.5"{dash}'
        self.parts.append(f'<path d="M{path}" {line}{start} marker-end="url(#a)"/>')

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: float = 10.5,
        bold: bool = False,
        colour: str = INK,
        anchor: str = "middle",
    ) -> None:
        """Writes a line."""
        weight = ' font-weight="600"' if bold else ""
        style = f'text-anchor="{anchor}" font-size="{size:g}"{weight} fill="{colour}"'
        self.parts.append(f'<text x="{x:g}" y="{y:g}" {style}>{escape(words)}</text>')

    def svg(self) -> str:
        """The figure as a file."""
        heads = (("a", 7, "M0 0 L8 4 L0 8 z"), ("b", 1, "M8 0 L0 4 L8 8 z"))
        markers = "".join(
            f'<marker id="{name}" viewBox="0 0 8 8" refX="{x}" refY="4" markerWidth="7" markerHeight="7" '
            f'orient="auto"><path d="{path}" fill="{SOFT}"/></marker>'
            for name, x, path in heads
        )
        size = f'viewBox="0 0 {self.width} {self.height}" font-family="Helvetica, Arial, sans-serif"'
        start = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(self.label)}">'
        ground = f'<rect width="{self.width}" height="{self.height}" fill="{WHITE}"/>'
        return "\n".join([start, f"<defs>{markers}</defs>", ground, *self.parts, "</svg>", ""])


# The steps of a run by what they are for, each with what it does; a star is added where a step runs per domain.
STAGES: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "data",
        (
            ("validate_logs", "rules, drift"),
            ("assign_patterns", "hold-outs"),
            ("stage_index", "index to search"),
            ("publish_features", "item features"),
        ),
    ),
    (
        "labels",
        (
            ("label_anchors", "index and scorer"),
            ("fit_metric_predictor", "density of attribute"),
            ("build_trajectories", "low to high density"),
        ),
    ),
    (
        "training",
        (
            ("pretrain", "raw sequences"),
            ("continue_pretrain", "within patterns"),
            ("finetune", "tail centroids"),
            ("hppo_round", "preferences, 4 rounds"),
            ("hppo_variants", "other losses"),
        ),
    ),
    (
        "what is served",
        (
            ("choose_readout", "vote of moves"),
            ("fit_second_stage", "rerank"),
            ("translate_sampler", "graph, once"),
            ("export_sampler", "one ONNX file"),
        ),
    ),
    (
        "judgement",
        (
            ("fetch_champion", "what answers today"),
            ("evaluate", "held-out cases"),
            ("check_servability", "speed, memory"),
            ("render_report", "one page"),
        ),
    ),
    (
        "release",
        (
            ("snapshot", "versions of data"),
            ("gate", "verdict, reasons"),
            ("bundle", "what is promoted"),
            ("register", "model version"),
        ),
    ),
)


def expect_all_steps() -> None:
    """Compares the figure with the declarations.

    Raises:
        SystemExit: A step is missing, or drawn and not declared.
    """
    declared = {_shown(step.name) for step in REGISTRY.of("retrain").steps}
    drawn = {name for _, steps in STAGES for name, _ in steps}
    if declared != drawn:
        raise SystemExit(f"docs/drawings.py: STAGES differs from the declared steps in {sorted(declared ^ drawn)}")


def _shown(step: str) -> str:
    """The name that a step is drawn under: the rounds of HPPO are one box."""
    return step.rstrip("0123456789_") if step.startswith("hppo_round") else step


def architecture() -> Drawing:
    """Orchestrators, the steps of a run, stored data, the service, monitoring."""
    expect_all_steps()
    per_domain = {_shown(step.name) for step in REGISTRY.of("retrain").steps if step.per_domain}
    figure = Drawing(1160, 770, "Architecture: orchestrators run the steps of a run, which ends in a served release")
    figure.group(20, 20, 1120, 88, "Orchestrators: views of one declaration of each step", BLUE)
    figure.row(
        36,
        48,
        1088,
        46,
        (
            ("Airflow, processes", "a laptop"),
            ("Airflow, Docker", "one host"),
            ("Airflow, Kubernetes", "pods, TrainJobs"),
            ("Kubeflow Pipelines", "retrain.yaml"),
            ("DVC", "dvc.yaml"),
            ("a person", "python -m components STEP"),
        ),
    )
    given = figure.box(Box(20, 190, 106, 128, "Input", ("items", "interactions", "retrieval labels"), YELLOW))
    figure.group(146, 128, 828, 352, "One run: each step in its own process, container or pod", GREEN)
    width, top = 126, 178
    columns = []
    for number, (heading, steps) in enumerate(STAGES):
        x = 156 + number * (width + 10.4)
        figure.text(x + width / 2, 168, heading, size=11, colour=SOFT)
        boxes = [
            figure.box(Box(x, top + 56 * row, width, 46, name + "*" * (name in per_domain), (what,)))
            for row, (name, what) in enumerate(steps)
        ]
        columns.append(boxes)
    for before, after in zip(columns, columns[1:], strict=False):
        figure.arrow(before[0].right, after[0].left)
    note = "* once for each attribute domain. Columns run in order; edges follow from what each step reads and writes."
    figure.text(158, 471, note, anchor="start", colour=SOFT)
    figure.arrow(given.right, (156, given.right[1]))
    figure.group(20, 500, 954, 118, "Storage", BLUE)
    store = figure.row(
        36,
        530,
        922,
        74,
        (
            ("Artifact store", "local folder or S3: a folder", "with a manifest for each output"),
            ("DVC", "versions of input and bundle;", "a version can be reproduced"),
            ("Feast", "rows offline, seeds online", "(SQLite or Redis)"),
            ("MLflow registry", "versions, aliases, release log", "(SQLite or PostgreSQL)"),
        ),
    )
    figure.arrow((560, 480), (560, 500), both=True)
    figure.group(990, 128, 150, 490, "Serving", RED)
    review = figure.box(Box(1002, 178, 126, 74, "review", ("a person promotes a", "version that passed")))
    serve = figure.box(
        Box(1002, 332, 126, 100, "modit serve", ("seeds to a query,", "query to items;", "pages for people"))
    )
    caller = figure.box(Box(1002, 530, 126, 74, "application", ("seeds, domain, k",)))
    figure.arrow(columns[-1][0].right, review.left)
    figure.arrow(review.bottom, serve.top)
    figure.text(1078, 296, "alias moves", anchor="start", colour=SOFT)
    figure.arrow(store[-1].right, (980, store[-1].right[1]), (980, serve.left[1]), serve.left)
    figure.arrow(serve.bottom, caller.top, both=True)
    figure.group(20, 638, 1120, 112, "Monitoring", BLUE)
    figure.row(
        36,
        668,
        1088,
        66,
        (
            ("data docs, drift", "of each night"),
            ("report, verdict", "of each run"),
            ("modit exporter", "runs as metrics"),
            ("Airflow metrics", "queue, tasks, durations"),
            ("service metrics", "latency, errors, reloads"),
            ("Prometheus", "rules, Grafana, runbooks"),
        ),
    )
    return figure


def night() -> Drawing:
    """What becomes of the data of a night."""
    figure = Drawing(1160, 500, "The life of a night: from its data to a new champion, with the ways it may end before")
    figure.group(20, 20, 840, 164, "By the schedule, without anybody", GREEN)
    figure.group(880, 20, 260, 164, "A person, once a night", YELLOW)
    y, width, height = 60, 144, 90
    data = figure.box(Box(36, y, width, height, "data of the night", ("a window of days", "ends today")))
    check = figure.box(Box(206, y, width, height, "validate_logs", ("bad rows set aside,", "rules, drift")))
    train = figure.box(Box(376, y, width, height, "train", ("from the last state,", "for each domain")))
    judge = figure.box(Box(546, y, width, height, "evaluate, gate", ("held-out cases,", "against the champion")))
    new = figure.box(Box(716, y, 128, height, "challenger", ("registered with", "all its digests")))
    review = figure.box(
        Box(900, y, 220, height, "review", ("verdict with reasons, report,", "Explore; waits a set number", "of hours"))
    )
    for before, after in ((data, check), (check, train), (train, judge), (judge, new), (new, review)):
        figure.arrow(before.right, after.left)
    figure.group(
        20, 204, 1120, 122, "Ways that it may end. In each of them the champion goes on answering.", RED, below=True
    )
    ends = (
        (check, 126, "nothing new", ("later tasks are skipped:", "SKIPPED_NO_DATA")),
        (check, 290, "refused", ("a rule is broken: notice,", "nothing is published")),
        (train, 454, "a domain fails", ("the others are judged,", "it can be retried")),
        (judge, 618, "FAIL", ("registered as rejected,", "with its reasons")),
        (review, 850, "no answer", ("timeout; may still", "be approved later")),
        (review, 990, "rejected", ("can no longer", "be approved")),
    )
    for source, x, heading, lines in ends:
        width = 130 if heading in ("no answer", "rejected") else 150
        box = figure.box(Box(x, 220, width, 74, heading, lines))
        start = min(max(box.top[0], source.x + 12), source.x + source.width - 12)
        figure.arrow((start, y + height), (start, 194), (box.top[0], 194), box.top, dashed=True)
    figure.group(20, 346, 1120, 134, "Approved", BLUE)
    promoted = figure.box(
        Box(
            900,
            384,
            220,
            80,
            "promotion",
            ("conditions are checked again,", "the alias champion moves,", "the release log is written"),
        )
    )
    served = figure.box(
        Box(
            610,
            384,
            210,
            80,
            "modit serve",
            ("loads the new one beside the old,", "asks its canaries, swaps:", "within 30 seconds, no request fails"),
        )
    )
    logged = figure.box(
        Box(320, 384, 210, 80, "requests", ("logged, if so set; the scorer", "judges what they returned"))
    )
    back = figure.box(
        Box(
            36,
            384,
            210,
            80,
            "the next night",
            ("reads the new rows and labels;", "modit rollback goes back", "to the version before"),
        )
    )
    figure.arrow(review.right, (1130, review.right[1]), (1130, 424), promoted.right)
    figure.arrow(promoted.left, served.right)
    figure.arrow(served.left, logged.right)
    figure.arrow(logged.left, back.right)
    figure.arrow(back.left, (12, 424), (12, data.left[1]), data.left)
    return figure


FIGURES: dict[str, Callable[[], Drawing]] = {"architecture.svg": architecture, "night.svg": night}


def outdated() -> dict[Path, str]:
    """The figures whose files differ from what is drawn, with what they must hold."""
    drawn = {FOLDER / name: draw().svg() for name, draw in FIGURES.items()}
    return {path: text for path, text in drawn.items() if not path.is_file() or path.read_text("utf-8") != text}


def main() -> int:
    """Writes figures that are out of date, or with --check only names them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a figure is out of date")
    check = parser.parse_args().check
    found = outdated()
    for path, text in found.items():
        if not check:
            path.write_text(text, encoding="utf-8")
        print(f"{'out of date' if check else 'written'}: {path.relative_to(FOLDER.parents[1])}")
    return int(check and bool(found))


if __name__ == "__main__":
    sys.exit(main())
