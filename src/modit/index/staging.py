"""Indexes staged next to the live one: `staged/DIGEST/`, and the pointer file `STAGED` that names one of them.

Nothing here reads or writes the live index. Readers pin a digest; the pointer only says which one was staged last.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from modit.core.errors import ArtifactError
from modit.core.storage import partial_beside
from modit.index.index import ItemIndex

STAGED_FOLDER, POINTER = "staged", "STAGED"


def stage(index: ItemIndex, root: Path) -> Path:
    """Writes the index to `root/staged/DIGEST` and points `root/STAGED` at it; both appear whole or not at all.

    An index that is already there under its digest is verified instead of written again.

    Returns:
        The folder of the staged index.
    """
    parent = root / STAGED_FOLDER
    parent.mkdir(parents=True, exist_ok=True)
    target = parent / index.digest
    if target.exists():
        ItemIndex.load(target, index.digest)
    else:
        _write(index, parent, target)
    _point(root, index.digest)
    return target


def staged_digest(root: Path) -> str:
    """Digest of the index that was staged last.

    Raises:
        ArtifactError: nothing was staged here.
    """
    try:
        return (root / POINTER).read_text(encoding="ascii").strip()
    except FileNotFoundError as error:
        raise ArtifactError(f"{root / POINTER}: missing; nothing was staged here") from error


def load_staged(root: Path, expected_digest: str | None = None) -> ItemIndex:
    """Loads a staged index by its digest; None takes the one that was staged last.

    Raises:
        ArtifactError: no such index was staged, or it is damaged.
    """
    wanted = expected_digest or staged_digest(root)
    return ItemIndex.load(root / STAGED_FOLDER / wanted, wanted)


def _write(index: ItemIndex, parent: Path, target: Path) -> None:
    temporary = partial_beside(parent / index.digest)
    temporary.mkdir()
    try:
        index.save(temporary)
        temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _point(root: Path, digest: str) -> None:
    temporary = partial_beside(root / POINTER)
    temporary.write_text(digest + "\n", encoding="ascii")
    temporary.replace(root / POINTER)
