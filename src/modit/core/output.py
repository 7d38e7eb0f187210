"""What a step prints: log lines on stderr in one format, and progress bars as plain lines."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# These narrate every request or plot at INFO.
NOISY = (
    "faiss",
    "great_expectations",
    "matplotlib",
    "botocore",
    "aiobotocore",
    "s3fs",
    "fsspec",
    "urllib3",
    "alembic",
    "onnxscript",
)


def set_up_logging(level: str = "INFO") -> None:
    """Sets the root logger's one handler; plain lines, no colours, wherever the output goes."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(FORMAT, datefmt="%H:%M:%S"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


SECONDS_BETWEEN_BARS = 1.0
# Moves of the cursor and erasures, by which several bars share a terminal.
_CURSOR = re.compile(r"\x1b\[[0-9;]*[A-HJKSTf]")
_ENDS = re.compile(r"([\r\n])")


class CalmStream:
    """A stream on which states of a bar, texts that a carriage return replaces, make a line a second at most.

    Every other text passes as it is. The state that was shown last of all is not lost.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        """Wraps a stream.

        Args:
            stream: gets the lines.
            clock: returns monotonic seconds.
        """
        self.stream, self.clock = stream, clock
        self._in_bar, self._at_start = False, True
        self._state = ""
        self._waiting = ""
        self._last = -SECONDS_BETWEEN_BARS

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Takes any text; gives its length."""
        bare = _CURSOR.sub("", text).replace("\r\n", "\n")
        if bare == "\n" and self._at_start and not self._in_bar:
            return len(text)  # how bars below each other move down; nobody misses an empty line
        if "\r" not in bare and not self._belongs_to_bar(bare):
            self._end_state(in_bar=False)
        for part in _ENDS.split(bare):
            if part == "\r" or (part == "\n" and self._in_bar):
                erased = self._state.isspace()
                self._end_state(in_bar=part == "\r" and not erased)
            else:
                self._state += part
                if part == "\n":
                    self._pass_on()
        if not self._in_bar:
            self._pass_on()
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Takes several texts."""
        for line in lines:
            self.write(line)

    def close_bars(self) -> None:
        """Writes the state that still waits for its second."""
        self._end_state(in_bar=False)
        if self._waiting:
            self.stream.write(f"{self._waiting}\n")
        self._waiting = ""
        self.stream.flush()

    def _belongs_to_bar(self, text: str) -> bool:
        """Whether text without a carriage return goes on with a bar; a line of its own does not."""
        return self._in_bar and (text in ("", "\n") or not (self._state or text.endswith("\n")))

    def _pass_on(self) -> None:
        if self._state:
            self.stream.write(self._state)
            self._at_start = self._state.endswith("\n")
        self._state = ""

    def _end_state(self, in_bar: bool) -> None:
        state, self._state, self._in_bar = self._state.strip(), "", in_bar
        now = self.clock()
        if state and now - self._last >= SECONDS_BETWEEN_BARS:
            self.stream.write(f"{state}\n")
            self._last, self._waiting = now, ""
        elif state:
            self._waiting = state


@contextlib.contextmanager
def calm_output() -> Iterator[None]:
    """Calms stdout and stderr meanwhile, each unless it is a terminal."""
    before = sys.stdout, sys.stderr
    calm = [stream if stream.isatty() else CalmStream(stream) for stream in before]
    sys.stdout, sys.stderr = calm
    try:
        yield
    finally:
        for stream in calm:
            if isinstance(stream, CalmStream):
                stream.close_bars()
        sys.stdout, sys.stderr = before
