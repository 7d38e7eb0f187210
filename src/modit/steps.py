"""Finds the steps, which lie beside the library: in a checkout at its root, in a wheel as the package `components`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from modit.core.errors import ConfigError
from modit.core.registry import Registry


def find_steps() -> tuple[Registry, Path]:
    """The steps that are declared, and the file of their parameters.

    Raises:
        ConfigError: Another package is called `components`, and hides them.
    """
    root = Path(__file__).resolve().parents[2]
    if (root / "components").is_dir() and str(root) not in sys.path:
        sys.path.append(str(root))
    components = importlib.import_module("components")
    folder = Path(components.__path__[0])
    params = next((path / "params.yaml" for path in (folder, folder.parent) if (path / "params.yaml").is_file()), None)
    if params is None or not (folder / "registry.py").is_file():
        raise ConfigError(f"{folder} hides modit's package `components`; start Python in another folder, or rename it")
    return importlib.import_module("components.registry").REGISTRY, params
