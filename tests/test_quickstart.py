"""docs/quickstart.ipynb runs as a reader would run it, in a kernel of its own."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]


def test_the_notebook_runs_and_scores_both_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):  # else in the home directory
        monkeypatch.setenv(folder, str(tmp_path / folder))
    notebook = nbformat.read(ROOT / "docs" / "quickstart.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in cells:
        cell.outputs = []

    NotebookClient(notebook, resources={"metadata": {"path": ROOT}}).execute()

    outputs = [output for cell in cells for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4
    printed = "".join(output["text"] for output in outputs if output["output_type"] == "stream")
    assert all(printed.count(f"{shaping} ") == 2 for shaping in ("additive", "best_so_far", "settled"))
