"""The first answer can be taken while further ones are on their way."""

from __future__ import annotations

import pytest
from asking import GO_ON, PREFIX, SUFFIX, in_lab, press

expect = pytest.importorskip("playwright.sync_api").expect

LOADED = "from fim_magic.frontends import Connection; from fim_magic.review.render import undecided; Connection.of(get_ipython()).open_bridge(undecided)"  # as %load_ext does
FIRST, BETTER = "total = rows = 1", "rows = [[1]]\n    total = 1"

# What a cell does that runs %%fim where the first answer was doubtful: it goes on until it is told to end.
CELL = f"""
import dataclasses, pathlib, time
from fim_magic.candidate import Candidate, Ending, Result
from fim_magic.document import Document
from fim_magic.provenance import record
from fim_magic.review import View

decided, stopped = [], []
document = Document({PREFIX!r}, {SUFFIX!r}, "<cursor>")
first, better = (Candidate(middle, Ending.STOP_TOKEN, token_ids=(1,)) for middle in ({FIRST!r}, {BETTER!r}))
result = Result(document, (first,), "a-model", "1d96", "fim", "psm", 38, 0, 0, None, 0.2, 2.1)
view = View(get_ipython(), document, title="a-model")
view.offer(result, lambda: stopped.append(True))
while not stopped and not pathlib.Path({GO_ON!r}).exists():
    time.sleep(0.05)
done = view.settle(dataclasses.replace(result, candidates=(better, first)))
view.finish(done, record=record(done), on_decision=lambda *what: decided.append(what), ask=lambda *_: done)
"""
AFTER = "done.candidates[view._record['decision']['candidate'] - 1].middle"


@in_lab
def test_the_first_answer_is_accepted_while_the_cell_runs(notebook):
    page = notebook(LOADED, CELL, AFTER)
    page.run_whole(0)
    page.run(1)
    expect(page.toolbar).to_be_visible()
    expect(page.status).to_have_text("More are on their way.")
    expect(page.prompt(1)).to_have_text("[*]:")
    page.toolbar.focus()
    press(page, "Tab")
    page.wait_cells(4)
    assert page.sources()[2] == PREFIX + FIRST + SUFFIX
    page.go_on()
    page.wait_run(1)
    expect(page.note).to_contain_text("new cell below")
    expect(page.diff.first).to_contain_text("total = rows = 1")
    page.run_whole(3)
    # By its own order or the page's, it is the first answer that was accepted.
    expect(page.cells.nth(3).locator(".jp-OutputArea")).to_contain_text(f"{FIRST!r}")


@in_lab
def test_a_better_answer_takes_its_place_visibly_where_nobody_has_touched_it(notebook):
    page = notebook(LOADED, CELL)
    page.run_whole(0)
    page.run(1)
    expect(page.diff.first).to_contain_text("total = rows = 1")
    page.go_on()
    page.wait_run(1)
    expect(page.status).to_have_text("A better answer came, and took the place of the first.")
    expect(page.diff.first).to_contain_text("rows = [[1]]")
    expect(page.candidate(2)).to_be_visible()
    expect(page.button("More")).to_be_visible()
    page.screenshot("further-answers")


@in_lab
def test_an_answer_of_which_a_part_was_taken_keeps_its_place(notebook):
    page = notebook(LOADED, CELL)
    page.run_whole(0)
    page.run(1)
    expect(page.toolbar).to_be_visible()
    page.toolbar.focus()
    press(page, "w")
    page.wait_cells(3)
    page.go_on()
    page.wait_run(1)
    expect(page.candidate(2)).to_be_visible()
    expect(page.status).not_to_contain_text("took the place")
    expect(page.diff.first).to_contain_text("total = rows = 1")
