"""The commands about data: `check` and `demo-world`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_data_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds them to the command line."""
    parser = commands.add_parser("check", help="say what a run would make of an input folder, in seconds")
    parser.add_argument("path", type=Path, help="folder in the input contract")
    parser.add_argument(
        "--mapping", type=Path, metavar="FILE", help="mapping file (default: mapping.yaml in the folder)"
    )
    parser.set_defaults(command=_check)
    parser = commands.add_parser("demo-world", help="generate a catalogue in the input contract")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--items", type=int, default=20_000, help="5,000 to 10,000,000 (default %(default)s)")
    parser.add_argument("--domains", type=int, default=3, help="attribute domains, 1 to 8 (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default %(default)s)")
    parser.add_argument("--dimension", type=int, default=64, help="width of an embedding (default %(default)s)")
    parser.add_argument("--days", type=int, default=30, help="days of interactions (default %(default)s)")
    parser.add_argument(
        "--shared-direction",
        type=float,
        default=0.5,
        help="how much of an attribute's direction all patterns share, 0 to 1 (default %(default)s)",
    )
    parser.add_argument(
        "--nonlinear-domains",
        type=int,
        default=0,
        help="how many of the last domains have an attribute that is not linear in the embedding (default %(default)s)",
    )
    parser.add_argument(
        "--scored-share",
        type=float,
        default=1.0,
        help="share of the items that the scorer has judged, 0.02 to 1; others have no verdict (default %(default)s)",
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="KIND:DAY",
        help="late, duplicated, malformed, drifting or missing rows on a day, YYYY-MM-DD; repeatable",
    )
    parser.set_defaults(command=_demo_world)


def _check(chosen: argparse.Namespace) -> int:
    from modit.data.check import check

    text, is_taken = check(chosen.path, chosen.mapping)
    print(text)
    return 0 if is_taken else 1


def _demo_world(chosen: argparse.Namespace) -> int:
    from modit.data.demo import DemoFault, DemoParameters, write_demo_world

    parameters = DemoParameters(
        items=chosen.items,
        domains=chosen.domains,
        seed=chosen.seed,
        dimension=chosen.dimension,
        days=chosen.days,
        shared_direction=chosen.shared_direction,
        nonlinear_domains=chosen.nonlinear_domains,
        scored_share=chosen.scored_share,
    )
    written = write_demo_world(chosen.out, parameters, [DemoFault.parse(text) for text in chosen.fault])
    print(f"{chosen.out}: {'written' if written else 'the same demo world is there already, nothing to do'}")
    return 0
