"""The buttons and the view, as outputs of a real shell; the browser tests show them on pages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from nbclient import NotebookClient
from nbconvert import HTMLExporter

from fim_magic import frontends
from fim_magic.candidate import Candidate, Ending, Result
from fim_magic.document import parse
from fim_magic.frontends import Owner, Placed
from fim_magic.review import View
from fim_magic.review.widget import WIDGET_MIME, Actions

ROOT = Path(__file__).parents[1]


class Kernel:
    def get_parent(self):
        return {"header": {"msg_id": "1", "session": "page"}, "metadata": {"cellId": "abc"}}


@pytest.fixture
def shell(monkeypatch):
    """A shell as in a kernel that runs a cell of JupyterLab."""
    shell = InteractiveShell.instance()
    shell.kernel = Kernel()
    monkeypatch.setattr(frontends, "_opened", [])
    yield shell
    del shell.kernel
    InteractiveShell.clear_instance()


class Cell:
    """An owner that remembers what it was given."""

    cell_id, marker = "abc", "fim-abc"

    def __init__(self, error=None):
        self.placed = []
        self.error = error

    def place(self, text, replace, on_result):
        self.placed.append((text, replace))
        if self.error:
            raise self.error
        self.on_result = on_result


def result(*middles):
    candidates = tuple(Candidate(middle, Ending.STOP_TOKEN) for middle in middles)
    return Result(parse("a = <cursor>\n"), candidates, "tiny", "", "fim", "psm", 1, 0, 0, None, 0, 0)


def shown(actions):
    with capture_output() as captured:
        actions.show()
    (output,) = captured.outputs
    return output


def test_buttons_have_no_fallback_text(shell):
    output = shown(Actions(["a"], Cell()))
    assert set(output.data) == {WIDGET_MIME, "text/plain"}
    assert output.data["text/plain"] == ""


def test_two_clicks_place_once(shell):
    cell, decisions = Cell(), []
    actions = Actions(["a", "b"], cell, lambda *what: decisions.append(what))
    with capture_output() as captured:
        actions._accept.click()
        actions._accept.click()
        actions._reject.click()
        assert actions._accept.disabled
        assert decisions == []
        cell.on_result(Placed("inserted", "<It> is there."))
    assert cell.placed == [("a", False)]
    assert decisions == [("accept", 0)]
    (note,) = captured.outputs
    assert note.data["text/plain"] == "<It> is there."
    assert "&lt;It&gt; is there." in note.data["text/html"]
    assert set(note.data) == {"text/html", "text/plain"}


def test_a_late_result_is_shown_and_not_decided_again(shell):
    cell, decisions = Cell(), []
    actions = Actions(["a"], cell, lambda *what: decisions.append(what))
    with capture_output() as captured:
        actions._replace.click()
        cell.on_result(Placed("pending", "kept"))
        cell.on_result(Placed("replaced", "replaced"))
    assert [output.data["text/plain"] for output in captured.outputs] == ["kept", "replaced"]
    assert cell.placed == [("a", True)]
    assert decisions == [("replace", 0)]


def test_reject(shell):
    cell, decisions = Cell(), []
    actions = Actions(["a"], cell, lambda *what: decisions.append(what))
    with capture_output() as captured:
        actions._reject.click()
    assert cell.placed == []
    assert decisions == [("reject", 0)]
    assert "nothing was changed" in captured.outputs[0].data["text/plain"]


def test_after_a_failure_the_buttons_work_again(shell):
    actions = Actions(["a"], Cell(OSError("no disk")))
    with pytest.raises(OSError, match="no disk"):
        actions._place("accept")
    assert not actions._accept.disabled
    assert actions._status.value == "Not accepted: no disk"


def test_the_chosen_candidate_is_placed(shell):
    cell, chosen = Cell(), []
    actions = Actions(["a", "b"], cell, on_choice=chosen.append)
    actions._chooser.value = 1
    actions._accept.click()
    assert chosen == [1]
    assert cell.placed == [("b", False)]


def test_running_the_cell_again_drops_the_old_buttons(shell):
    first, second = Actions(["a"], Cell()), Actions(["b"], Cell())
    shown(first)
    shown(second)
    assert first._row.comm is None
    assert second._row.comm is not None


def test_copy_comes_when_a_page_has_answered(shell):
    frontends.prepare(shell)
    decisions = []
    actions = Actions(["a"], Cell(), lambda *what: decisions.append(what))
    shown(actions)
    assert actions._copy is None
    frontends.page_bridge()._hear(None, {"event": "hello", "where": "lab"}, None)
    assert actions._copy.text == "a"
    assert actions._row.children[2] is actions._copy
    actions._copy._handle_custom_msg({"event": "copied"}, [])
    assert decisions == [("copy", 0)]


def test_view_on_a_page(shell):
    now = 0.0
    with capture_output() as captured:
        view = View(shell, parse("a = <cursor>\n"), title="tiny", clock=lambda: now)
        view.grow("1", 1, 0.1)  # too early to draw again
        now = 1.0
        view.grow("12", 2, 0.2)
        view.finish(result("123"), record={"model": "tiny"})
    first, grown, finished, buttons = captured.outputs
    assert "filling the hole" in first.data["text/plain"]
    assert "⟦12⟧" in grown.data["text/plain"]
    assert "⟦123⟧" in finished.data["text/plain"]
    assert set(finished.data) == {"text/html", "text/plain"}
    assert finished.metadata == {"fim_magic": {"model": "tiny"}}
    assert WIDGET_MIME in buttons.data


def test_view_without_question(shell):
    with capture_output() as captured:
        View(shell, parse("a = <cursor>\n"), ask=False).finish(result("1", "2"), notes=[["parses"]])
    assert WIDGET_MIME not in captured.outputs[-1].data
    assert captured.outputs[-1].data["text/html"].count("<details") == 1
    assert captured.outputs[-1].data["text/plain"].endswith("· parses")


def test_view_of_a_failure(shell):
    with capture_output() as captured:
        view = View(shell, parse("a = <cursor>\n"), title="tiny")
        view.grow("1", 1, 0.1)
        view.stop("out of memory")
    assert captured.outputs[-1].data["text/plain"] == "~ a = ⟦1⟧\n\ntiny · out of memory"


def test_view_in_a_terminal(capsys):
    view = View(InteractiveShell(), parse("a = <cursor>\n"))
    view.grow("1", 1, 0.1)
    view.finish(result("1"))
    assert capsys.readouterr().out == "~ a = ⟦1⟧\n\ntiny · 0 tokens in 0.0 s · ended by itself · PSM\n"


def test_owner_of_the_view_is_the_running_cell(shell):
    assert Owner.current(shell).is_watched


CELL = """
from fim_magic.candidate import Candidate, Ending, Result
from fim_magic.document import parse
from fim_magic.review import View
document = parse("a = <cursor>\\n")
view = View(get_ipython(), document, title="tiny")
view.grow("'<b>'", 1, 0.1)
candidate = Candidate("'<b>'", Ending.STOP_TOKEN)
view.finish(Result(document, (candidate,), "tiny", "", "fim", "psm", 1, 0, 0, None, 0, 0))
"""


def test_executed_and_exported_notebook(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    (output,) = notebook.cells[0].outputs
    assert set(output.data) == {"text/html", "text/plain"}
    assert "widgets" not in notebook.metadata
    exported, _ = HTMLExporter().from_notebook_node(notebook)
    assert "&lt;b&gt;" in exported
    assert "<b>" not in exported
    assert 'class="fim-diff"' in exported
    assert "widget-view" not in exported
    assert "Error displaying" not in exported


def test_the_view_imports_no_widgets_until_there_are_buttons():
    check = (
        "import sys, fim_magic.review, fim_magic.frontends\n"
        "assert not {'IPython', 'ipywidgets', 'anywidget', 'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT)
