"""The verb of the command line that runs a registered version again: `reproduce`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modit.core.registry import Registry


def add_reproduction_verbs(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], checkout: Callable[[], tuple[Path, Registry]]
) -> None:
    """Adds it to the command line.

    Args:
        verbs: of the command line.
        checkout: gives the repository's folder and its steps, which the library does not know.
    """
    parser = verbs.add_parser("reproduce", help="run a registered model version again and compare digests")
    parser.add_argument("version", metavar="MODEL_VERSION", help="such as modit-popular/3")
    parser.add_argument(
        "--run",
        metavar="URI",
        help="the run that registered it, or another beside it; not needed with MLFLOW_TRACKING_URI",
    )
    parser.add_argument(
        "--into", type=Path, metavar="DIR", help="folder for data and the new run (default reproduced/MODEL_VERSION)"
    )
    parser.set_defaults(verb=lambda chosen: _reproduce(chosen, *checkout()))


def _reproduce(chosen: argparse.Namespace, root: Path, steps: Registry) -> int:
    from modit.release.registry.address import registry_uri
    from modit.release.registry.model_version import parse_version
    from modit.release.registry.registry import MlflowRegistry
    from modit.release.reproduction.reproduce import reproduce
    from modit.release.reproduction.reproduction import reproduction_text

    model, version = parse_version(chosen.version)
    record = MlflowRegistry(registry_uri(chosen.run)).record(model, version)
    folder = (chosen.into or Path("reproduced", f"{model}-{version}")).resolve()
    found = reproduce(record, steps, root, folder)
    print(reproduction_text(found))
    return 0 if found.first_difference is None else 1
