"""The buttons and the view, as outputs of a real shell; the browser tests show them on pages."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import publish_display_data
from IPython.utils.capture import capture_output
from nbclient import NotebookClient
from nbconvert import HTMLExporter

from fim_magic import holes
from fim_magic.candidate import Candidate, Check, Ending, Result
from fim_magic.document import Document, parse
from fim_magic.errors import BusyError
from fim_magic.frontends import Connection, Owner, Placed
from fim_magic.frontends.jupyter_server import JupyterLab
from fim_magic.progress import Progress
from fim_magic.provenance import record
from fim_magic.review import View, widget
from fim_magic.review.buttons import BUTTONS
from fim_magic.review.diff import Addition
from fim_magic.review.terminal import LiveDiff
from fim_magic.review.toolbar import Toolbar
from fim_magic.review.widget import WIDGET_MIME, Actions, Listener, Offer

ROOT = Path(__file__).parents[2]


class Kernel:
    def get_parent(self):
        return {"header": {"msg_id": "1", "session": "page"}, "metadata": {"cellId": "abc"}}


@pytest.fixture
def shell():
    """A shell as in a kernel that runs a cell of JupyterLab."""
    shell = InteractiveShell.instance()
    shell.kernel = Kernel()
    yield shell
    del shell.kernel
    InteractiveShell.clear_instance()


class Cell:
    """An owner that remembers what it was given."""

    cell_id, anchor = "abc", "fim-abc"

    @property
    def on_page(self):
        return {"cell_id": self.cell_id, "anchor": self.anchor}

    @property
    def bridge(self):
        return Connection.of(InteractiveShell.instance()).bridge

    def __init__(self, error=None):
        self.placed = []
        self.error = error

    def show(self, name, data, metadata=None, *, update=False):
        publish_display_data(data, metadata=metadata or {}, transient={"display_id": name}, update=update)

    def place(self, text, replace, on_result):
        self.placed.append((text, replace))
        if self.error:
            raise self.error
        self.on_result = on_result


def result(*middles):
    candidates = tuple(Candidate(middle, Ending.STOP_TOKEN) for middle in middles)
    return Result(parse("a = <cursor>\n"), candidates, "tiny", "", "fim", "psm", 1, 0, 0, None, 0, 0)


ANSWERED = Candidate("Counter(xs)", Ending.STOP_TOKEN)


class Told:
    """Remembers what a listener is told."""

    def __init__(self):
        self.decisions, self.chosen, self.asked = [], [], []
        self.listener = Listener(lambda *what: self.decisions.append(what), self.chosen.append, self.asked.append)


def offers(*texts):
    return [Offer(Addition(("", ""), (text,)), f"about {text}") for text in texts]


def asking(texts, cell=None, told=None):
    return Actions(offers(*texts), cell or Cell(), (told or Told()).listener)


@pytest.fixture
def page(shell):
    """A page that has answered the bridge. It keeps what it is sent."""
    Connection.of(shell).open_bridge()
    bridge = Connection.of(shell).bridge
    bridge._hear(None, {"event": "hello", "where": "lab"}, None)
    bridge.sent = []
    bridge.send = bridge.sent.append
    return bridge


def shown(actions):
    with capture_output() as captured:
        actions.show()
    (output,) = captured.outputs
    return output


def test_buttons_have_no_fallback_text(shell):
    output = shown(asking(["a"]))
    assert set(output.data) == {WIDGET_MIME, "text/plain"}
    assert output.data["text/plain"] == ""


def test_two_clicks_place_once(shell):
    cell, told = Cell(), Told()
    actions = asking(["a", "b"], cell, told)
    with capture_output() as captured:
        actions._accept.click()
        actions._accept.click()
        actions._reject.click()
        assert actions._accept.disabled
        assert told.decisions == []
        cell.on_result(Placed("inserted", "<It> is there."))
    assert cell.placed == [("a", False)]
    assert told.decisions == [("accept", 0)]
    (note,) = captured.outputs
    assert note.data["text/plain"] == "<It> is there."
    assert "&lt;It&gt; is there." in note.data["text/html"]
    assert set(note.data) == {"text/html", "text/plain"}


def test_a_late_result_is_shown_and_not_decided_again(shell):
    cell, told = Cell(), Told()
    actions = asking(["a"], cell, told)
    with capture_output() as captured:
        actions._replace.click()
        cell.on_result(Placed("pending", "kept"))
        cell.on_result(Placed("replaced", "replaced"))
    assert [output.data["text/plain"] for output in captured.outputs] == ["kept", "replaced"]
    assert cell.placed == [("a", True)]
    assert told.decisions == [("replace", 0)]


def test_reject(shell):
    cell, told = Cell(), Told()
    actions = asking(["a"], cell, told)
    with capture_output() as captured:
        actions._reject.click()
    assert cell.placed == []
    assert told.decisions == [("reject", 0)]
    assert "nothing was changed" in captured.outputs[0].data["text/plain"]


def test_after_a_failure_the_buttons_work_again(shell):
    actions = asking(["a"], Cell(OSError("no $disk$\u202e")))
    with pytest.raises(OSError, match="disk"):
        actions._place("accept")
    assert not actions._accept.disabled
    assert actions._status.value == "Not accepted: no $disk$<U+202E>"
    assert "mathjax_ignore" in actions._status._dom_classes  # or `disk` would be a formula
    actions.busy(False, "The server says: \u202e")
    assert actions._status.value == "The server says: <U+202E>"


def test_the_chosen_candidate_is_placed(shell):
    cell, told = Cell(), Told()
    actions = asking(["a", "b"], cell, told)
    actions._chooser.value = 1
    actions._accept.click()
    assert told.chosen == [1]
    assert cell.placed == [("b", False)]


def test_core_buttons_ask_again_as_the_toolbar_does(shell):
    told = Told()
    actions = asking(["a"], told=told)
    actions._again.click()
    actions._more.click()
    assert told.asked == [None, 0]
    actions.busy(True, "Asking again…")
    assert actions._accept.disabled
    assert actions._more.disabled
    actions.offer(offers("a", "b"), 1)
    actions.busy(False)
    assert not actions._accept.disabled
    assert actions._chooser in actions._row.children
    assert actions._chooser.value == 1


def test_core_buttons_offer_no_other_answer_where_none_can_be_had(shell):
    actions = Actions(offers("a"), Cell(), Listener(lambda *_: None, lambda _: None))
    assert actions._more not in actions._row.children


def test_running_the_cell_again_drops_the_old_buttons(shell):
    first, second = asking(["a"]), asking(["b"])
    shown(first)
    shown(second)
    assert first._row.comm is None
    assert second._row.comm is not None


def test_the_toolbar_comes_when_a_page_has_answered(shell):
    Connection.of(shell).open_bridge()
    actions = asking(["a", "b"])
    shown(actions)
    assert actions._toolbar is None
    assert actions._accept in actions._row.children
    Connection.of(shell).bridge._hear(None, {"event": "hello", "where": "lab"}, None)
    assert actions._row.children == (actions._toolbar,)
    first, _ = actions._toolbar.candidates
    assert first == {
        "texts": ["", ""],
        "added": ["a"],
        "whole_lines": [True],
        "imported": None,
        "about": "about a",
        "has_failed": False,
        "record": {},
    }
    assert actions._toolbar.owner == {"cell_id": "abc", "anchor": "fim-abc"}
    actions.busy(False, "The server says: \u202e")
    assert actions._toolbar.status == "The server says: <U+202E>"


def owner(shell):
    return Owner(shell, "abc", "another", "fim-abc", JupyterLab())


def acting(shell, told, *texts):
    actions = asking(texts, owner(shell), told)
    shown(actions)
    return actions, lambda act, **more: actions._toolbar._handle_custom_msg({"act": act, "index": 0, **more}, [])


def test_what_the_page_has_done_is_noted_and_can_be_taken_back(shell, page):
    told = Told()
    actions, act = acting(shell, told, "a")
    undo = {"how": "inserted", "id": "new", "text": "a"}
    with capture_output() as captured:
        act("accept", how="inserted", undo=undo)
        act("accept", how="inserted", undo=undo)  # the first of two fast clicks has closed it
    (note,) = captured.outputs
    assert "new cell below" in note.data["text/plain"]
    assert 'class="fim-note fim-abc"' in note.data["text/html"]
    changed, offered = page.sent
    assert changed["do"] == "show"
    assert changed["output"]["data"] == note.data
    assert offered == {"do": "undo", "token": 0, "client": "page", "anchor": "fim-abc", "undo": undo}
    with capture_output() as captured:
        page._hear(None, {"event": "answer", "token": 0, "how": "undone"}, None)
    assert WIDGET_MIME in captured.outputs[0].data
    assert told.decisions == [("accept", 0), ("undo", 0)]
    with capture_output():
        actions._toolbar._handle_custom_msg({"act": "reject", "index": 0, "kept": False}, [])
    assert told.decisions[2:] == [("reject", 0)]


@pytest.mark.parametrize(("how", "said"), [("edited", "edited since"), ("gone", "not there any more")])
def test_what_the_user_went_on_with_is_not_taken_back(shell, page, how, said):
    told = Told()
    _, act = acting(shell, told, "a")
    act("accept", how="inserted", undo={"id": "new"})
    with capture_output() as captured:
        page._hear(None, {"event": "answer", "token": 0, "how": how}, None)
    assert said in captured.outputs[0].data["text/plain"]
    assert told.decisions == [("accept", 0)]


@pytest.mark.parametrize("how", ["none", "not-mine", "error"])
def test_what_the_page_could_not_place_is_kept(shell, page, how):
    told = Told()
    _, act = acting(shell, told, "a")
    with capture_output() as captured:
        act("accept", how=how)
    assert Connection.of(shell).pending == "a"
    assert "next cell that you run" in captured.outputs[0].data["text/plain"]
    assert told.decisions == [("accept", 0)]


IMPORTING = Offer(Addition(("", "", "\n"), ("import x\n", "x()"), 0), "about x")


def test_an_import_is_taken_or_left_out_with_core_widgets(shell):
    cell, told, imported = Cell(), Told(), []
    listener = Listener(told.listener.on_decision, told.listener.on_choice, None, imported.append)
    actions = Actions([IMPORTING, *offers("b")], cell, listener)
    assert actions._importer in actions._row.children
    assert actions._importer.value
    with capture_output():
        actions._importer.value = False
        actions._accept.click()
    assert imported == [False]
    assert cell.placed == [("x()\n", False)]
    assert actions._importer.disabled
    other = asking(["a"])
    assert other._importer not in other._row.children


def test_the_import_is_there_unless_it_is_left_out(shell):
    cell = Cell()
    with capture_output():
        Actions([IMPORTING], cell, Told().listener)._accept.click()
    assert cell.placed == [("import x\nx()\n", False)]


def test_the_toolbar_says_whether_the_import_is_taken(shell, page):
    imported = []
    told = Told()
    listener = Listener(told.listener.on_decision, told.listener.on_choice, None, imported.append)
    actions = Actions([IMPORTING], owner(shell), listener)
    shown(actions)
    assert actions._toolbar.imports
    assert actions._toolbar.candidates[0]["imported"] == 0
    with capture_output():
        actions._toolbar.imports = False
        actions._toolbar._handle_custom_msg({"act": "accept", "index": 0, "how": "none"}, [])
    assert imported == [False]
    assert Connection.of(shell).pending == "x()\n"
    with capture_output():
        page._hear(None, {"event": "answer", "token": 0, "how": "undone"}, None)


def test_the_diff_shows_the_import_as_long_as_it_is_taken(shell, page):
    whole = replace(
        result("Counter(xs)"), candidates=(replace(ANSWERED, imports=("from collections import Counter",)),)
    )
    told = record(whole)
    with capture_output() as captured:
        view = View(shell, whole.document)
        view.finish(whole, record=told)
        actions = widget._shown["abc"]
        actions._toolbar.imports = False
        actions._toolbar._handle_custom_msg({"act": "accept", "index": 0, "how": "inserted", "undo": None}, [])
    drawn = [each.data["text/plain"] for each in captured.outputs if "text/html" in each.data]
    with_it = [text for text in drawn if "+ from collections import Counter\n~ a = ⟦Counter(xs)⟧" in text]
    without = [text for text in drawn if "~ a = ⟦Counter(xs)⟧" in text and "import Counter" not in text]
    assert len(with_it) == 1
    assert without
    assert told["candidates"][0]["imports"] == ["from collections import Counter"]
    assert told["decision"]["imports"] is False


def test_parts_copies_and_wishes_leave_the_question_open(shell, page):
    told = Told()
    actions, act = acting(shell, told, "a", "b")
    with capture_output() as captured:
        act("part", part="a")
        act("copy")
        act("again")
        act("more")
    assert captured.outputs == []
    assert told.decisions == [("part", 0), ("copy", 0)]
    assert told.asked == [None, 0]
    assert not actions._decided


def test_a_rejected_rest_leaves_the_part_that_was_taken(shell, page):
    _, act = acting(shell, Told(), "a")
    with capture_output() as captured:
        act("reject", kept=True)
    assert "stays in the new cell" in captured.outputs[0].data["text/plain"]


def test_a_part_that_is_taken_back_is_told(shell, page):
    told = Told()
    actions, act = acting(shell, told, "a")
    act("part", part="a")
    assert actions.is_touched
    act("undo")
    assert told.decisions == [("part", 0), ("undo", 0)]
    assert not actions.is_touched


def test_what_is_decided_before_the_request_is_done_is_told_then(shell, page):
    decisions, stopped, kept = [], [], {"model": "tiny", "candidates": [{"middle": "1"}]}
    with capture_output():
        view = View(shell, parse("a = <cursor>\n"))
        view.offer(result("1"), lambda: stopped.append(True))
        toolbar = widget._shown["abc"]._toolbar
        toolbar._handle_custom_msg({"act": "part", "index": 0, "part": "1"}, [])
        toolbar._handle_custom_msg({"act": "reject", "index": 0, "kept": True}, [])
        view.finish(result("1"), record=kept, on_decision=lambda *what: decisions.append(what))
    assert stopped
    assert decisions == [("part", 0), ("reject", 0)]
    assert kept["decision"]["what"] == "reject"


def outputs_after(shell, page, ask, *acts):
    """The outputs of a view that is asked again, and its buttons."""
    record = {"model": "tiny", "candidates": [{"middle": "1"}]}
    with capture_output() as captured:
        View(shell, parse("a = <cursor>\n"), title="tiny", clock=iter(range(1000)).__next__).finish(
            result("1"), record=record, ask=ask
        )
    actions = widget._shown["abc"]
    with capture_output() as captured:
        for act in acts:
            actions._toolbar._handle_custom_msg({"act": act, "index": actions._index}, [])
    return captured.outputs, actions, record


def test_another_candidate_is_shown_while_it_grows_and_stands_beside_the_first(shell, page):
    def ask(_index, on_grow):
        on_grow("2", 1, 0.1)
        assert widget._shown["abc"]._toolbar.busy
        return result("22")

    outputs, actions, record = outputs_after(shell, page, ask, "more")
    texts = [output.data["text/plain"] for output in outputs]
    assert "filling the hole" in texts[0]
    assert "⟦2⟧" in texts[1]
    assert "⟦22⟧" in texts[-1]
    assert texts[-1].endswith("\n\ntiny · 2 of 2 · 0.0 s")
    assert [each["added"] for each in actions._toolbar.candidates] == [["1"], ["22"]]
    assert (actions._toolbar.index, actions._toolbar.busy) == (1, False)
    assert [each["middle"] for each in record["candidates"]] == ["1", "22"]
    assert outputs[-1].metadata["fim_magic"] == record


def test_again_asks_for_another_and_more_for_more_of_the_one_that_is_shown(shell, page):
    asked, answers = [], iter(["3", "31"])
    outputs, actions, record = outputs_after(
        shell, page, lambda short, _grow: asked.append(short) or result(next(answers)), "again", "more"
    )
    assert [short and short.middle for short in asked] == [None, "3"]
    assert "⟦31⟧" in outputs[-1].data["text/plain"]
    assert [each["added"] for each in actions._toolbar.candidates] == [["1"], ["3"], ["31"]]
    assert [each["middle"] for each in record["candidates"]] == ["1", "3", "31"]


def test_the_same_answer_once_more_is_said_to_be_that(shell, page):
    answers = iter(["1", "2", "1"])
    outputs, *_ = outputs_after(shell, page, lambda *_: result(next(answers)), "again", "again", "again")
    said = [output.data["text/plain"] for output in outputs if "filling the hole" not in output.data["text/plain"]]
    assert "the same text as before" in said[0]
    assert "the same text" not in said[1]
    assert "the same text as candidate 1" in said[2]


@pytest.mark.parametrize(
    ("error", "said"), [(BusyError("The model is busy."), "The model is busy."), (KeyboardInterrupt(), "Interrupted.")]
)
def test_where_no_other_answer_comes_the_first_stays(shell, page, error, said):
    def ask(_index, on_grow):
        on_grow("2", 1, 0.1)
        raise error

    outputs, actions, record = outputs_after(shell, page, ask, "more")
    assert "⟦1⟧" in outputs[-1].data["text/plain"]
    assert (actions._toolbar.status, actions._toolbar.busy) == (said, False)
    assert len(actions._toolbar.candidates) == len(record["candidates"]) == 1


def test_a_decision_is_kept_with_the_diff_and_taken_back_with_it(shell, page):
    record = {"model": "tiny", "candidates": [{"middle": "1"}, {"middle": "2"}]}
    decisions = []
    with capture_output():
        View(shell, parse("a = <cursor>\n")).finish(
            result("1", "2"), record=record, on_decision=lambda *what: decisions.append(what)
        )
    with capture_output() as captured:
        widget._shown["abc"]._toolbar._handle_custom_msg(
            {"act": "accept", "index": 1, "how": "inserted", "undo": {}}, []
        )
    decision = captured.outputs[-1].metadata["fim_magic"]["decision"]
    assert (decision["what"], decision["candidate"]) == ("accept", 2)
    assert datetime.fromisoformat(decision["time"]).tzinfo is not None
    with capture_output() as captured:
        page._hear(None, {"event": "answer", "token": 0, "how": "undone"}, None)
    assert "decision" not in record
    assert decisions == [("accept", 1), ("undo", 1)]


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
    assert finished.metadata["fim_magic"] == {"model": "tiny"}
    assert WIDGET_MIME in buttons.data


def test_view_of_a_request_that_waits(shell):
    now = 0.0
    with capture_output() as captured:
        view = View(shell, parse("a = <cursor>\n"), title="tiny", clock=lambda: now)
        for passed in (0, 1, 2):
            now += 1.0
            view.wait(Progress("Waiting for gpu:8000", passed, 3, "s"))
        view.wait(Progress("Waiting for gpu:8000", 2, 3, "s"))  # too early to draw again
        view.wait(None)
        view.finish(result("1"))
    waits = [output.data["text/plain"] for output in captured.outputs[1:4]]
    for left, shown in zip((3, 2, 1), waits, strict=True):
        assert f"tiny · Waiting for gpu:8000, {left} s" in shown
    assert "filling the hole" in captured.outputs[4].data["text/plain"]


def test_view_without_question(shell):
    with capture_output() as captured:
        View(shell, parse("a = <cursor>\n"), ask=False).finish(result("1", "2"), notes=[["parses"]])
    assert WIDGET_MIME not in captured.outputs[-1].data
    html = captured.outputs[-1].data["text/html"]
    assert html.count("<details") == 2  # what is known of the first, and the other one
    assert "<dt>Note</dt> <dd>parses</dd>" in html
    assert "<summary><small>Candidate 2 of 2 · 0 tokens · ended by itself</small>" in html
    assert captured.outputs[-1].data["text/plain"] == "~ a = ⟦1⟧\n\ntiny · 1 of 2 · 0.0 s · parses"


def test_a_view_for_learners_shows_the_details_at_once(shell):
    with capture_output() as captured:
        View(shell, parse("a = <cursor>\n"), ask=False, details="full").finish(result("1"))
    data = captured.outputs[-1].data
    assert '<details class="fim-other" open><summary>' in data["text/html"]
    assert data["text/plain"] == (
        "~ a = ⟦1⟧\n\ntiny · 0.0 s\nModel   tiny\nLength  0 tokens in 0.0 s\nEnding  ended by itself\n"
        "Order   PSM\nPrompt  1 token"
    )


def test_a_view_can_be_drawn_again_with_more_candidates(shell):
    with capture_output() as captured:
        view = View(shell, parse("a = <cursor>\n"), ask=False)
        view.finish(result("1"))
        view._answers += view._answers[:1]
        view._draw_answers(1)
    assert [output.data["text/plain"].rpartition("\n")[2] for output in captured.outputs[-2:]] == [
        "tiny · 0.0 s",
        "tiny · 2 of 2 · 0.0 s",
    ]
    assert captured.outputs[-1].data["text/html"].count('class="fim-diff"') == 2


def test_view_of_a_failure(shell):
    with capture_output() as captured:
        view = View(shell, parse("a = <cursor>\n"), title="tiny")
        view.grow("1", 1, 0.1)
        view.stop("out of memory")
    assert captured.outputs[-1].data["text/plain"] == "~ a = ⟦1⟧\n\ntiny · out of memory"


def two_holes():
    """A request with two holes, and its only candidate."""
    blanks = holes.parse("a = █\nb = 2\nc = █\n")
    parts = [Candidate("1", Ending.STOP_TOKEN), Candidate("3 +\n  4", Ending.LENGTH)]
    one = holes.combine(blanks, parts)
    return blanks, Result(blanks.document, (one,), "tiny", "", "fim", "psm", 1, 0, 0, None, 0, 0)


def test_view_of_several_holes(shell, page):
    blanks, both = two_holes()
    now = 0.0
    with capture_output() as captured:
        view = View(shell, blanks.document, title="tiny", unfilled=blanks.joined([]), clock=lambda: now)
        now = 1.0
        middle, kept = blanks.joined(["1"])
        view.grow(middle, 1, 0.1, kept)
        view.finish(both)
    first, grown, finished, _ = [output.data["text/plain"] for output in captured.outputs]
    assert "<dt>Holes</dt> <dd>2</dd>" in captured.outputs[2].data["text/html"]
    assert first.startswith("  a =\n  b = 2\n  c =\n\ntiny · filling 2 holes…")
    assert grown.startswith("~ a = ⟦1⟧\n  b = 2\n  c =\n\n")
    assert finished.startswith("~ a = ⟦1⟧\n  b = 2\n~ c = ⟦3 +⟧\n+   4\n\ntiny · 0.0 s · cut at the token limit")
    (offered,) = widget._shown["abc"]._toolbar.candidates
    assert (offered["texts"], offered["added"]) == (["a = ", "\nb = 2\nc = ", "\n"], ["1", "3 +\n  4"])
    assert offered["whole_lines"] == [False, False]


def test_several_holes_are_placed_as_one_text(shell):
    blanks, both = two_holes()
    cell, told = Cell(), Told()
    with capture_output():
        view = View(shell, blanks.document)
        view.finish(both)
        Actions(view._offers(), cell, told.listener)._accept.click()
    assert cell.placed == [("a = 1\nb = 2\nc = 3 +\n  4\n", False)]


def test_a_view_that_fails_between_holes_keeps_what_is_the_users_apart(shell):
    blanks, _ = two_holes()
    middle, kept = blanks.joined(["1"])
    with capture_output() as captured:
        view = View(shell, blanks.document, title="tiny")
        view.grow(middle, 1, 0.1, kept)
        view.stop("out of memory")
    assert captured.outputs[-1].data["text/plain"] == "~ a = ⟦1⟧\n  b = 2\n  c =\n\ntiny · out of memory"


def checked(shell):
    """The outputs of a view of two candidates, of which the second has failed a check."""
    fine = Candidate("1", Ending.STOP_TOKEN, checks=(Check("parses", True),), reason="it parses")
    bad = Candidate("(", Ending.STOP_TOKEN, checks=(Check("parses", False, "'(' was <never> closed"),))
    both = Result(parse("a = <cursor>\n"), (fine, bad), "tiny", "", "fim", "psm", 1, 0, 0, None, 0, 0)
    with capture_output() as captured:
        View(shell, both.document).finish(both)
    return captured.outputs


def test_a_candidate_that_failed_is_shown_and_said_to_have(shell, page):
    html = checked(shell)[-2].data["text/html"]
    assert "<dt>Checks</dt> <dd>1 of 1 passed<ul" in html
    assert "Candidate 2 of 2" in html
    assert "does not parse: &#x27;(&#x27; was &lt;never&gt; closed" in html
    first, second = widget._shown["abc"]._toolbar.candidates
    assert first["about"] == "parses; ended by itself; it parses"
    assert second["about"] == "does not parse: '(' was <never> closed; ended by itself"
    assert (first["has_failed"], second["has_failed"]) == (False, True)


def test_core_buttons_mark_a_candidate_that_failed(shell):
    checked(shell)
    chooser = widget._shown["abc"]._chooser
    assert [label for label, _ in chooser.options] == ["1", "2 ✗"]
    assert chooser.tooltips[1].startswith("Show candidate 2: does not parse: '(' was")


@pytest.mark.parametrize(
    ("prefix", "suffix", "middle", "shown"),
    [
        pytest.param("a\n" * 9, "\nz" * 9, "b", "b", id="the middle of a long text"),
        pytest.param("", "", "b\n" * 20 + "c", "c", id="a long middle"),
        pytest.param("a\n", "", "b", "b", id="a short text"),
    ],
)
def test_a_growing_diff_in_a_terminal_shows_where_it_grows(monkeypatch, prefix, suffix, middle, shown):
    monkeypatch.setenv("LINES", "6")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = io.StringIO()
    stream.isatty = lambda: True
    LiveDiff(Document(prefix, suffix), stream).show(middle)
    lines = stream.getvalue().splitlines()
    assert f"+ {shown}" in lines
    assert len(lines) <= 5


def test_view_in_a_terminal(capsys):
    view = View(InteractiveShell(), parse("a = <cursor>\n"))
    view.grow("1", 1, 0.1)
    view.finish(result("1"))
    assert capsys.readouterr().out == "~ a = ⟦1⟧\n\ntiny · 0.0 s\n"


def test_owner_of_the_view_is_the_running_cell(shell):
    assert Owner.current(shell).is_watched


CELL = """
from fim_magic.candidate import Candidate, Ending, Result
from fim_magic.document import parse
from fim_magic.review import View, widget
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


def test_every_button_has_a_key_of_its_own_and_the_page_gets_them_all():
    keys = [button.key.lower() for button in BUTTONS.values()]
    assert len(set(keys)) == len(keys)
    sent = Toolbar().buttons
    assert [button["name"] for button in sent] == list(BUTTONS)
    assert sent[0] == {
        "name": "accept",
        "label": "Accept",
        "key": "Tab",
        "about": "Put the filled text into a new cell below",
    }


def test_the_view_imports_no_widgets_until_there_are_buttons():
    check = (
        "import sys, fim_magic.review, fim_magic.frontends\n"
        "assert not {'IPython', 'ipywidgets', 'anywidget', 'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT)
