"""Runs the notebooks of the documentation and stores their outputs in them: a person runs it after a change of one.

    python -m docs.run_notebooks

Each notebook of docs/notebooks/ runs from its first cell to its last in an empty folder, in a kernel of this
interpreter. `docs/hooks.py` makes a page of it.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOKS = sorted((Path(__file__).parent / "notebooks").glob("*.ipynb"))
# In a notebook's metadata: the digest of the code that its outputs are of.
CODE = "code_sha256"
_CELL_SECONDS = 1200


def read(path: Path) -> NotebookNode:
    """Reads a notebook."""
    return nbformat.read(path, as_version=4)


def run(notebook: NotebookNode, folder: Path) -> None:
    """Runs all cells and stores their outputs in the notebook.

    Args:
        notebook: Is changed; its file is not.
        folder: That the cells work in.

    Raises:
        CellExecutionError: A cell failed.
    """
    place = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        notebook, resources=place, kernel_name="python3", timeout=_CELL_SECONDS, coalesce_streams=True
    )
    client.execute()


def code_digest(notebook: NotebookNode) -> str:
    """SHA-256 of the code of all cells."""
    code = "\0".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return hashlib.sha256(code.encode()).hexdigest()


def main() -> None:
    """Writes all notebooks with their outputs."""
    for path in NOTEBOOKS:
        notebook = read(path)
        with tempfile.TemporaryDirectory() as folder:
            run(notebook, Path(folder))
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # times
            for output in cell.get("outputs", []):
                if output.get("name") == "stderr":  # of it, the end of a progress bar; warnings depend on the machine
                    output.text = output.text.rstrip().rpartition("\n")[2]
        python = {"display_name": "Python 3", "language": "python", "name": "python3"}
        notebook.metadata = {"kernelspec": python, "language_info": {"name": "python"}, CODE: code_digest(notebook)}
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
