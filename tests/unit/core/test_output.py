"""Progress bars make a line a second at most where nobody watches a terminal, and no other line is lost."""

from __future__ import annotations

import io
import subprocess
import sys

from tqdm import tqdm

from modit.core.output import CalmStream

FLOOD = """
import logging, sys, time
from tqdm import tqdm, trange
from modit.core.output import calm_output
with calm_output():
    logging.basicConfig(level="INFO", stream=sys.stderr)
    end = time.monotonic() + 2.5
    with tqdm(mininterval=0, desc="outer") as outer:
        while time.monotonic() < end:
            for _ in trange(200, mininterval=0, desc="inner", leave=False):
                outer.update()
            for _ in trange(50, mininterval=0, desc="short"):
                pass
            logging.info("a line of its own")
            sys.stdout.write("50%\\r")
    print("result")
"""


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def calm():
    stream, clock = io.StringIO(), Clock()
    return CalmStream(stream, clock), stream, clock


def test_a_flood_from_a_real_library_is_a_line_a_second_and_other_lines_all_pass():
    done = subprocess.run([sys.executable, "-c", FLOOD], capture_output=True, text=True, check=True, timeout=60)
    lines = done.stderr.splitlines()
    bars = [line for line in lines if "%|" in line or "it [" in line]
    assert 2 <= len(bars) <= 5  # 2.5 s, and what waits at the end
    assert "\r" not in done.stderr and set(lines) - set(bars) == {"INFO:root:a line of its own"}
    assert done.stdout.splitlines()[-1] == "result" and len(done.stdout.splitlines()) <= 5


def test_states_within_a_second_are_replaced_and_the_last_is_shown_at_the_end():
    written, stream, clock = calm()
    for percent in range(5):
        written.write(f"\r{percent}%")
        clock.now += 0.4
    written.close_bars()
    assert stream.getvalue().splitlines() == ["0%", "3%", "4%"]


def test_plain_text_passes_at_once_and_as_it_is():
    written, stream, _ = calm()
    written.write("half a ")
    assert stream.getvalue() == "half a "
    written.write("line\n\x1b[31mred\x1b[0m\n\nend\r\n")
    assert stream.getvalue() == "half a line\n\x1b[31mred\x1b[0m\n\nend\n"


def test_lines_between_the_states_of_a_bar_are_not_lost():
    written, stream, _ = calm()
    for number in range(3):
        written.write(f"\r{number}%")
        written.write(f"line {number}\n")
        written.write("\r   \r")
        print("print writes its line in two", number, file=written)
    written.close_bars()
    lines = [text for number in range(3) for text in (f"line {number}", f"print writes its line in two {number}")]
    assert [line for line in stream.getvalue().splitlines() if "%" not in line] == lines


def test_a_bar_writes_to_a_calm_stream_as_to_any_other():
    written, stream, _ = calm()
    for _ in tqdm(range(1000), file=written, mininterval=0):
        pass
    written.close_bars()
    assert len(stream.getvalue().splitlines()) == 2 and "1000/1000" in stream.getvalue()
