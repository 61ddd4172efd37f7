"""The notebook runs from its first cell to its last; ``python tests/pipeline/test_notebook.py``
runs it and stores what it shows."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FILE = Path(__file__).resolve().parents[2] / "notebooks" / "quickstart.ipynb"


def stored() -> nbformat.NotebookNode:
    return nbformat.read(FILE, as_version=4)


def run() -> nbformat.NotebookNode:
    """The notebook with the outputs of a run; a cell that fails is an error."""
    notebook = stored()
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for name in ("NEXUS_HOME", "NEXUS_PROJECT", "NEXUS_DATA", "NEXUS_RAW", "DAGSTER_HOME"):
        os.environ.pop(name, None)
    NotebookClient(notebook, timeout=280, kernel_name="python3").execute()
    return notebook


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shapes(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """Which kinds of output each cell has."""
    return [sorted(output.output_type for output in c.outputs) for c in code_cells(notebook)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_notebook_runs_and_shows_what_it_showed(monkeypatch):
    for name in ("PATH", *os.environ):
        monkeypatch.setenv(name, os.environ[name])  # whatever the run changes is put back
    assert shapes(run()) == shapes(stored())


def test_what_it_showed_is_stored():
    cells = code_cells(stored())
    assert all(cell.execution_count for cell in cells)
    assert sum(bool(cell.outputs) for cell in cells) >= 6
    assert sum("assert" in cell.source for cell in cells) >= 4


if __name__ == "__main__":
    shown = run()
    for cell in shown.cells:
        cell.metadata = {}
    nbformat.write(shown, FILE)
