"""Notebooks have the outputs of their code as it is, and pages of plain English; tests/e2e runs them."""

from __future__ import annotations

import pytest

from docs.hooks import notebook_page
from docs.run_notebooks import CODE, NOTEBOOKS, code_digest, read
from tests.prose_check import check_file

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_the_outputs_are_those_of_the_code_as_it_is(path):
    notebook = read(path)
    assert notebook.metadata[CODE] == code_digest(notebook), "run: python -m docs.run_notebooks"
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [cell.id for cell in cells for output in cell.outputs if output.output_type == "error"]


def test_its_page_has_its_code_and_outputs_and_no_coined_words(path, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(notebook_page(path))
    assert [str(finding) for finding in check_file(page)] == []
    assert page.read_text().count("```python\n") == sum(cell.cell_type == "code" for cell in read(path).cells)
    assert "<table" in page.read_text() and "<style" not in page.read_text()
