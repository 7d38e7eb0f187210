"""Why a version has its verdict, in the gate's own words, for the page *Releases*."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from modit.core.artifacts import ArtifactStore
from modit.core.errors import ArtifactError
from modit.core.storage import Storage
from modit.core.verdict import VERDICT_FILE, judged_in_words
from modit.release.registry.model_version import NamedVersion

_KEPT = 256


@dataclass(frozen=True)
class Why:
    """Why a version has its verdict.

    Attributes:
        lines: what it was judged against, and the word or what failed.
        keys: key of the gate -> its findings, each `holds` and `sentence`; empty where the verdict has none.
        problem: why there are neither, or None.
    """

    lines: tuple[str, ...] = ()
    keys: tuple[tuple[str, tuple[dict[str, Any], ...]], ...] = ()
    problem: str | None = None


def why(version: NamedVersion) -> Why:
    """Reads the verdict in the version's run. One that is not what the version was registered with is not shown."""
    try:
        verdict = _verdict(version.tags["run_uri"], version.tags["verdict_digest"])
        judged = verdict["domains"][version.domain]
        lines = tuple(judged_in_words(judged))
        keys = tuple((name, tuple(key["findings"])) for name, key in judged.get("keys", {}).items())
    except (ArtifactError, OSError, KeyError, ValueError) as error:
        return Why(problem=f"The verdict cannot be read: {type(error).__name__}: {error}")
    return Why(lines, keys)


@lru_cache(_KEPT)
def _verdict(run_uri: str, digest: str) -> dict[str, Any]:
    """The verdict of a run, which all its domains share; what failed to be read is tried again."""
    store = ArtifactStore(Storage(run_uri), Path(tempfile.gettempdir()))
    found = {entry.name: entry.sha256 for entry in store.get("verdict").files}.get(VERDICT_FILE)
    if found != digest:
        raise ArtifactError(f"{VERDICT_FILE} of {run_uri} is {found}; the version was registered with {digest}")
    return store.read_json("verdict", VERDICT_FILE)
