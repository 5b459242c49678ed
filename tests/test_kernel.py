from __future__ import annotations

import json
import sys

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from fim_magic.context import EMPTY_CONTEXT
from fim_magic.document import parse
from fim_magic.kernel import context_for, defined_names, executed_cells, known_names


@pytest.fixture(params=[True, False], ids=["history", "no history file"])
def shell(request, tmp_path, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    # A shell puts its own hooks in their place.
    for name in ("excepthook", "displayhook"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    config = Config()
    config.HistoryManager.hist_file = str(tmp_path / "history.sqlite")
    config.HistoryManager.enabled = request.param
    made = InteractiveShell(config=config)
    yield made
    made.history_manager.end_session()
    made.restore_sys_module_state()


def run(shell, *cells):
    for cell in cells:
        shell.run_cell(cell, store_history=True)


def sources(cells):
    return [cell.source for cell in cells]


HOLE = parse("total = <cursor>\n")


def test_names_are_those_of_the_user(shell):
    run(shell, "import json\nx = 1\n_hidden = 2\n", "x")
    assert known_names(shell) == {"json", "x"}
    shell.user_ns["x"] = 2
    assert known_names(shell) == {"json", "x"}


def test_cells_as_they_were_typed(shell):
    run(shell, "x = 1", "%matplotlib --list", "print(x)")
    assert executed_cells(shell) == ("x = 1", "%matplotlib --list", "print(x)")


def test_what_ran_and_what_is_known(shell, capsys):
    run(shell, "prices = [1, 2]", "%pip --version", "prices = [1, 2, 3]", "1 / 0", "def (", "%%fim\nx = <cursor>")
    context = context_for(shell, parse("total = <cursor>sum(prices)\n"))
    assert sources(context.cells)[0] == "prices = [1, 2, 3]"
    assert "def (" not in sources(context.cells)
    assert context.cells[0].number == 3
    assert [each.line for each in context.described] == ["# prices: list, length 3, of int"]
    assert context_for(shell, HOLE, "none") is EMPTY_CONTEXT
    assert context_for(shell, HOLE, "names").cells == ()
    assert context_for(shell, HOLE, "cells").described == ()


def test_the_cell_that_asks_is_none_that_ran(shell):
    found = []
    shell.user_ns["ask"] = lambda: found.append(sources(context_for(shell, HOLE).cells))
    run(shell, "x = 1", "text = 'another = <cursor>'; ask()", "y = 2")
    assert found == [["x = 1"]]
    assert sources(context_for(shell, HOLE).cells) == ["x = 1", "text = 'another = <cursor>'; ask()", "y = 2"]


def test_cells_that_failed_are_left_out_where_it_is_known(shell, capsys):
    run(shell, "x = 1", "y = undefined + 1")
    kept = hasattr(shell.history_manager, "exceptions") and 2 in shell.history_manager.exceptions
    assert sources(context_for(shell, HOLE).cells) == (["x = 1"] if kept else ["x = 1", "y = undefined + 1"])


def test_a_cell_in_another_language_sees_those_in_the_same(shell, capfd):
    run(shell, "folder = 'data'", "%%bash\necho $HOME | wc -c\n", "%%sh\ntrue\n", "%%html\n<p>\n", "%%time\ny = 1\n")
    context = context_for(shell, parse("%%bash\nls <cursor>\n"))
    assert sources(context.cells) == ["%%bash\necho $HOME | wc -c", "%%sh\ntrue"]
    assert context.described == ()
    assert sources(context_for(shell, parse("x = <cursor>\n")).cells) == ["folder = 'data'", "y = 1"]
    assert sources(context_for(shell, parse("%%time\nx = <cursor>\n")).cells) == ["folder = 'data'", "y = 1"]
    assert context_for(shell, parse("%%sql\nSELECT <cursor>\n")).cells == ()


def test_data_that_no_name_near_the_hole_names_is_told_as_well(shell):
    run(shell, "import json\nold = 1\ndef f(): pass\nnew = {'a': 1}")
    context = context_for(shell, HOLE, "names")
    assert [each.line for each in context.described] == ["# new: dict, 1 key: 'a' int", "# old: int"]


def test_secrets_are_left_out(shell, monkeypatch):
    monkeypatch.setattr("getpass.getpass", lambda *_: "hunter2")
    run(shell, "import getpass\nmine = getpass.getpass()\napi_key = 'hunter2'\nn = 1")
    context = context_for(shell, parse("use(mine, api_key, n, <cursor>)"), values=True)
    assert [each.name for each in context.described] == ["n"]
    assert not {"mine", "api_key"} & {each.name for each in context.described}
    assert "hunter2" not in context.above_text


def test_no_code_of_the_users_is_run(shell):
    ran = []

    class Trap:
        def __getattribute__(self, name):
            ran.append(name)
            return object.__getattribute__(self, name)

        def __repr__(self):
            ran.append("repr")
            return "trap"

        __hash__ = object.__hash__

        def __eq__(self, other):
            ran.append("eq")
            return False

    shell.user_ns["trap"] = Trap()
    ran.clear()
    context = context_for(shell, parse("trap.<cursor>"), values=True)
    assert [each.line for each in context.described] == ["# trap: Trap"]
    assert ran == []


def saved(tmp_path, shell, *cells):
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps({"cells": [{"cell_type": kind, "source": source} for kind, source in cells]}))
    shell.user_ns["__vsc_ipynb_file__"] = str(path)


def test_texts_and_cells_below_come_from_the_file(shell, tmp_path):
    saved(
        tmp_path,
        shell,
        *(("markdown", "# Fruit"), ("code", "prices = [1, 2]"), ("code", "never_ran = 1"), ("markdown", "The total")),
        *(
            ("code", "%%fim\ntotal = <cursor>\n"),
            ("markdown", "After"),
            ("code", "print(total)"),
            ("code", "%pip list"),
        ),
        *(("code", "b = 2"), ("code", "c = 3"), ("code", "d = 4")),
    )
    run(shell, "prices = [1, 2]", "b = 2", "other = 5")
    context = context_for(shell, HOLE, "all")
    assert context_for(shell, HOLE).below == ()
    assert sources(context.cells) == ["# # Fruit", "prices = [1, 2]", "other = 5", "# The total"]
    assert sources(context.below) == ["print(total)", "b = 2", "c = 3"]
    assert [cell.number for cell in context.cells] == [0, 1, 3, 0]


def test_what_a_cell_defines_that_has_yet_to_run_is_defined(shell, tmp_path):
    saved(
        tmp_path,
        shell,
        ("markdown", "text = 1"),
        ("code", "import numpy as np\n%pip list\nsize = 3"),
        ("code", "%%bash\nname=1"),
        ("code", "%%fim\nhole = <cursor>\n"),
        ("code", "broken = ("),
    )
    run(shell, "x = 1", "%%fim\nhole = <cursor>\n")
    assert defined_names(shell) == {"x", "np", "size"}
    shell.user_ns["__vsc_ipynb_file__"] = str(tmp_path / "nowhere.ipynb")
    assert defined_names(shell) == known_names(shell) == {"x"}


def test_an_empty_session_knows_nothing(shell):
    assert context_for(shell, HOLE) is EMPTY_CONTEXT


class Bare:
    """What serves code, but is hardly IPython."""

    def __init__(self):
        self.user_ns = {"In": ["", "x = 1"], "x": 1}


def test_a_shell_without_a_history():
    assert executed_cells(Bare()) == ("x = 1",)
    assert sources(context_for(Bare(), HOLE).cells) == ["x = 1"]
    assert executed_cells(object()) == ()
    assert known_names(object()) == frozenset()
    assert context_for(object(), HOLE) is EMPTY_CONTEXT
