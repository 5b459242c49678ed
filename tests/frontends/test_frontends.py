from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from fim_magic.frontends import Connection, Owner, Placed, accept_now, has_next_input, notebook_path, recognise
from fim_magic.frontends.colab import Colab
from fim_magic.frontends.interface import Unattended
from fim_magic.frontends.jupyter_server import JupyterLab, NbClassic
from fim_magic.frontends.terminal import Console, Terminal
from fim_magic.frontends.vscode import VsCode

RUNNING = {"header": {"msg_id": "1", "session": "page"}, "metadata": {"cellId": "abc"}}
CLICK = {"header": {"msg_id": "2", "session": "page"}, "metadata": {}}


class Kernel:
    """What we need of a kernel: which message it is answering."""

    def __init__(self, message):
        self.message = message

    def get_parent(self):
        return self.message


class Bridge:
    """A page that answers when the test says so."""

    def __init__(self, can_insert=True, has_page=True):
        self.has_page = has_page
        self._can_insert = can_insert
        self.asked = []

    def can_insert(self, client):
        return self._can_insert

    def surely_inserts(self, client):
        return self.has_page and self._can_insert

    def insert(self, text, place, on_answer):
        self.asked.append((text, place))
        self.answer = on_answer


@pytest.fixture
def shell():
    return InteractiveShell()


@pytest.fixture
def kernel_shell(shell, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    shell.kernel = Kernel(RUNNING)
    return shell


@pytest.fixture
def page(kernel_shell):
    Connection.of(kernel_shell).bridge = Bridge()
    return Connection.of(kernel_shell).bridge


LAB, CLASSIC, ASKS = {"cellId": "abc"}, {"JPY_SESSION_NAME": "/a.ipynb"}, {"allow_stdin": True}
RECOGNISED = [
    (None, {}, Terminal),
    ({"metadata": {"cellId": "vscode-notebook-cell:/a.ipynb#W0"}}, {}, VsCode),
    ({"metadata": LAB}, {}, JupyterLab),
    ({"metadata": LAB, "content": ASKS}, CLASSIC, JupyterLab),
    ({"metadata": {}, "content": ASKS}, CLASSIC, NbClassic),
    ({"metadata": {}, "content": ASKS}, {"google.colab": ""}, Colab),
    ({"metadata": {}, "content": ASKS}, {}, Console),
    ({"metadata": {}}, CLASSIC, Unattended),
    ({}, {}, Unattended),
]
"""The message that runs a cell; variables of the environment, and modules that are imported; what the front end is."""


@pytest.mark.parametrize(("message", "surroundings", "kind"), RECOGNISED)
def test_front_ends_are_recognised(shell, monkeypatch, message, surroundings, kind):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    for name, value in surroundings.items():
        if "." in name:
            monkeypatch.setitem(sys.modules, name, sys)
        else:
            monkeypatch.setenv(name, value)
    if message is not None:
        shell.kernel = Kernel(message)
    assert type(recognise(shell)) is kind


def test_the_notebooks_file_is_what_vs_code_or_the_server_says(shell, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "/served.ipynb")
    assert notebook_path(shell) == Path("/served.ipynb")
    shell.user_ns["__vsc_ipynb_file__"] = "/opened.ipynb"
    assert notebook_path(shell) == Path("/opened.ipynb")
    monkeypatch.setenv("JPY_SESSION_NAME", "a name")
    del shell.user_ns["__vsc_ipynb_file__"]
    assert notebook_path(shell) is None


def next_input(shell):
    text, shell.rl_next_input = getattr(shell, "rl_next_input", None), None
    return text


def clicked(shell, **changes):
    """The owner of a cell that ran, when its button is clicked."""
    owner = Owner.current(shell)
    shell.kernel.message = {**CLICK, **changes}
    return owner


def test_terminal(shell):
    owner = Owner.current(shell)
    assert (owner.cell_id, owner.front_end.has_kernel, owner.is_watched) == ("", False, False)
    placed = []
    owner.place("a = 1\n", on_result=placed.append)
    assert next_input(shell) == "a = 1\n"
    assert placed[0].how == "next-input"


def test_a_simple_prompt_gets_the_text_printed(shell, capsys):
    shell.simple_prompt = True
    assert accept_now(shell, "a = 1").how == "printed"
    assert capsys.readouterr().out == "a = 1\n"
    assert next_input(shell) is None


def test_the_owner_is_the_running_cell(kernel_shell, page):
    owner = Owner.current(kernel_shell)
    assert (owner.cell_id, owner.request, owner.is_watched) == ("abc", "1", True)
    assert owner.is_running
    owner.place("a = 1")
    assert next_input(kernel_shell) == "a = 1"
    assert page.asked == []


def test_a_click_asks_the_page(kernel_shell, page):
    owner = clicked(kernel_shell)
    placed = []
    owner.place("a = 1", replace=True, on_result=placed.append)
    expected = {"client": "page", "cell_id": "abc", "anchor": owner.anchor, "replace": True}
    assert page.asked == [("a = 1", expected)]
    assert placed == []
    page.answer({"how": "replaced"})
    assert [each.how for each in placed] == ["replaced"]
    assert next_input(kernel_shell) is None


@pytest.mark.parametrize("how", ["none", "error"])
def test_a_page_that_cannot_leaves_the_text_for_the_next_cell(kernel_shell, page, how):
    placed = []
    clicked(kernel_shell).place("a = 1", on_result=placed.append)
    page.answer({"how": how})
    assert [each.how for each in placed] == ["pending"]
    assert next_input(kernel_shell) is None
    kernel_shell.run_cell("2", store_history=True)
    assert next_input(kernel_shell) == "a = 1"
    kernel_shell.run_cell("2", store_history=True)
    assert next_input(kernel_shell) is None


def test_without_a_bridge_the_text_is_kept(kernel_shell, monkeypatch):
    monkeypatch.setitem(sys.modules, "fim_magic.frontends.bridge", None)  # as if anywidget were broken
    placed = []
    clicked(kernel_shell).place("a = 1", on_result=placed.append)
    assert placed[0].how == "pending"


def test_a_page_that_said_no_is_not_asked(kernel_shell, page):
    page._can_insert = False
    clicked(kernel_shell).place("a = 1")
    assert page.asked == []


def test_a_cell_is_added_by_the_page_while_another_runs(kernel_shell, page):
    owner = Owner.current(kernel_shell)
    placed = []
    owner.add_below("a = 1", quiet=True, on_result=placed.append)
    expected = {"client": "page", "cell_id": "abc", "anchor": owner.anchor, "replace": False, "quiet": True}
    assert page.asked == [("a = 1", expected)]
    page.answer({"how": "inserted", "undo": {"id": "new"}})
    assert [(each.how, each.undo) for each in placed] == [("inserted", {"id": "new"})]
    assert next_input(kernel_shell) is None


def test_a_page_that_has_not_answered_yet_gets_an_added_cell_with_the_reply(kernel_shell, page):
    page.has_page = False
    placed = []
    Owner.current(kernel_shell).add_below("a = 1", quiet=False, on_result=placed.append)
    assert page.asked == []
    assert next_input(kernel_shell) == "a = 1"
    assert [(each.how, each.undo) for each in placed] == [("next-input", None)]


def test_there_is_room_for_one_next_input(kernel_shell, page):
    assert not has_next_input(kernel_shell)
    accept_now(kernel_shell, "a = 1")
    assert has_next_input(kernel_shell)
    assert next_input(kernel_shell) == "a = 1"
    assert not has_next_input(kernel_shell)
    kernel_shell.payload_manager.write_payload({"source": "page"})
    assert not has_next_input(kernel_shell)
    kernel_shell.payload_manager.write_payload({"source": "set_next_input", "text": "a"})
    assert has_next_input(kernel_shell)
    kernel_shell.payload_manager.clear_payload()
    clicked(kernel_shell).place("b = 1")
    page.answer({"how": "none"})
    assert has_next_input(kernel_shell)  # it waits for the next cell


def test_silence_is_a_no(kernel_shell, page):
    Connection.of(kernel_shell).answer_seconds = 0.01
    placed = []

    async def click():
        clicked(kernel_shell).place("a = 1", on_result=placed.append)
        await asyncio.sleep(0.05)

    asyncio.run(click())
    assert [each.how for each in placed] == ["pending"]


def test_a_late_answer_takes_the_pending_text_back(kernel_shell, page):
    Connection.of(kernel_shell).call_later = lambda seconds, call: call()
    placed = []
    clicked(kernel_shell).place("a = 1", on_result=placed.append)
    page.answer({"how": "inserted"})
    assert [each.how for each in placed] == ["pending", "inserted"]
    kernel_shell.run_cell("2", store_history=True)
    assert next_input(kernel_shell) is None


def test_an_answer_in_time_is_the_only_one(kernel_shell, page):
    timers = []
    Connection.of(kernel_shell).call_later = lambda seconds, call: timers.append(call)
    placed = []
    clicked(kernel_shell).place("a = 1", on_result=placed.append)
    page.answer({"how": "inserted"})
    timers[0]()
    assert [each.how for each in placed] == ["inserted"]


@pytest.mark.parametrize(
    ("code", "options"),
    [("2", {"store_history": False}), ("2", {"silent": True}), ("1 / 0", {"store_history": True})],
)
def test_pending_text_waits_for_a_cell_of_the_users_that_succeeds(kernel_shell, page, code, options, capsys):
    clicked(kernel_shell).place("a = 1")
    page.answer({"how": "none"})
    kernel_shell.run_cell(code, **options)
    assert next_input(kernel_shell) is None
    kernel_shell.run_cell("2", store_history=True)
    assert next_input(kernel_shell) == "a = 1"


def test_accepting_by_hand_takes_the_pending_text(kernel_shell, page):
    clicked(kernel_shell).place("a = 1")
    page.answer({"how": "none"})
    assert isinstance(accept_now(kernel_shell, "b = 2", replace=True), Placed)
    assert next_input(kernel_shell) == "b = 2"
    kernel_shell.run_cell("2", store_history=True)
    assert next_input(kernel_shell) is None


def test_no_bridge_where_no_page_can_be(kernel_shell):
    kernel_shell.kernel.message = {"header": {"msg_id": "1"}, "metadata": {}}
    owner = Owner.current(kernel_shell)
    assert Connection.of(kernel_shell).bridge is None
    assert not owner.is_watched


def test_a_text_console_is_told_from_nbclient_by_its_input(kernel_shell):
    assert not isinstance(recognise(kernel_shell), Console)  # a page: it sends the cell's id
    kernel_shell.kernel.message = {"header": {}, "metadata": {}, "content": {"allow_stdin": True}}
    assert isinstance(recognise(kernel_shell), Console)
    kernel_shell.kernel.message = {"header": {}, "metadata": {}, "content": {"allow_stdin": False}}
    assert not isinstance(recognise(kernel_shell), Console)


def test_a_text_console_gets_lines_and_nothing_is_cleared(kernel_shell, capsys):
    from fim_magic.progress import Progress
    from fim_magic.review.progress import NotebookProgress

    kernel_shell.kernel.message = {"header": {}, "metadata": {}, "content": {"allow_stdin": True}}
    shown = NotebookProgress(kernel_shell)
    for done in range(5):
        shown(Progress("Reading", done, 4))
    shown.clear()
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert out.startswith("Reading")
    assert "\x1b" not in out


def test_nbclassic_sends_no_cell_id_but_answers(kernel_shell, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "a.ipynb")
    message = {"header": {"msg_id": "1", "session": "page"}, "metadata": {}, "content": {"allow_stdin": True}}
    kernel_shell.kernel.message = message
    owner = Owner.current(kernel_shell)
    assert owner.is_watched  # before it has answered: the first cells of Run All are shown while they grow, too
    bridge = Connection.of(kernel_shell).bridge
    bridge._hear(None, {"event": "hello", "where": "classic"}, None)
    assert owner.is_watched
    assert bridge.can_insert("page")


def test_a_program_that_a_notebook_starts_inherits_its_session_and_is_no_page(kernel_shell, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "a.ipynb")
    kernel_shell.kernel.message = {"header": {"msg_id": "1"}, "metadata": {}, "content": {"allow_stdin": False}}
    assert not Owner.current(kernel_shell).is_watched
    assert Connection.of(kernel_shell).bridge is None


def test_the_bridge_remembers_what_each_page_is(kernel_shell):
    Owner.current(kernel_shell)
    bridge = Connection.of(kernel_shell).bridge
    called = []
    bridge.when_page(lambda: called.append(1))
    assert bridge.can_insert("page")
    bridge._hear(None, {"event": "hello", "where": "elsewhere"}, None)
    assert not bridge.can_insert("page")
    assert bridge.can_insert("another page")
    assert called == [1]


def test_each_notebook_of_a_page_is_a_client_also_one_that_is_opened_later(kernel_shell):
    Owner.current(kernel_shell)
    bridge = Connection.of(kernel_shell).bridge
    said = {"where": "lab", "languages": ["zh-TW"]}
    bridge._hear(None, {"event": "hello", "clients": ["page", "second"], **said}, None)
    assert bridge.surely_inserts("second")
    assert not bridge.surely_inserts("third")
    sent = []
    bridge.send = sent.append
    bridge._hear(None, {"event": "clients", "clients": ["page", "second", "third"], **said}, None)
    assert bridge.surely_inserts("third")
    assert bridge.languages("third") == ("zh-TW",)
    assert sent == []  # it is no new page, whose old buttons would have to be looked for


def test_a_page_tells_its_languages_and_removes_what_it_has_made(kernel_shell):
    Owner.current(kernel_shell)
    bridge = Connection.of(kernel_shell).bridge
    assert bridge.languages("page") == ()
    assert not bridge.surely_inserts("page")
    bridge._hear(None, {"event": "hello", "where": "lab", "languages": ["en", "zh-TW", None]}, None)
    assert bridge.languages("page") == ("en", "zh-TW")
    assert bridge.languages("another page") == ()
    assert bridge.surely_inserts("page")
    assert not bridge.surely_inserts("another page")
    sent, answers = [], []
    bridge.send = sent.append
    bridge.remove("page", [{"id": "new"}], answers.append)
    token = sent[0]["token"]
    assert sent == [{"do": "remove", "token": token, "client": "page", "cells": [{"id": "new"}]}]
    bridge._hear(None, {"event": "answer", "token": token, "how": "removed", "cells": ["undone"]}, None)
    assert [answer["cells"] for answer in answers] == [["undone"]]


def test_a_page_that_has_lost_an_output_asks_for_it(kernel_shell):
    Owner.current(kernel_shell)
    bridge = Connection.of(kernel_shell).bridge
    shown = []
    bridge.when_lost("buttons", lambda: shown.append("buttons"))
    bridge._hear(None, {"event": "lost", "name": "of an earlier kernel"}, None)
    assert shown == []
    bridge._hear(None, {"event": "lost", "name": "buttons"}, None)
    assert shown == ["buttons"]
    bridge.when_lost("buttons", None)
    bridge._hear(None, {"event": "lost", "name": "buttons"}, None)
    assert shown == ["buttons"]


def test_an_answer_of_another_notebook_is_not_the_answer(kernel_shell):
    Owner.current(kernel_shell)
    bridge = Connection.of(kernel_shell).bridge
    sent, answers = [], []
    bridge.send = sent.append
    bridge.insert("a", {"client": "page"}, answers.append)
    token = sent[0]["token"]
    assert sent == [{"do": "insert", "token": token, "text": "a", "client": "page"}]
    for how in ("not-mine", "inserted", "inserted"):
        bridge._hear(None, {"event": "answer", "token": token, "how": how}, None)
    assert [answer["how"] for answer in answers] == ["inserted"]


def test_what_stands_for_lost_buttons_is_kept_until_the_bridge_opens(kernel_shell):
    kernel_shell.kernel.message = {"header": {"msg_id": "1"}, "metadata": {}}
    connection = Connection.of(kernel_shell)
    connection.open_bridge(lambda: {"text/plain": "lost"})
    assert connection.bridge is None
    kernel_shell.kernel.message = RUNNING
    connection.open_bridge()
    assert connection.bridge._stale == {"text/plain": "lost"}
