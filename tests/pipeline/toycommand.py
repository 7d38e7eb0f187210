"""Starts a toy step as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def command(toy, run, step, *arguments, **environment):
    """Starts `python -m toysteps STEP` in a process of its own."""
    paths = os.pathsep.join(str(path) for path in (ROOT / "src", ROOT / "tests" / "pipeline"))
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "toysteps",
            step,
            "--run",
            str(run),
            "--params",
            str(toy.folder / "params.yaml"),
            *arguments,
        ],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
