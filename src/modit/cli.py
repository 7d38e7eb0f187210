"""`modit COMMAND ...`: the command line. Each room adds its own commands; what they need is imported when they run."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modit.core.errors import ConfigError, ModitError
from modit.data.commands import add_data_commands
from modit.evaluate.commands import add_evaluate_commands
from modit.extras import HOW_TO_INSTALL
from modit.monitor.commands import add_monitor_commands
from modit.release.commands import add_release_commands
from modit.serve.commands import add_serve_commands
from modit.steps import find_steps

if TYPE_CHECKING:
    from modit.core.registry import Registry


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: the command line without the program's name; that of the process if None.

    Returns:
        Exit status: 0, or 1 after an error that names what to change (2 for a wrong command line, from argparse).
    """
    parser = build_parser()
    chosen = parser.parse_args(arguments)
    if "command" not in chosen:
        parser.print_help()
        return 0
    try:
        return chosen.command(chosen)
    except ModitError as error:
        print(f"modit: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f"modit: {error.name} is not installed; {HOW_TO_INSTALL}", file=sys.stderr)
        return 1


def build_parser() -> argparse.ArgumentParser:
    """Returns the command line. Each command adds its own sub-parser and sets `command` to its function."""
    parser = argparse.ArgumentParser(
        prog="modit",
        description="Generative retrieval that keeps a pattern and finds an attribute.",
        epilog=f"modit COMMAND --help shows the options of a command. Some need an extra: {HOW_TO_INSTALL}.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=16, width=110),
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    add_data_commands(commands)
    _add_kfp(commands)
    add_monitor_commands(commands)
    add_evaluate_commands(commands)
    add_release_commands(commands, _steps)
    add_serve_commands(commands)
    _add_query(commands)
    _add_recommend(commands)
    _add_search(commands)
    _add_fan_out(commands)
    return parser


def _add_kfp(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from modit.core.names import PRESETS

    orders = commands.add_parser("kfp", help="submit a pipeline to a server of Kubeflow Pipelines").add_subparsers(
        required=True, metavar="ORDER"
    )
    parser = orders.add_parser("submit", help="start a pipeline on a server, once or on a schedule")
    parser.add_argument("--pipeline", metavar="NAME", help="which pipeline (default: retrain)")
    parser.add_argument("--host", metavar="URL", help="the server's API (default: KF_PIPELINES_ENDPOINT)")
    parser.add_argument("--namespace", help="of a server with several users")
    parser.add_argument("--experiment", default="modit", help="under which runs are listed (default %(default)s)")
    parser.add_argument("--schedule", metavar="CRON", help="a recurring run; each reads the window that ends that day")
    parser.add_argument(
        "--image", action="append", default=[], metavar="[KIND=]REFERENCE", help="see docs/how-to/run-on-kubeflow.md"
    )
    parser.add_argument("--accelerator", default="nvidia.com/gpu", metavar="RESOURCE", help="none: without")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="of the tasks that need it")
    parser.add_argument("--secrets", metavar="PATTERN", help="of Kubernetes secrets' names, such as modit-{service}")
    parser.add_argument("--claim", action="append", default=[], metavar="NAME=PATH", help="of a volume, in every task")
    parser.add_argument("--shards", type=int, metavar="N", help="tasks that share the items of a sharded step")
    parser.add_argument("--catalogue", required=True, metavar="URI", help="folder in the input contract")
    parser.add_argument("--run-root", required=True, metavar="URI", help="where runs live")
    parser.add_argument("--run", metavar="NAME", help="below run-root (default: of the time); the same again resumes")
    parser.add_argument("--domains", default="all", help="names with commas between (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the run (default %(default)s)")
    parser.add_argument("--preset", choices=PRESETS, default="small", help="(default %(default)s)")
    parser.add_argument("--overrides", default="{}", metavar="JSON", help="over the preset")
    parser.add_argument("--window", metavar="START:END", help="days of dated logs, the end not included")
    parser.set_defaults(command=_kfp_submit)


def _kfp_submit(chosen: argparse.Namespace) -> int:
    root = _checkout("submitting")
    if importlib.util.find_spec("kfp") is None:
        raise ConfigError(f"kfp is not installed: pip install -c constraints.txt -e '.[kfp]' in {root}")
    from pipelines.kfp_submit import submit

    print(submit(chosen))
    return 0


def _add_query(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "query",
        help="ask a running service, or the folder of a run, for items that are like some and have an attribute",
    )
    parser.add_argument("--domain", help="the attribute wanted; a service needs it")
    parser.add_argument("--seeds", required=True, metavar="ID,ID", help="items of the index")
    parser.add_argument("-k", type=int, default=10, help="items wanted (default %(default)s)")
    parser.add_argument("--guidance", type=float, help="(default: the one that validation chose)")
    parser.add_argument(
        "--rerank",
        action=argparse.BooleanOptionalAction,
        help="reorder a longer list by how likely its items have the attribute and lie in the pattern "
        "(default: yes, unless that was clearly worse on validation)",
    )
    parser.add_argument("--filter", type=_json, metavar="JSON", help='such as {"include": {"title": "chair"}}')
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="of the service (default %(default)s)")
    parser.add_argument("--run", metavar="URI", help="a run to answer from, for a domain that has only --verdicts")
    parser.add_argument("--verdicts", metavar="FILE", help="with --run: ids and 0 / 1 (CSV, Parquet, JSON lines)")
    parser.add_argument("--json", action="store_true", help="the answer as JSON, not as a table")
    parser.set_defaults(command=_query)


def _query(chosen: argparse.Namespace) -> int:
    seeds = [each for each in chosen.seeds.split(",") if each]
    if chosen.run or chosen.verdicts:
        return _query_run(chosen, seeds)
    if not chosen.domain:
        raise ConfigError("--domain is missing: a service answers for a domain; or give --run and --verdicts")
    from modit.client import KEY_VARIABLE, Client, table

    client = Client(chosen.url, os.environ.get(KEY_VARIABLE))
    asked = {"guidance": chosen.guidance, "rerank": chosen.rerank, "filter": chosen.filter}
    answer = client.retrieve(chosen.domain, seeds, chosen.k, **asked)
    print(json.dumps(asdict(answer), indent=1) if chosen.json else table(answer))
    return 0


def _query_run(chosen: argparse.Namespace, seeds: Sequence[str]) -> int:
    if not (chosen.run and chosen.verdicts):
        raise ConfigError(f"{'--run' if chosen.verdicts else '--verdicts'} is missing; allowed: both or neither")
    if any(option is not None for option in (chosen.guidance, chosen.filter)):
        allowed = "--seeds, -k, --domain, --rerank, --no-rerank, --json"
        raise ConfigError(f"--guidance and --filter are for a service; allowed with --run: {allowed}")
    from modit.release.untrained_answer import answer_text, answer_untrained

    items = answer_untrained(
        chosen.run, chosen.verdicts, seeds, chosen.k, chosen.domain or "", chosen.rerank is not False
    )
    print(json.dumps([asdict(item) for item in items], indent=1) if chosen.json else answer_text(items))
    return 0


def _add_recommend(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("recommend", help="ask a running service for items that are likely to be next")
    parser.add_argument("--session", default="", metavar="ID,ID", help="its items, oldest first (default: none yet)")
    parser.add_argument("-k", type=int, default=10, help="items wanted (default %(default)s)")
    parser.add_argument("--exclude", default="", metavar="ID,ID", help="items that must not be results")
    parser.add_argument(
        "--repeat",
        action=argparse.BooleanOptionalAction,
        help="whether items of the session may be results (default: as the version was judged)",
    )
    parser.add_argument("--filter", type=_json, metavar="JSON", help='such as {"include": {"title": "chair"}}')
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="of the service (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="the answer as JSON, not as a table")
    parser.set_defaults(command=_recommend)


def _recommend(chosen: argparse.Namespace) -> int:
    from modit.client import KEY_VARIABLE, Client, ranked_table

    client = Client(chosen.url, os.environ.get(KEY_VARIABLE))
    session, excluded = ([each for each in given.split(",") if each] for given in (chosen.session, chosen.exclude))
    more = {"exclude_item_ids": excluded or None, "repeat": chosen.repeat, "filter": chosen.filter}
    answer = client.recommend(session, chosen.k, **more)
    print(json.dumps(asdict(answer), indent=1) if chosen.json else ranked_table(answer))
    return 0


def _add_search(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("search", help="ask a running service for items that a text describes")
    parser.set_defaults(command=_search)
    _add_text_arguments(parser, "what is searched for")


def _add_fan_out(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("fan-out", help="ask a running service for a varied set of items for an intent")
    parser.set_defaults(command=_fan_out)
    _add_text_arguments(parser, 'the intent, such as "snacks for a road trip"')


def _add_text_arguments(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("text", help=text)
    parser.add_argument("-k", type=int, default=10, help="items wanted (default %(default)s)")
    parser.add_argument("--exclude", default="", metavar="ID,ID", help="items that must not be results")
    parser.add_argument("--filter", type=_json, metavar="JSON", help='such as {"include": {"title": "chair"}}')
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="of the service (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="the answer as JSON, not as a table")


def _search(chosen: argparse.Namespace) -> int:
    from modit.client import Client

    return _ask_by_text(chosen, Client.search)


def _fan_out(chosen: argparse.Namespace) -> int:
    from modit.client import Client

    return _ask_by_text(chosen, Client.fan_out)


def _ask_by_text(chosen: argparse.Namespace, ask: Callable[..., Any]) -> int:
    from modit.client import KEY_VARIABLE, Client, ranked_table

    client = Client(chosen.url, os.environ.get(KEY_VARIABLE))
    excluded = [each for each in chosen.exclude.split(",") if each]
    answer = ask(client, chosen.text, chosen.k, exclude_item_ids=excluded or None, filter=chosen.filter)
    print(json.dumps(asdict(answer), indent=1) if chosen.json else ranked_table(answer))
    return 0


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON: {error}") from error


def _steps(what: str) -> tuple[Path, Registry]:
    """The repository's folder, and the steps."""
    root = _checkout(what)
    return root, find_steps()[0]


def _checkout(what: str) -> Path:
    """The repository's folder, from where the steps can then be imported."""
    root = Path(__file__).resolve().parents[2]
    if not (root / "components").is_dir():
        raise ConfigError(f"{what} needs a checkout of the repository; modit is installed in {root}")
    sys.path.append(str(root))
    return root


if __name__ == "__main__":
    sys.exit(main())
