"""JSON documents of a release: written the same for equal content, and read strictly into a dataclass."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from modit.core.errors import ArtifactError

Json = dict[str, Any]
# For `@with_config` of a dataclass that is read from a file: a field that the class does not have is an error.
STRICT = ConfigDict(extra="forbid", strict=True)
_Document = TypeVar("_Document")


def write_document(path: Path, content: Any) -> None:
    """Writes a JSON value into an existing folder; equal values give equal bytes."""
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_document(path: Path, kind: type[_Document], schema: int | None = None) -> _Document:
    """Reads a JSON file into a dataclass; pydantic checks every field against its annotation.

    Raises:
        ArtifactError: As `read_strictly`, and `parse_document`.
    """
    return parse_document(read_strictly(path, schema), kind, str(path))


def parse_document(content: Any, kind: type[_Document], place: str) -> _Document:
    """Turns a JSON value into a dataclass.

    Raises:
        ArtifactError: A field is missing, unknown or of another type; the message begins with `place`.
    """
    if is_dataclass(kind) and (missing := [each.name for each in fields(kind) if each.name not in content]):
        raise ArtifactError(f"{place} is not a {kind.__name__}: it lacks {', '.join(missing)}")
    try:
        return TypeAdapter(kind).validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the whole"
        raise ArtifactError(f"{place} is not a {kind.__name__}: {field}: {first['msg']}") from error


def read_strictly(path: Path, schema: int | None = None) -> Any:
    """A JSON file, without the extensions of Python's parser and without duplicate fields.

    Args:
        path: The file.
        schema: The `schema_version` that it must have; None for a file without one.

    Raises:
        ArtifactError: The file is missing or not JSON, a field occurs twice in an object, a number is NaN or infinite,
            or the schema is another one.
    """

    def pairs(found: list[tuple[str, Any]]) -> Json:
        names = [name for name, _ in found]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ArtifactError(f"{path}: {', '.join(twice)} occurs twice in one object")
        return dict(found)

    def constant(name: str) -> float:
        raise ArtifactError(f"{path}: {name} is not a number in JSON")

    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=pairs, parse_constant=constant)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} is missing or is not JSON: {error}") from error
    if schema is not None and (found := content.get("schema_version")) != schema:
        raise ArtifactError(f"{path}: schema_version is {found!r}; this version of modit reads {schema}")
    return content
