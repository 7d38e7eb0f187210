"""A step's code version follows what it imports, and only that."""

from __future__ import annotations

import sys

import pytest

from components.registry import REGISTRY
from modit.core.key import _source_of, code_parts, folder_parts, step_code


@pytest.fixture
def package(tmp_path, monkeypatch):
    root = tmp_path / "sample"
    (root / "deep").mkdir(parents=True)
    for folder in (root, root / "deep"):
        (folder / "__init__.py").write_text("")
    (root / "first.py").write_text(
        "from typing import TYPE_CHECKING\nimport json\nfrom sample.deep import second\n"
        "if TYPE_CHECKING:\n    from sample.typed import T\n"
        "def later():\n    from .lazy import x\n"
    )
    for name in ("deep/second", "lazy", "typed", "unrelated"):
        (root / f"{name}.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    _source_of.cache_clear()
    yield root
    _source_of.cache_clear()
    sys.modules.pop("sample", None)


def parts():
    return code_parts(("sample.first",), ("sample",))


def test_it_holds_the_modules_that_can_run_and_no_other(package):
    assert set(parts()) == {"sample", "sample.deep", "sample.deep.second", "sample.first", "sample.lazy"}


def test_nothing_is_imported_to_find_out(package):
    (package / "first.py").write_text("raise RuntimeError\n")
    assert "sample.first" in parts() and "sample" not in sys.modules


@pytest.mark.parametrize("text", ["# why\nx = 1\n", "'''Says what.'''\nx =   1\n"])
def test_comments_docstrings_and_layout_do_not_count(package, text):
    before = parts()
    (package / "deep" / "second.py").write_text(text)
    assert parts() == before


def test_a_changed_statement_counts_in_its_module_alone(package):
    before = parts()
    (package / "deep" / "second.py").write_text("x = 2\n")
    assert {name for name, value in parts().items() if before[name] != value} == {"sample.deep.second"}


def test_files_beside_the_modules_such_as_templates_count(package):
    (package / "page.html").write_text("<p>")
    assert "sample/page.html" in parts()


def test_files_in_folders_below_such_as_templates_count(package):
    (package / "templates" / "deep").mkdir(parents=True)
    (package / "templates" / "page.html").write_text("<p>")
    (package / "templates" / "deep" / "part.html").write_text("<p>")
    before = parts()
    assert {"sample/templates/page.html", "sample/templates/deep/part.html"} <= set(before)
    (package / "templates" / "page.html").write_text("<b>")
    assert [name for name, value in parts().items() if before[name] != value] == ["sample/templates/page.html"]


def test_docstrings_count_where_a_module_reads_them(package):
    (package / "lazy.py").write_text("from sample.deep import second\nx = second.__doc__\n")
    (package / "deep" / "second.py").write_text("'''Shown to people.'''\nx = 1\n")
    before = parts()
    (package / "deep" / "second.py").write_text("'''Shown to everyone.'''\nx = 1\n")
    assert [name for name, value in parts().items() if before[name] != value] == ["sample.deep.second"]


def test_a_method_of_a_parameter_model_counts_for_the_steps_that_use_it():
    """`RetrievalParams.depth` decides K where its value is "auto"."""
    step = REGISTRY.get("label_anchors")
    assert "modit.index.params" in step_code(REGISTRY, step)


def test_what_every_step_works_through_counts():
    assert {"modit.core.context", "modit.core.window", "modit.core.shards"} <= set(
        step_code(REGISTRY, REGISTRY.get("pretrain"))
    )


def test_files_of_a_folder_beside_the_package_count_without_comments_of_python(package):
    folder = package.parent / "beside"
    folder.mkdir()
    (folder / "views.py").write_text("x = 1\n")
    (folder / "settings.yaml").write_text("x: 1\n")
    (folder / ".hidden").write_text("")
    before = folder_parts("sample", ("beside",))
    assert list(before) == ["beside/settings.yaml", "beside/views.py"]
    (folder / "views.py").write_text('"""Why."""\nx = 1  # one\n')
    assert folder_parts("sample", ("beside",)) == before
    (folder / "settings.yaml").write_text("x: 2\n")
    assert [name for name, value in folder_parts("sample", ("beside",)).items() if before[name] != value] == [
        "beside/settings.yaml"
    ]


def test_the_models_of_parameters_count_because_their_methods_can_change_outputs():
    assert "modit.index.params" in code_parts(("modit.index.params",), ("modit",))
    assert "modit.core.params" in code_parts(("modit.core.window",), ("modit",))
