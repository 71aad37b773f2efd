"""The example notebook, executed in a kernel as a user executes it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_quickstart_goes_from_dataset_to_report() -> None:
    """
    Every cell works without an account; each shows what it promises; nothing is left that bills.
    """
    read: Any = nbformat.read
    notebook = read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        # The same job on fewer rows, in a tenth of the time.
        cell.source = cell.source.replace("speed=1200", "speed=12000")
        cell.source = cell.source.replace('"split": "train"', '"split": "train", "max_rows": 8')

    NotebookClient(notebook, timeout=100, kernel_name="python3").execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = {cell.source.splitlines()[-1]: html_of(cell) for cell in cells}

    assert "<img src=" in shown["notebook.preview(spec, row=0, settings=settings)"]
    assert "<b>0</b> errors" in shown["notebook.lint(spec, settings)"]
    assert "on-demand" in shown['await session.plan(spec, run_id="quickstart")']
    panel = shown['run = await session.run(spec, run_id="quickstart")']
    assert "✓ succeeded" in panel
    assert "Loss by step: training from" in panel
    assert re.search(r"Cost so far:</b> about \$0\.\d+", panel)
    assert "custom-model/" in shown["run"]
    assert "<iframe sandbox title=" in shown["await session.report(run.run_id)"]
    assert notebook.cells[-1].outputs[-1].data["text/plain"] == "[]"
    assert [each for cell in cells for each in cell.outputs if each.get("name")] == []


def html_of(cell: Any) -> str:
    return "".join(each.data.get("text/html", "") for each in cell.outputs if "data" in each)
