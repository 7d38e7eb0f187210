"""The document of an exported retriever: what it says of itself, with the sha256 of each file beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modit.core.errors import ArtifactError
from modit.core.storage import digest_of, sha256_of_file

PARITY_FILE = "parity.json"


def write_info(path: Path, content: Mapping[str, Any], form: str, files: Iterable[str]) -> None:
    """Writes a document with the digests of other files of its folder.

    Args:
        path: Of the document.
        content: Its fields.
        form: Of the document and the files, with a version.
        files: Names of the others.
    """
    digests = {name: sha256_of_file(path.parent / name) for name in files}
    text = json.dumps({**content, "format": form, "files": digests}, indent=1, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


def read_info(path: Path, form: str, allowed: Sequence[Iterable[str]]) -> dict[str, Any]:
    """Reads what `write_info` wrote, and checks that the other files of the folder are those that it names.

    Args:
        path: Of the document.
        form: That it must have.
        allowed: Sets of names that it may have digests of.

    Raises:
        ArtifactError: A file is missing, damaged or another one, the document has another form, or parity did not hold.
    """
    content = read_json(path)
    if content.get("format") != form:
        raise ArtifactError(f"{path}: field format is {content.get('format')!r}; allowed: {form!r}")
    digests, sets = content.get("files"), [set(names) for names in allowed]
    if not isinstance(digests, dict) or set(digests) not in sets:
        names = ", ".join(allowed[-1])
        raise ArtifactError(f"{path}: field files is {digests!r}; allowed: a sha256 for each of {names}")
    for name in digests:
        other = path.parent / name
        if not other.is_file():
            raise ArtifactError(f"{other} is missing; {path} names it")
        if (found := sha256_of_file(other)) != digests[name]:
            raise ArtifactError(f"{other}: its sha256 is {found}; allowed: {digests[name]}, which {path} says")
    parity = path.parent / PARITY_FILE
    if (status := read_json(parity).get("status")) != "passed":
        raise ArtifactError(f"{parity}: field status is {status!r}; allowed: 'passed'")
    return content


def read_json(path: Path) -> dict[str, Any]:
    """Reads an object; ArtifactError if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing: the folder holds no exported retriever") from error
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise ArtifactError(f"{path} is damaged: it holds a {type(content).__name__}; allowed: an object")
    return content


def item_ids_digest(item_ids: np.ndarray) -> str:
    """sha256 of the ids of items in their order, 64 hexadecimal digits."""
    return digest_of([str(each) for each in item_ids.tolist()])
