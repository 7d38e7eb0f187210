"""Airflow's views on the steps' declarations."""

import sys
from pathlib import Path

# `modit` may be installed or lie in src.
if (SOURCES := str(Path(__file__).resolve().parent.parent / "src")) not in sys.path:
    sys.path.append(SOURCES)
