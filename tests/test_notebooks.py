"""The notebooks run, with short settings; each `.ipynb` is its `.py` with the outputs added."""

import pathlib
import re

import jupytext
import nbclient
import pytest

NOTEBOOKS = sorted((pathlib.Path(__file__).parent.parent / "notebooks").glob("*.py"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path):
    notebook = jupytext.read(path)
    for cell in notebook.cells:
        cell.source = re.sub(r"^EPOCHS = \d+$", "EPOCHS = 2", cell.source, flags=re.MULTILINE)
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    noise = [output["text"] for output in outputs if output.get("name") == "stderr"]
    assert "warn" not in "".join(noise).lower()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_shown_notebook_is_the_script(path):
    shown, script = jupytext.read(path.with_suffix(".ipynb")), jupytext.read(path)
    assert [(cell.cell_type, cell.source) for cell in shown.cells] == [
        (cell.cell_type, cell.source) for cell in script.cells
    ]
    assert all(cell.execution_count for cell in shown.cells if cell.cell_type == "code" and cell.source)
