"""What a step prints where nobody watches a terminal: its log lines and its result, and no progress bars."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import logging
from modit.core.output import set_up_logging
set_up_logging()
from tqdm import tqdm
from tqdm.auto import trange
for number in tqdm(range(50), mininterval=0, desc="outer"):
    for _ in trange(20, mininterval=0, desc="inner", leave=False):
        pass
logging.getLogger("modit.step").info("a line of its own")
print("result")
"""


def test_bars_of_libraries_are_left_out_and_other_lines_all_pass():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "result\n"
    assert [line.split(" ", 1)[1] for line in done.stderr.splitlines()] == ["INFO modit.step: a line of its own"]


def test_who_wants_bars_in_a_file_can_have_them(monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "")
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    assert "50/50" in done.stderr
