"""The tutorials, executed from top to bottom by a real kernel with the real model."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


def outputs_of(notebook, beginning: str) -> list:
    (cell,) = (c for c in notebook.cells if c.cell_type == "code" and c.source.startswith(beginning))
    return cell.outputs


def executed(name: str):
    (path,) = (path for path in NOTEBOOKS if path.stem == name)
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=900, kernel_name="python3").execute()
    return notebook


@pytest.fixture(scope="module")
def quickstart():
    return executed("quickstart")


@pytest.fixture(scope="module")
def stages():
    return executed("context-and-checks")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_valid_and_has_no_outputs_to_go_stale(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.get("outputs") for cell in notebook.cells)


@pytest.mark.real_model
def test_quickstart_runs_and_its_answer_is_right(quickstart):
    (mean,) = outputs_of(quickstart, "exec(filled.text)")
    assert float(mean["data"]["text/plain"]) == 3.0


@pytest.mark.real_model
def test_quickstart_shows_each_diff_with_where_it_came_from(quickstart):
    asked = [c for c in quickstart.cells if c.source.startswith(("%%fim", "%%complete"))]
    cells = [c for c in asked if "--hint" not in c.source]
    assert len(cells) == 3
    for cell in cells:
        (output,) = cell.outputs
        assert set(output["data"]) == {"text/html", "text/plain"}
        record = output["metadata"]["fim_magic"]
        assert record["model"] == "qwen2.5-coder-0.5b"
        assert (
            record["candidates"][0]["middle"].strip()
            in output["data"]["text/plain"].translate(str.maketrans("", "", "⟦⟧")).replace("+ ", "  ")
            or "\n" in record["candidates"][0]["middle"]
        )


@pytest.mark.real_model
def test_quickstart_gives_a_hint_and_not_the_answer(quickstart):
    (hint,) = outputs_of(quickstart, "%%fim --hint")
    shown = hint["data"]["text/plain"]
    assert shown.startswith("Hint: what kind of lines they are\n")
    assert "return" in shown
    assert "xs" not in shown
    (log,) = outputs_of(quickstart, "%fim log")
    assert len(log["text"].splitlines()) == 1 + 3


@pytest.mark.real_model
def test_exported_quickstart_shows_the_diff_without_widgets(quickstart):
    html, _ = HTMLExporter().from_notebook_node(quickstart)
    assert "fim-view" in html
    assert "Error displaying widget" not in html
    assert "application/vnd.jupyter.widget-view+json" not in html


@pytest.mark.real_model
def test_context_tells_the_model_what_the_cell_does_not(stages):
    (diff,) = outputs_of(stages, "%%fim --into filled")
    assert "fahrenheit(row[" in diff["data"]["text/plain"]
    assert "celsius" in diff["metadata"]["fim_magic"]["candidates"][0]["middle"]
    assert diff["metadata"]["fim_magic"]["context"]["cells"]
    (alone,) = outputs_of(stages, "%%fim --context none")
    assert "celsius" not in alone["metadata"]["fim_magic"]["candidates"][0]["middle"]


@pytest.mark.real_model
def test_what_comes_first_passes_its_checks(stages):
    (diff,) = outputs_of(stages, "%%fim -n 4 --check")
    assert all(check["passed"] for check in diff["metadata"]["fim_magic"]["candidates"][0]["checks"])
    assert "4 of 4 passed" in diff["data"]["text/html"]
    assert "parses, names known" in diff["data"]["text/plain"]


@pytest.mark.real_model
def test_several_holes_are_one_diff(stages):
    (diff,) = outputs_of(stages, "%%fim --into both")
    assert "<dt>Holes</dt> <dd>2</dd>" in diff["data"]["text/html"]
    (candidate,) = diff["metadata"]["fim_magic"]["candidates"]
    first, second = candidate["middles"]
    assert first
    assert second
