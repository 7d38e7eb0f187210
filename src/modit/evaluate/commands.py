"""The command about evaluation: `compare-families`."""

from __future__ import annotations

import argparse
from pathlib import Path

from modit.core.errors import ConfigError


def add_evaluate_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds it to the command line."""
    parser = commands.add_parser(
        "compare-families", help="a page that puts families of retrievers side by side, from runs over one catalogue"
    )
    parser.add_argument(
        "--run",
        required=True,
        action="append",
        metavar="URI",
        help="a run of any pipeline; repeatable, such as one of retrain and one of semantic_ids",
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FOLDER", help="families.html and families.json are written here"
    )
    parser.add_argument(
        "--cases",
        type=int,
        default=2_000,
        metavar="N",
        help="most test sessions that all retrievers answer, 0 for all (default %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default %(default)s)")
    parser.set_defaults(command=_compare_families)


def _compare_families(chosen: argparse.Namespace) -> int:
    if chosen.cases < 0:
        raise ConfigError(f"--cases {chosen.cases}; allowed: 0 for all, or more")
    from modit.evaluate.families.page import compare_families

    for file in compare_families(chosen.run, chosen.out, chosen.cases, chosen.seed):
        print(file)
    return 0
