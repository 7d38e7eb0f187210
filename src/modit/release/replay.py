"""`python -m modit.release.replay`: runs steps of a package anew, one after the other, in one process.

It is started in the checkout whose code is wanted, so that a recorded run is replayed by the code that made it.
That checkout may be older than this one and is asked for a module of this name, so the module stays where it is.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from modit.core.errors import ModitError
from modit.core.output import set_up_logging
from modit.core.registry import discover
from modit.core.run_config import json_object
from modit.core.runner import StepRunner


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the steps; nothing is taken from a cache. The status is 0, or 3 after an error that names what to change."""
    parser = argparse.ArgumentParser(prog="python -m modit.release.replay", description=__doc__)
    parser.add_argument("--package", required=True, help="of the steps")
    parser.add_argument("--run", required=True, help="folder of the new run")
    parser.add_argument("--params", required=True, type=Path, help="parameters file")
    parser.add_argument("--conf", required=True, help="JSON of run.json")
    parser.add_argument("--steps", required=True, help="names, with commas between")
    chosen = parser.parse_args(arguments)
    set_up_logging()
    wanted, registry = set(chosen.steps.split(",")), discover(chosen.package, "modit.params")
    try:
        runner = StepRunner(registry, chosen.run, chosen.params, json_object(chosen.conf))
        for step in registry.steps:
            if step.name in wanted:
                for domain in runner.domains() if step.per_domain else [None]:
                    runner.execute(step.name, domain, force=True)
    except ModitError as error:
        logging.getLogger("modit.replay").error("%s: %s", type(error).__name__, error)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
