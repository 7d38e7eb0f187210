"""Seals of a run: a domain whose model somebody relies on is not written to any more.

A promoted model is loaded from its run again and again: when a service starts, when the champion is judged beside a
candidate, when it is rolled back to. So its artifacts stay as they are.
"""

from __future__ import annotations

from modit.core.errors import ConfigError
from modit.core.storage import Storage

SEALS = ".sealed"


def seal(run: Storage, domain: str, reason: str) -> None:
    """Seals a domain of a run; the first reason stays."""
    run.at(SEALS).create_json(f"{domain}.json", {"reason": reason})


def seals_of(run: Storage) -> dict[str, str]:
    """The domains of a run that are sealed, and why."""
    place = run.at(SEALS)
    names = sorted(name for name in place.sizes() if name.endswith(".json") and name[0] != ".")
    return {name.removesuffix(".json"): (place.read_json(name) or {})["reason"] for name in names}


def expect_unsealed(run: Storage, domain: str | None, reasons: list[str]) -> None:
    """Refuses to write into a sealed run.

    Args:
        run: of the step.
        domain: of its task; None for what all domains share.
        reasons: why the step would write.

    Raises:
        ConfigError: the domain is sealed, or a domain is and what all share would be written.
    """
    for name, reason in seals_of(run).items():
        if domain in (None, name):
            raise ConfigError(
                f"{run.uri} is sealed: {reason}. A step would run in it because {'; '.join(reasons)}: "
                "take another run, or what this one was made with"
            )
