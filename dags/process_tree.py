"""The end of a process and of all that it started."""

from __future__ import annotations

import contextlib

import psutil

# Seconds from the request to end to the end.
GRACE = 10


def end_tree(pid: int) -> None:
    """Asks a process and its descendants to end, and ends those that have not after `GRACE` seconds.

    Args:
        pid: of the process; nothing happens where it is gone.
    """
    try:
        first = psutil.Process(pid)
        tree = [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(tree, GRACE)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
