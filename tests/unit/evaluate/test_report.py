"""The report: whole, self-contained, and honest about what was skipped."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from modit.evaluate.bootstrap import MINIMUM_PATTERNS
from modit.evaluate.report import RunFacts, render_page, save_report
from modit.evaluate.report.charts import _spread, wilson_interval
from modit.evaluate.report.page import mark, setting
from modit.evaluate.report.svg import nice_ticks
from modit.evaluate.seeds.context import EvaluationContext
from modit.evaluate.storage import Evaluation, load_evaluation, save_evaluation
from modit.evaluate.task import Row
from modit.inference.retrieval import Query
from tests.unit.evaluate.conftest import evaluate

FACTS = RunFacts("books", "tiny", 7, {"export": "12 positive items, at least 280 are needed"})
RECORDS = {
    "training": {"pretrained": [{"step": s, "loss": 1 / s} for s in range(1, 30)], "hppo_1": []},
    "blends": [
        {"share": s, "joint": j, "item_joint": j, "item_same": 0.5, "pattern_joint": j, "pattern_same": 0.6}
        for s, j in ((1.0, 0.2417), (0.5, 0.3517))
    ],
    "rounds": [
        {"round": 0, "kept": True, "item_joint": 0.1, "item_same": 0.9, "pattern_joint": 0.2, "pattern_same": 0.8},
        {"round": 1, "kept": False, "item_joint": 0.2, "item_same": 0.8, "pattern_joint": 0.1, "pattern_same": 0.7},
        {"round": 2, "kept": False, "skipped": "the chain had ended"},
    ],
    "variants": {
        "hppo": "Pareto-epsilon",
        "trained": [
            {
                "row": "HPPO adaptive",
                "rounds": [
                    {
                        "round": 0,
                        "kept": True,
                        "item_joint": 0.123,
                        "item_same": 0.9,
                        "pattern_joint": 0.2,
                        "pattern_same": 0.8,
                    }
                ],
            }
        ],
    },
    "predictor": [
        {"split": "item-hash", "auc_20_80": 0.9, "spearman": 0.6, "top_10": 40.0, "bottom_10": 0.0, "lift": None}
    ],
}
RELIABILITY = {
    **{"items": 500, "positives": 150, "log_loss": 0.4123, "base_log_loss": 0.6109, "brier": 0.1357, "auc": 0.8642},
    "bins": [
        {"low": 0.0, "high": 0.1, "items": 300, "predicted": 0.0456, "observed": 0.0512},
        {"low": 0.9, "high": 1.0, "items": 200, "predicted": 0.9388, "observed": 0.6711},
    ],
}
RECORDS["second_stage"] = {
    "kind": "trees",
    "log_loss": {"logistic": 0.5, "trees": 0.4},
    "calibration": {"method": "platt", "slope": 0.8, "intercept": -0.1, "positives": 60, "negatives": 140},
    "depth": 5,
    "weight": 0.0312,
    "enabled": True,
    "validation": {"none": {"mean": 0.4321}, "reranked": {"mean": 0.5678}, "error": None},
    "reliability": RELIABILITY,
}
VOID = {"meta"}


class Outline(HTMLParser):
    """Collects text and attributes, and checks that tags close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href", "data", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element without content opens nothing."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def evaluation(context: EvaluationContext, models: list[Row[Query]]) -> Evaluation:
    return evaluate(context, models, resamples=100)


@pytest.fixture(scope="module")
def folder(evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    save_evaluation(folder, evaluation, RECORDS)
    save_report(folder, {"rare": load_evaluation(folder)}, FACTS)
    return folder


@pytest.fixture(scope="module")
def outline(folder: Path) -> Outline:
    outline = Outline()
    outline.feed((folder / "report.html").read_text())
    return outline


def test_every_row_comparison_and_rule_is_on_the_page(folder: Path, outline: Outline) -> None:
    report, text = json.loads((folder / "report.json").read_text()), "".join(outline.words)
    for split in report["domains"]["rare"]["splits"].values():
        for row in split["rows"]:
            assert row["name"] in text
            assert f"{100 * row['joint']:.1f}" in text
        for entry in split["comparisons"]:
            assert entry["name"].replace(" - ", " − ") in text
    for rule in report["rules"]:
        assert rule in text


def test_seed_counts_are_shown_sorted_and_shuffled(folder: Path, outline: Outline) -> None:
    text = "".join(outline.words)
    assert text.count("HPPO, seeds sorted") == text.count("HPPO, seeds shuffled") == 2
    report = json.loads((folder / "report.json").read_text())
    for point in report["domains"]["rare"]["splits"]["pattern_holdout"]["seed_counts"]:
        assert f"{100 * point['hppo_sorted']['mean']:.1f} [" in text


def test_skips_are_on_the_page_with_their_reasons(outline: Outline) -> None:
    text = "".join(outline.words)
    assert "12 positive items, at least 280 are needed" in text
    assert "not run: the chain had ended" in text


def test_the_page_is_well_formed_and_fetches_nothing(folder: Path, outline: Outline) -> None:
    page = (folder / "report.html").read_text()
    assert outline.open == []
    assert outline.links and all(link.startswith("#") for link in outline.links)
    assert not re.search(r"(?i)https?:|//[a-z]|url\(|@import|<script|<link|<img", page)


def test_variants_are_on_the_page_with_their_rounds(outline: Outline) -> None:
    text = "".join(outline.words)
    assert "which is the variant Pareto-epsilon" in text
    assert "12.3" in text[text.index("HPPO adaptive: rounds on validation") :]


def test_the_weights_that_validation_preferred_are_marked(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert "<b>50.0</b></td><td>35.2" in page
    assert "<td>100.0</td><td>24.2" in page


def test_titles_from_the_catalogue_are_escaped(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert re.search(r"Title &lt;\d+&gt; &amp; more", page)
    assert not re.search(r"Title <\d", page)


def test_the_same_evaluations_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    save_report(tmp_path, {"rare": load_evaluation(folder)}, FACTS)
    for name in ("report.json", "report.html"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_cells_and_counts_follow_from_the_comparisons(folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text())
    assert [(cell["domain"], cell["split"]) for cell in report["cells"]] == [
        ("rare", "item_holdout"),
        ("rare", "pattern_holdout"),
    ]
    for name, count in report["counts"].items():
        differences = [cell["differences"][name] for cell in report["cells"]]
        assert count["cells"] == 2
        told = [entry for entry in differences if entry["patterns"] >= MINIMUM_PATTERNS]
        assert count["above"] == sum(entry["pattern_low"] > 0 for entry in told)
        assert count["below"] == sum(entry["pattern_high"] < 0 for entry in told)
        assert count["too_few_patterns"] == len(differences) - len(told) == 1
        assert count["above_by_case"] == sum(entry["case_low"] > 0 for entry in differences)


def test_a_skipped_split_leaves_a_page_that_says_so(folder: Path, tmp_path: Path) -> None:
    content = load_evaluation(folder)
    content["splits"]["pattern_holdout"] = {"cases": 0, "reason": "no pattern_validation case at all"}
    report = save_report(tmp_path, {"rare": content}, FACTS)
    assert report["counts"]["HPPO - MO-DiT"]["cells"] == 1
    assert (tmp_path / "report.html").read_text().count("no pattern_validation case at all") == 2


def test_a_domain_that_is_scored_in_part_says_so(folder: Path, tmp_path: Path) -> None:
    content = load_evaluation(folder)
    assert "items are scored" not in (folder / "report.html").read_text()
    content["catalog"]["scored"] = 600
    save_report(tmp_path, {"rare": content}, FACTS)
    assert "600 items are scored (50.0&thinsp;%)" in (tmp_path / "report.html").read_text()


def test_a_report_without_any_judged_cell_is_still_a_page(folder: Path, tmp_path: Path) -> None:
    content = load_evaluation(folder)
    content["splits"] = {split: {"cases": 0, "reason": "too small"} for split in content["splits"]}
    report = save_report(tmp_path, {"rare": content}, FACTS)
    assert report["mean_joint"] == {}
    assert "too small" in render_page(report)


def test_reliability_is_a_plot_and_a_table_beside_what_was_chosen(folder: Path, outline: Outline) -> None:
    text, page = "".join(outline.words), (folder / "report.html").read_text()
    for words in (
        "0.0312 · log P(attribute and pattern)",
        "from 43.2 to 56.8",
        "says nothing is reranked.",
        "model is trees, calibrated on 200",
    ):
        assert words in text, words
    for figure in ("0.412", "0.611", "0.136", "0.864", "4.6", "5.1", "93.9", "67.1"):
        assert figure in text, figure
    assert "200 items: predicted 93.9 %, observed 67.1 %" in page
    assert "<b>0.400</b>" in page and "Reliability on 500 test items" in text


def test_a_second_stage_that_is_off_or_uncalibrated_says_so(folder: Path, tmp_path: Path) -> None:
    content = load_evaluation(folder)
    content["second_stage"] |= {"enabled": False, "log_loss": {}}
    content["second_stage"]["calibration"] |= {"method": "none", "positives": 3}
    save_report(tmp_path, {"rare": content}, FACTS)
    page = (tmp_path / "report.html").read_text()
    assert "says nothing is not reranked, and neither is the row HPPO + rerank" in page
    assert "not calibrated: validation has 3 items with the attribute and 140 without" in page
    content.pop("second_stage")
    save_report(tmp_path, {"rare": content}, FACTS)
    assert "The second stage" not in (tmp_path / "report.html").read_text()


def test_the_interval_of_a_share_holds_it_and_shrinks_with_the_number_of_items() -> None:
    for share in (0.0, 0.3, 1.0):
        wide, narrow = wilson_interval(share, 10), wilson_interval(share, 1_000)
        assert 0 <= wide[0] <= narrow[0] <= share <= narrow[1] <= wide[1] <= 1
    assert wilson_interval(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-3)


def _interval(low: float | None, high: float | None) -> dict[str, Any]:
    return {"mean": 0.0, "case_low": 0.1, "case_high": 0.2, "pattern_low": low, "pattern_high": high}


@pytest.mark.parametrize(
    ("interval", "style"),
    [
        (_interval(0.05, 0.3), "mark up"),
        (_interval(-0.05, 0.3), "mark level"),
        (_interval(-0.4, -0.05), "mark down"),
        (_interval(None, None), "mark unknown"),
    ],
)
def test_marks_say_what_the_intervals_say(interval: dict[str, Any], style: str) -> None:
    assert f'class="{style}"' in mark(interval)


def test_what_validation_chose_is_said_in_words() -> None:
    tuned = {"setting": {"blend": "mean", "length": 0.6}}
    assert setting({"name": "Fixed move", "guidance": None, "tuned": tuned}) == "blend mean, length 0.6"
    assert setting({"name": "HPPO", "guidance": 2.0, "tuned": None}) == "guidance 2"
    assert setting({"name": "Average pooling", "guidance": None, "tuned": {"setting": {}}}) == ""


def test_joint_by_known_verdicts_is_a_plot_and_a_table(folder: Path, outline: Outline) -> None:
    report = json.loads((folder / "report.json").read_text())
    curve = report["domains"]["rare"]["splits"]["item_holdout"]["verdict_counts"]
    known = [point["count"] for point in curve]
    assert known[:1] == [100] and known == sorted(set(known))
    text, page = "".join(outline.words), (folder / "report.html").read_text()
    for name, interval in curve[-1].items():
        if name != "count":
            assert f"{100 * interval['mean']:.1f}" in text
            assert f"{name}, {known[-1]:,} verdicts: {100 * interval['mean']:.1f} %" in page


def test_the_whole_catalogue_stands_beside_discovery(folder: Path, outline: Outline) -> None:
    report = json.loads((folder / "report.json").read_text())
    whole = report["whole_catalogue"]["cells"]
    assert [cell["split"] for cell in whole] == ["item_holdout", "pattern_holdout"]
    assert [cell["joint"]["average"] for cell in whole] != [cell["joint"]["average"] for cell in report["cells"]]
    assert "In the whole catalogue" in "".join(outline.words)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 0.003), (-15.2, 13.9), (0, 0), (97.1, 97.2), (2, 2)])
def test_ticks_span_the_values_and_are_few(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low + 1e-9 and ticks[-1] >= high - 1e-9
    assert 2 <= len(ticks) <= 8
    assert ticks == sorted(set(ticks))


def test_labels_never_overlap() -> None:
    placed = sorted(_spread([100.0, 101.0, 101.5, 330.0, 329.0, 15.0], 14, 330))
    assert all(later - earlier >= 13.99 for earlier, later in zip(placed, placed[1:], strict=False))
    assert placed[0] >= 14 and placed[-1] <= 330
