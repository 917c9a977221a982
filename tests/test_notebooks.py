"""The notebooks: kept without results, through the public interface alone, and executed as a whole."""

import ast
import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import coslide

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def cells(path, kind):
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def test_there_are_three_notebooks():
    assert [path.stem for path in NOTEBOOKS] == ["explore-a-cube", "look-inside-egcn", "new-event-to-assessed-map"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestNotebook:
    def test_it_is_valid_and_kept_without_results(self, path):
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert [cell for cell in codes if cell.outputs or cell.execution_count is not None or cell.metadata] == []
        assert path.stat().st_size < 30_000

    def test_it_asks_for_nothing_but_the_public_interface(self, path):
        tree = ast.parse("\n".join(cells(path, "code")))
        modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        modules |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert {name for name in modules if name.startswith("coslide")} == {"coslide"}
        attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
        used = {node.attr for node in attributes if getattr(node.value, "id", "") == "coslide"}
        assert used - set(coslide.__all__) == set()
        assert [node.attr for node in attributes if node.attr.startswith("_") and node.attr != "_fields"] == []

    def test_its_links_lead_somewhere(self, path):
        links = re.findall(r"\]\((?!http)([^)#]+)", "\n".join(cells(path, "markdown")))
        assert [link for link in links if not (FOLDER / link).is_file()] == []
        assert links

    @pytest.mark.slow
    def test_it_runs(self, path, tmp_path):
        notebook = nbformat.read(path, as_version=4)
        resources = {"metadata": {"path": str(tmp_path)}}
        NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        assert [output for output in outputs if output.get("name") == "stderr"] == []
        assert sum("image/png" in output.get("data", {}) for output in outputs) >= 4
        assert sum("text/html" in output.get("data", {}) for output in outputs) >= 2
