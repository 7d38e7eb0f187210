"""The extras that modit is installed with, and what to do where one is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from modit.core.errors import MissingExtraError

SERVE, TRAIN = "serve", "train"
HOW_TO_INSTALL = (
    "pip install 'modit[serve]' to answer (modit.load, modit serve, releases and their registry), "
    "'modit[train]' to run the pipelines (modit.train)"
)
_OWN = ("modit", "components")


@contextmanager
def needing(extra: str, what: str) -> Iterator[None]:
    """Says what to install where a package is missing that something needs.

    Args:
        extra: That has the package.
        what: Needs it, such as `modit.load`.

    Raises:
        MissingExtraError: A package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in _OWN:
            raise
        raise MissingExtraError(
            f"{what} needs {error.name}, which is not installed: pip install 'modit[{extra}]'"
        ) from error
