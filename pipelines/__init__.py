"""Views on the steps' declarations for tools other than Airflow, and how their committed files are written."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def view_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """The command line of a module that makes a committed file, with `--check`."""
    parser = argparse.ArgumentParser(prog=f"python -m pipelines.{module}", description=description)
    parser.add_argument("--check", action="store_true", help="change nothing; status 1 if the file is not current")
    return parser


def write_or_check(file: Path, text: str, target: str, *, check: bool) -> int:
    """Writes the file, or says that it is not current.

    Args:
        file: that is committed.
        text: that it should hold.
        target: of `make`, which makes it.
        check: change nothing.

    Returns:
        0, or 1 when `check` finds another content.
    """
    if not check:
        file.write_text(text, encoding="utf-8")
        return 0
    if file.is_file() and file.read_text(encoding="utf-8") == text:
        return 0
    print(f"{file} is not what components/ declares: run `make {target}`", file=sys.stderr)
    return 1
