"""`%fim tour` from its first cell to its end, in a terminal and in a notebook, with a scripted model."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from IPython.utils.capture import capture_output
from scripted import ScriptedEngine
from shells import extended_shell, quick_collections

from fim_magic.frontends import Connection
from fim_magic.loading.manager import ModelManager
from fim_magic.tour import steps

ANSWER = "lengths = [len(word) for word in text.split()]"
FILLED = steps.HOLE.code.replace("<cursor>", ANSWER).removeprefix("%%fim\n")
USERS = "kept = 'my own'"


_quick = pytest.fixture(scope="module", autouse=True)(quick_collections)


class Models(ModelManager):
    """Has nothing loaded before it is asked for something."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = ScriptedEngine(ANSWER)
        self.begun = []

    def begin(self, spec, *_, **__):
        self.begun.append(spec.name)
        return self.use()

    def use(self, *_):
        return self.loaded or self.adopt(self.engine)


@pytest.fixture
def shell(tmp_path, monkeypatch):
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "JPY_SESSION_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "en_US.UTF-8")
    with extended_shell(tmp_path) as shell:
        magics_of(shell).session.models = Models()
        yield shell


def magics_of(shell):
    return shell.magics_manager.registry["FimMagics"]


def models(shell):
    return magics_of(shell).session.models


def state_of(shell):
    """What the user has in a kernel, and what is hooked into it."""
    return {
        "events": {name: list(hooks) for name, hooks in shell.events.callbacks.items()},
        "names": set(shell.user_ns) - {name for name in shell.user_ns if name.startswith("_")},
        "magics": {kind: set(known) for kind, known in shell.magics_manager.magics.items()},
        "transformers": (list(shell.input_transformers_cleanup), list(shell.input_transformers_post)),
        "payloads": list(shell.payload_manager.read_payload()),
        "pending": Connection.of(shell).pending,
    }


class Terminal:
    """A prompt: what the kernel puts into it, and what has been said."""

    def __init__(self, shell):
        self.shell = shell
        self.prompt = ""
        self.said = ""

    def run(self, source):
        """Type something and run it; the prompt then has what comes next, or nothing."""
        with capture_output() as captured:
            result = self.shell.run_cell(source, store_history=True)
        self.said = captured.stdout + captured.stderr
        self.prompt, self.shell.rl_next_input = getattr(self.shell, "rl_next_input", None) or "", None
        return result.success


@pytest.fixture
def terminal(shell):
    terminal = Terminal(shell)
    terminal.run(USERS)
    return terminal


@dataclass
class Cell:
    id: str
    text: str
    shown: str = ""


class Notebook:
    """A notebook in JupyterLab, as its kernel knows it: cells that run, and the page's end of the bridge."""

    def __init__(self, shell, *sources, where="lab", languages=("en", "en-US")):
        self.shell = shell
        self.cells = [Cell(f"own-{number}", source) for number, source in enumerate(sources)]
        self.where = where
        self.focused = ""
        self._languages = languages
        self._made = 0
        self._answers = []
        self._waiting = []
        self._message = {}
        shell.kernel = self
        connection = Connection.of(shell)
        connection.bridge = self
        connection.call_later = lambda _seconds, _call: None

    def get_parent(self):
        return self._message

    def run(self, index):
        """Run a cell, and then hear what the page has answered meanwhile."""
        cell = self.cells[index]
        self._message = {"header": {"msg_id": cell.id, "session": "page"}, "metadata": {"cellId": cell.id}}
        if self.where == "vs code":
            self._message["metadata"]["cellId"] = f"vscode-notebook-cell:{cell.id}"
        with capture_output() as captured:
            result = self.shell.run_cell(cell.text, store_history=True)
        cell.shown = "".join(
            [captured.stdout, captured.stderr, *(output.data.get("text/html", "") for output in captured.outputs)]
        )
        text, self.shell.rl_next_input = getattr(self.shell, "rl_next_input", None), None
        if text is not None:
            replaces = cell.text.startswith("%fim accept")
            if replaces:
                cell.text = text
            else:
                self._insert(index + 1, text)
        self._message = {"header": {"msg_id": f"{cell.id}-answer", "session": "page"}, "metadata": {}}
        while self._answers:
            with capture_output() as captured:
                self._answers.pop(0)()
            cell.shown += "".join(output.data.get("text/html", "") for output in captured.outputs)
        return result.success

    def run_last(self):
        return self.run(len(self.cells) - 1)

    @property
    def sources(self):
        return [cell.text for cell in self.cells]

    def _insert(self, index, text):
        self._made += 1
        self.cells.insert(index, Cell(f"made-{self._made}", text))
        return self.cells[index].id

    def answer(self, languages):
        """Say what page this is, as it does some time after the bridge was opened."""
        self.where, self._languages = "lab", languages
        with capture_output() as captured:
            for call in self._waiting:
                call()
        return "".join(output.data.get("text/html", "") for output in captured.outputs)

    # What the bridge has for the kernel.

    @property
    def has_page(self):
        return self.where != "not known yet"

    def can_insert(self, _client):
        return self.where == "lab"

    surely_inserts = can_insert

    def languages(self, _client):
        return self._languages

    def when_page(self, call):
        self._waiting.append(call)

    def when_lost(self, name, call): ...

    def show(self, name, data, metadata): ...

    def insert(self, text, target, on_answer):
        index = next(index for index, cell in enumerate(self.cells) if cell.id == target["cell_id"])
        name = self._insert(index + 1, text)
        self.focused = self.focused if target.get("quiet") else name
        undo = {"how": "inserted", "id": name, "text": text, "before": None}
        self._answers.append(lambda: on_answer({"how": "inserted", "undo": undo}))

    def remove(self, client, made, on_answer):
        assert client == "page"
        hows = [self._take_back(undo) for undo in made]
        self._answers.append(lambda: on_answer({"how": "removed", "cells": hows}))

    def _take_back(self, undo):
        cell = next((cell for cell in self.cells if cell.id == undo["id"]), None)
        if cell is None:
            return "gone"
        if cell.text != undo["text"]:
            return "edited"
        self.cells.remove(cell)
        return "undone"


# --- the whole tour --------------------------------------------------------------------------------


def test_the_whole_tour_in_a_terminal_and_nothing_is_left_of_it(shell, terminal):
    before = state_of(shell)
    terminal.run("%fim tour")
    assert "Step 1 of 7." in terminal.said
    assert "stands in your prompt" in terminal.said
    assert models(shell).begun == []
    assert models(shell).loaded is None
    order = [terminal.prompt]
    while terminal.prompt != "%fim tour end":
        assert terminal.run(terminal.prompt), terminal.said
        order.append(terminal.prompt)
    assert models(shell).begun[0] == "auto"
    # What %fim accept puts into the prompt is the answer, and what it is followed by comes after that.
    taken = order.index("%fim accept") + 1
    assert order[taken] == FILLED
    assert order[:taken] + order[taken + 1 :] == [
        step.code for step in steps.steps_for(steps.Surroundings(False, False, ""))
    ]
    assert terminal.run("%fim tour end")
    assert terminal.said == "The tour has ended.\n"
    assert terminal.prompt == ""
    del shell.user_ns["mean_word_length"]  # what was accepted is the user's
    assert state_of(shell) == before
    assert shell.user_ns["kept"] == "my own"
    terminal.run(steps.HOLE.code)
    assert terminal.prompt == ""


def test_the_whole_tour_in_a_notebook_takes_its_cells_away(shell):
    magics_of(shell)._page._channels["page"] = None  # F8 works there
    notebook = Notebook(shell, USERS, "%fim tour")
    notebook.run(0)
    before = state_of(shell)
    notebook.run(1)
    assert "Step 1 of 8." in notebook.cells[1].shown
    assert models(shell).begun == []
    expected = steps.steps_for(steps.Surroundings(False, True, "page"))
    for number, step in enumerate(expected, 1):
        assert notebook.sources[-1] == step.code
        assert (notebook.focused == notebook.cells[-1].id) is not step.is_quiet
        if step is steps.ACCEPT_BY_CLICK:
            assert not notebook.run_last()  # the answer is not accepted yet
            assert "The tour waits here" in notebook.cells[-1].shown
            shell.run_cell(FILLED)
        if step is expected[-1]:
            assert "<a href=" in notebook.cells[-2].shown
        elif step is not expected[-2]:
            assert notebook.run_last()
            assert f"Step {number + 1} of 8." in notebook.cells[-2].shown
            continue
        assert notebook.run_last()
    assert notebook.sources == [USERS, "%fim tour"]
    del shell.user_ns["mean_word_length"]
    del magics_of(shell)._page._channels["page"]
    assert state_of(shell) == before
    notebook.run(0)
    assert notebook.sources == [USERS, "%fim tour"]


def test_where_no_page_makes_cells_those_that_stay_are_named(shell):
    notebook = Notebook(shell, "%fim tour", where="vs code")
    notebook.run(0)
    while not notebook.sources[-1].startswith("%fim accept"):
        assert notebook.run_last()
    assert notebook.run_last()
    assert notebook.sources[-1] == FILLED
    assert "Run the cell that has come" in notebook.cells[-1].shown
    assert notebook.run_last()
    assert notebook.sources[-1] == steps.COMPLETE.code
    notebook.cells.append(Cell("own", "%fim tour end"))
    assert notebook.run_last()
    shown = notebook.cells[-1].shown.replace(' style="white-space: nowrap"', "")
    assert "cannot be removed from here: <code>%fim use auto</code>, <code>%%fim</code>, <code>%fim accept</code>" in (
        shown
    )
    assert notebook.sources[-2] == steps.COMPLETE.code


def test_a_page_that_has_not_answered_yet_gets_the_first_cell_with_the_reply(shell):
    notebook = Notebook(shell, "%fim tour", where="not known yet")
    notebook.run(0)
    assert notebook.sources == ["%fim tour", "%fim use auto"]
    notebook.where = "lab"
    notebook.run(1)
    assert notebook.sources[2] == steps.HOLE.code
    notebook.cells.append(Cell("own", "%fim tour end"))
    notebook.run_last()
    assert notebook.sources == ["%fim tour", "%fim tour end"]  # the first told its id when it ran


# --- what else a user does -------------------------------------------------------------------------


def test_other_cells_do_not_move_the_tour_and_an_edited_one_does(shell):
    notebook = Notebook(shell, "%fim tour", "1 + 1", "%%fim\nx = <cursor>")
    notebook.run(0)
    notebook.run(2)
    notebook.run(3)
    assert notebook.sources == ["%fim tour", "%fim use auto", "1 + 1", "%%fim\nx = <cursor>"]
    notebook.cells[1].text = "%fim use another"
    notebook.run(1)
    assert notebook.sources[2] == steps.HOLE.code
    assert models(shell).begun == ["auto", "another"]
    notebook.cells.append(Cell("own", "%fim tour end"))
    notebook.run_last()
    assert notebook.sources == ["%fim tour", "%fim use another", "1 + 1", "%%fim\nx = <cursor>", "%fim tour end"]
    assert re.search("since you have changed them: <code[^>]*>%fim use auto</code>", notebook.cells[-1].shown)


def test_in_a_terminal_an_edited_cell_is_known_by_its_magic(shell, terminal):
    terminal.run("%fim tour")
    terminal.run("1 + 1")
    terminal.run("%fim models")
    assert terminal.prompt == ""
    terminal.run("%fim use another")
    assert terminal.prompt == steps.HOLE.code


def test_in_a_terminal_what_was_filled_at_the_cursor_is_known_by_its_function(shell, terminal, monkeypatch):
    monkeypatch.setattr("fim_magic.tour.tour.has_prompt", lambda _shell: True)
    for words in ("", *["next"] * 7):
        terminal.run(f"%fim tour {words}")
        if terminal.prompt == steps.CURSOR_IN_TERMINAL.code:
            break
    terminal.run("def another(): pass")
    assert terminal.prompt == ""
    terminal.run(steps.HOLE.code.replace("<cursor>", ANSWER).removeprefix("%%fim\n"))
    assert terminal.prompt == steps.LOG.code


@pytest.mark.parametrize("wrong", ["%%fim\nno marker", "%%fim --nonsense\n<cursor>"])
def test_a_cell_that_fails_says_how_to_go_on(shell, terminal, wrong):
    terminal.run("%fim tour")
    terminal.run("%fim use auto")
    assert not terminal.run(wrong)
    assert "mend this cell and run it again, or go on without it by `%fim tour next`" in terminal.said
    assert terminal.prompt == ""
    assert terminal.run(steps.HOLE.code)
    assert terminal.prompt == "%fim accept"


def test_an_interrupted_cell_does_not_end_the_tour(shell, terminal):
    terminal.run("%fim tour next")
    assert terminal.prompt == "%fim use auto"  # there was none to go on with
    terminal.run("%fim tour next")

    def interrupt(_step):
        raise KeyboardInterrupt

    models(shell).use()
    models(shell).engine.before_step = interrupt
    assert not terminal.run(steps.HOLE.code)
    assert "The tour waits here" in terminal.said
    models(shell).engine.before_step = lambda _step: None
    terminal.run("%fim tour")
    assert terminal.prompt == steps.HOLE.code


def test_the_step_is_shown_again_left_out_and_begun_anew(shell, terminal):
    terminal.run("%fim tour")
    terminal.run("%fim tour next")
    assert "Step 2 of 7." in terminal.said
    terminal.run("%fim tour")
    assert terminal.prompt == steps.HOLE.code
    assert "Step 2 of 7." in terminal.said
    terminal.run("%fim tour restart")
    assert terminal.prompt == "%fim use auto"
    hooks = shell.events.callbacks["post_run_cell"]
    assert hooks.count(magics_of(shell).tour._after_cell) == 1
    for _ in range(8):
        terminal.run("%fim tour next")
    assert terminal.said == "The tour has ended.\n"
    assert magics_of(shell).tour._after_cell not in hooks
    terminal.run("%fim tour end")
    assert "No tour is under way." in terminal.said


def test_where_a_model_is_chosen_the_tour_leaves_it(shell, terminal):
    shell.run_line_magic("config", "FimMagics.model = 'vllm://127.0.0.1:8000'")
    terminal.run("%fim tour")
    assert terminal.prompt == "%fim"
    terminal.run("%fim")
    assert terminal.prompt == steps.HOLE.code
    assert models(shell).begun == []


@pytest.mark.parametrize("words", ["nonsense", "next end", "en zh-TW", "zh"])
def test_what_it_does_not_know_is_one_paragraph(shell, terminal, words):
    assert not terminal.run(f"%fim tour {words}")
    assert terminal.said == (
        f"UsageError: %fim tour takes next, restart, end or nothing, and a language, en or zh-TW: {words!r} is none of "
        "that.\n"
    )


def test_unloading_the_extension_ends_it(shell, terminal):
    before = {name: list(hooks) for name, hooks in shell.events.callbacks.items()}
    terminal.run("%fim tour")
    shell.run_line_magic("unload_ext", "fim_magic")
    assert all(set(hooks) <= set(before[name]) for name, hooks in shell.events.callbacks.items())
    shell.run_line_magic("load_ext", "fim_magic")


# --- languages -------------------------------------------------------------------------------------


def test_it_is_in_the_language_of_the_page_and_code_is_the_same(shell):
    notebook = Notebook(shell, "%fim tour", languages=("en", "zh-TW"))
    notebook.run(0)
    assert "第 1 步，共 7 步。這一格會選" in notebook.cells[0].shown
    assert 'lang="zh-TW"' in notebook.cells[0].shown
    notebook.cells[0].text = "%fim tour en"
    notebook.run(0)
    assert "Step 1 of 7. This cell" in notebook.cells[0].shown
    assert notebook.sources == ["%fim tour en", "%fim use auto", "%fim use auto"]


def test_a_page_that_tells_its_language_later_is_told_again(shell):
    notebook = Notebook(shell, "%fim tour", where="not known yet", languages=())
    notebook.run(0)
    assert "Step 1 of 7. This cell" in notebook.cells[0].shown
    shown = notebook.answer(["zh-TW"])
    assert shown.count("<p ") == 2
    assert "第 1 步，共 7 步。這一格會選" in shown


def test_a_language_that_is_typed_stays_until_the_end(shell, terminal):
    terminal.run("%fim tour zh-TW")
    assert "第 1 步" in terminal.said
    terminal.run("%fim tour next")
    assert "第 2 步" in terminal.said
    terminal.run("%fim tour end")
    assert terminal.said == "導覽結束了。\n"
    terminal.run("%fim tour")
    assert "Step 1" in terminal.said


def test_the_systems_language_counts_where_there_is_no_page(shell, terminal, monkeypatch):
    monkeypatch.setenv("LANG", "zh_TW.UTF-8")
    terminal.run("%fim tour")
    assert "第 1 步" in terminal.said
