"""Rounds and curves as tables."""

from __future__ import annotations

import csv

from modit.evaluate.storage import save_tables


def test_every_round_and_stage_has_a_row_and_a_file_that_plotting_tools_read(tmp_path):
    rounds = [{"round": 0, "kept": True, "joint": 0.2, "guidance": 1.0}, {"round": 1, "kept": False, "joint": 0.1}]
    records = {"training": {"pretrained": [{"step": 5, "loss": 0.5, "rate": 1.0}], "hppo_4": []}, "rounds": rounds}
    save_tables(tmp_path, records)
    with (tmp_path / "rounds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["round"], row["kept"], row["joint"], row["item_joint"]) for row in rows] == [
        ("0", "1", "0.2", ""),
        ("1", "0", "0.1", ""),
    ]
    assert (tmp_path / "curves" / "pretrained.csv").read_text() == "step,loss\n5,0.5\n"
    assert (tmp_path / "curves" / "hppo_4.csv").read_text() == "step,loss\n"
