"""Examples in the documentation run, and names of modules in it exist."""

from __future__ import annotations

import importlib
import re

import pytest

from modit.data.validate import validate_logs
from tests.docs.pages import PAGES, ROOT


def test_the_example_of_a_catalogue_is_accepted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/how-to/bring-your-catalogue.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(block, {})  # noqa: S102
    (tmp_path / "my_quarantine").mkdir()
    catalog, _ = validate_logs(tmp_path / "my_catalogue", tmp_path / "my_quarantine")
    assert catalog.item_ids.tolist() == ["a1", "a2", "a3"]
    assert catalog.positive("quality").tolist() == [True, False, False]
    assert catalog.scored("quality").tolist() == [True, True, False]


def named_objects() -> set[str]:
    """Every `modit.module.name` of a page."""
    return {name for path in PAGES for name in re.findall(r"\b(modit(?:\.[a-z_]\w*)+)", path.read_text())}


@pytest.mark.parametrize("name", sorted(named_objects()))
def test_an_object_that_a_page_names_exists(name):
    if name in ("modit.access", "modit.svc") or ".svc" in name:
        return  # a logger, an address in a cluster
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return
    pytest.fail(f"no {name}")


def test_imports_in_examples_exist():
    for path in PAGES:
        for module, names in re.findall(r"^from (modit[\w.]*) import (.+)$", path.read_text(), re.MULTILINE):
            for name in names.split(","):
                assert hasattr(importlib.import_module(module), name.strip()), f"{path}: {module}.{name}"
