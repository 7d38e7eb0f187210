"""torchrun by `modit.training.launch` ends as its processes do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[3] / "src"


@pytest.mark.parametrize(
    ("ends", "status"), [("0", 0), ("3 if first else 1", 3), ("1", 1), ("os.kill(os.getpid(), 9)", 1)]
)
def test_status_is_the_one_of_the_process_that_says_why(tmp_path, ends, status):
    script = tmp_path / "step.py"
    # As in a team: the others fail because the first one is gone, and not before.
    script.write_text(
        "import os, pathlib, sys, time\n"
        f"first, gone = os.environ['RANK'] == '0', pathlib.Path({str(tmp_path / 'gone')!r})\n"
        "gone.touch() if first else None\n"
        "while not gone.exists(): time.sleep(0.01)\n"
        "time.sleep(0 if first else 1)\n"
        f"sys.exit({ends})\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "modit.training.launch", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == status, done.stderr
