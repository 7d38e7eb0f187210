"""Away from a terminal, progress is a line now and then."""

from __future__ import annotations

import logging

from modit.core import progress as module


def test_elements_pass_through_with_at_most_one_line_in_each_interval(caplog, monkeypatch):
    clock = iter(range(0, 100, 4))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO):
        assert list(module.progress(range(9), "pretrain")) == list(range(9))
    # 4 seconds an element: a line after the third, the sixth and the ninth.
    assert [record.message for record in caplog.records] == [
        "pretrain: 3/9, 0.2 a second",
        "pretrain: 6/9, 0.2 a second",
        "pretrain: 9/9, 0.2 a second",
    ]
