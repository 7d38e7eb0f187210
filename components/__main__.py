"""`python -m components STEP --run URI [--domain D] [--conf JSON] [--no-cache] [--why]`: runs one step anywhere."""

from __future__ import annotations

import sys

from components.registry import REGISTRY
from modit.core.command import main

if __name__ == "__main__":
    sys.exit(main(REGISTRY))
