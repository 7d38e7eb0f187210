"""The version of a step's code: a hash over the modules that it imports, found without importing them."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path


def code_parts(modules: Sequence[str], packages: tuple[str, ...]) -> dict[str, str]:
    """Returns hashes of some modules and of all that they import, directly or not.

    Every such module counts, those of parameters too: a method of theirs can change an output, and so can the class of
    an error. Comments and layout do not count, nor do docstrings unless a module reads `__doc__`. Imports inside
    functions count, imports under `TYPE_CHECKING` do not. Files beside the modules and in folders below that are no
    packages, such as templates, count.

    Args:
        modules: names of the first modules, such as `components.pretrain.run`.
        packages: top-level packages to follow; others are taken as given by the environment.

    Returns:
        Module (or file beside modules, such as a template) -> 16 hexadecimal digits.
    """
    found: dict[str, str] = {}
    sources: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in sources:
            continue
        path = _source_of(name)
        if path is None:
            continue
        sources[name] = path
        found.update(_hashes_of_data_files(path.parent, name if path.stem == "__init__" else name.rpartition(".")[0]))
        waiting.extend(_imports(path, name, packages))
    docstrings = any(b"__doc__" in path.read_bytes() for path in sources.values())
    return dict(sorted((found | {name: _hash_of_source(path, docstrings) for name, path in sources.items()}).items()))


def folder_parts(package: str, folders: tuple[str, ...]) -> dict[str, str]:
    """Returns hashes of the files in folders next to a package, without hidden files.

    Args:
        package: name of the package, such as `components`.
        folders: names of the folders.

    Returns:
        File, such as `feature_repo/sources.py` -> 16 hexadecimal digits.
    """
    source = _source_of(package)
    root = source.parent.parent if source else Path()
    paths = [path for folder in folders for path in (root / folder).iterdir() if path.is_file()]
    found = {path.relative_to(root).as_posix(): path for path in paths if not path.name.startswith(".")}
    return {
        name: _hash_of_source(path) if path.suffix == ".py" else _hash_of_bytes(path)
        for name, path in sorted(found.items())
    }


@cache
def _source_of(module: str) -> Path | None:
    # Parents are located by path, so that nothing is executed.
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top) if top not in sys.modules else sys.modules[top].__spec__
    if spec is None or spec.submodule_search_locations is None:
        return Path(spec.origin) if spec and spec.origin and not rest else None
    for location in spec.submodule_search_locations:
        base = Path(location).joinpath(*rest)
        for candidate in (base / "__init__.py", base.with_suffix(".py")):
            if candidate.is_file() and (rest or candidate.name == "__init__.py"):
                return candidate
    return None


def _imports(path: Path, module: str, packages: tuple[str, ...]) -> Iterator[str]:
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    for name in _imported_names(_executed(ast.parse(path.read_bytes())), package):
        if name.split(".")[0] in packages:
            parts = name.split(".")
            yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _imported_names(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield base
            # `from package import name`: the name may be a module; if not, it has no source of its own.
            yield from (f"{base}.{alias.name}" for alias in node.names)


class _Executed(ast.NodeTransformer):
    """Drops what never runs: docstrings, and blocks for type checkers."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            return [self.visit(statement) for statement in node.orelse]
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else node


def _executed(tree: ast.AST) -> ast.AST:
    return _Executed().visit(tree)


def _hash_of_source(path: Path, docstrings: bool = False) -> str:
    tree = ast.parse(path.read_bytes())
    return hashlib.sha256(ast.dump(tree if docstrings else _executed(tree)).encode()).hexdigest()[:16]


def _hashes_of_data_files(folder: Path, package: str) -> dict[str, str]:
    """Of the files beside a module, and of those in folders below that hold no modules."""
    found: dict[str, str] = {}
    for path in folder.iterdir():
        if path.name[0] == "." or path.name == "__pycache__":
            continue
        if path.is_file() and path.suffix != ".py":
            found[f"{package}/{path.name}"] = _hash_of_bytes(path)
        elif path.is_dir() and not any(path.glob("*.py")):
            found |= _hashes_of_data_files(path, f"{package}/{path.name}")
    return found


def _hash_of_bytes(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
