"""What the command lines print with `--help`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator

from docs.tables.markdown import ROOT

WIDTH = 110  # columns


def commands() -> str:
    """What `modit COMMAND --help` prints, for every command."""
    return "\n" + "".join(_helps(modit_parser(), "modit"))


def modit_parser() -> argparse.ArgumentParser:
    """The parser of the command `modit`."""
    from modit.cli import build_parser

    return build_parser()


def _helps(parser: argparse.ArgumentParser, name: str) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each, child in action.choices.items():
                if any(isinstance(below, argparse._SubParsersAction) for below in child._actions):
                    yield from _helps(child, f"{name} {each}")
                else:
                    yield f"## {name} {each}\n\n```text\n{child.format_help()}```\n\n"


def step_command() -> str:
    """What `python -m components --help` prints."""
    return "```text\n" + _output("components", "--help") + "```\n"


def make_help() -> str:
    """What `make help` prints."""
    printed = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return f"```text\n{printed.stdout}```\n"


def _output(module: str, *arguments: str) -> str:
    environment = {**os.environ, "COLUMNS": str(WIDTH), "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    environment.pop("MODIT_PARAMS", None)
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
