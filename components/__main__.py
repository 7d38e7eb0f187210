"""`python -m components STEP --run URI [--domain D] [--conf JSON] [--no-cache] [--why]`: runs one step anywhere.

`torchrun --standalone --nproc_per_node N -m -- components STEP --run URI` trains data-parallel; without the `--`
torchrun takes --run for an abbreviation of its own options.
"""

from __future__ import annotations

import os
import sys

from components.registry import REGISTRY
from modit.core.command import main


def run() -> int:
    """Runs the command line, with all processes of a torchrun as one team."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return main(REGISTRY)
    from modit.training.distributed import joined_team  # imports torch, which most steps do without

    with joined_team() as team:
        return main(REGISTRY, team=team)


if __name__ == "__main__":
    sys.exit(run())
