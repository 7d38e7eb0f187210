"""What would change for callers, for the reviewer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from modit.release.gate.change_preview import Lists, change_examples, change_table, change_text, save_change

BEFORE = np.array([[1, 2, 3], [4, 5, 6], [7, 8, -1]])
AFTER = np.array([[3, 2, 1], [4, 5, 9], [0, 9, 2]])
LISTS = Lists(BEFORE, AFTER, np.array([[10, 11], [12, -1], [13, 14]]))


def test_another_order_is_no_change_and_another_item_is():
    head = np.array([True, True, False])
    whole, first, none = change_table(LISTS, {"head": head, "nobody": np.zeros(3, bool)})
    assert (whole["queries"], whole["changed"]) == (3, pytest.approx(2 / 3))
    assert whole["kept"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert (first["queries"], first["changed"]) == (2, 0.5)
    assert none == {"slice": "nobody", "queries": 0}


def test_the_examples_are_those_that_change_most_with_what_goes_and_comes():
    first, second, third = change_examples(LISTS, np.arange(3), lambda row: f"item {row}")
    assert (first["goes"], first["comes"]) == (["item 7", "item 8"], ["item 0", "item 9", "item 2"])
    assert (second["goes"], second["comes"], second["seeds"]) == (["item 6"], ["item 9"], ["item 12"])
    assert third["goes"] == third["comes"] == []


def test_a_pattern_has_one_example():
    first, second = change_examples(LISTS, np.array([5, 6, 5]), lambda row: f"item {row}")
    assert (first["goes"], second["goes"]) == (["item 7", "item 8"], ["item 6"])


def test_the_page_is_a_table_and_titles_cannot_break_it(tmp_path):
    title = "A | [link](x) <b>"
    content = {
        "domain": "drama",
        "against": "the champion modit-drama/3",
        "champion": {"lost_items": 0.125},
        "top": 10,
        "slices": change_table(LISTS, {"nobody": np.zeros(3, bool)}),
        "examples": change_examples(LISTS, np.arange(3), lambda row: title),
    }
    save_change(tmp_path, content)
    assert json.loads((tmp_path / "change.json").read_text())["slices"][0]["queries"] == 3
    text = (tmp_path / "change.md").read_text()
    assert text == change_text(content)
    assert "Of the champion's items 12.5 % would not be found any more." in text
    assert "| all | 3 | 66.7 % | 55.6 % |" in text and "| nobody | 0 | - | - |" in text
    assert "A \\| \\[link\\](x) \\<b\\>" in text
    assert "- goes: nothing" in text
