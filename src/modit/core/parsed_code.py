"""What sources import, and their hashes without comments and layout: parsed once, kept for the processes to come.

Parsing takes most of the time of a key, about a second for the modules of a step, and each task is a process. What was
found is kept in a file by the sha256 of the source, so that an edited source is parsed again.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from modit.core.storage import Storage
from modit.core.workspace import cache_folder

FILE = "parsed_code.json"
# More than some versions of all modules have; the file then begins anew.
_MOST = 10_000


class ParsedCode:
    """Facts of sources, in a file."""

    def __init__(self, file: Path) -> None:
        """Reads the file; one that is missing, damaged, or of other rules counts as empty."""
        self.file, self._new = file, False
        rules = Path(__file__).read_bytes() + sys.version.encode()
        self._rules = hashlib.sha256(rules).hexdigest()
        self._facts: dict[str, Any] = {}
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
            if stored["rules"] == self._rules and len(stored["facts"]) < _MOST:
                self._facts = dict(stored["facts"])
        except (OSError, ValueError, KeyError, TypeError):
            pass

    def imports(self, source: bytes, package: str) -> list[str]:
        """Names of the modules that a source of a package imports, with attributes that may be modules."""
        return self._fact(source, f"imports in {package}", lambda: _imported_names(source, package))

    def hash(self, source: bytes, docstrings: bool = False) -> str:
        """16 hexadecimal digits of what a source does: comments and layout do not count, docstrings on request."""
        kind = "hash with docstrings" if docstrings else "hash"
        return self._fact(source, kind, lambda: _hash_of_source(source, docstrings))

    def save(self) -> None:
        """Writes what is new; a folder that cannot be written costs time, not the run."""
        if not self._new:
            return
        try:
            Storage(str(self.file.parent)).write_json(self.file.name, {"rules": self._rules, "facts": self._facts})
        except OSError:
            return
        self._new = False

    def _fact(self, source: bytes, what: str, find: Callable[[], Any]) -> Any:
        name = f"{hashlib.sha256(source).hexdigest()} {what}"
        if name not in self._facts:
            self._facts[name], self._new = find(), True
        return self._facts[name]


def parsed_code() -> ParsedCode:
    """That of this user's cache folder."""
    return _parsed_code(cache_folder() / FILE)


@cache
def _parsed_code(file: Path) -> ParsedCode:
    return ParsedCode(file)


def _imported_names(source: bytes, package: str) -> list[str]:
    names: dict[str, None] = {}
    for node in ast.walk(_Executed().visit(ast.parse(source))):
        if isinstance(node, ast.Import):
            names |= {alias.name: None for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            # `from package import name`: the name may be a module; if not, it has no source of its own.
            names |= {name: None for name in (base, *(f"{base}.{alias.name}" for alias in node.names))}
    return list(names)


class _Executed(ast.NodeTransformer):
    """Drops what never runs: docstrings, and blocks for type checkers."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            return [self.visit(statement) for statement in node.orelse]
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else node


def _hash_of_source(source: bytes, docstrings: bool) -> str:
    tree = ast.parse(source)
    return hashlib.sha256(ast.dump(tree if docstrings else _Executed().visit(tree)).encode()).hexdigest()[:16]
