"""A fill at the cursor and ghost text as a user has them: the real model, which is loaded once, in both front ends."""

from __future__ import annotations

import ast
import re

import pytest
from asking import press
from at_cursor import cursor_at, expect, ghost, restart, shown, source, tab, take
from conftest import Page
from test_magic import A_WHILE, LOAD, model  # noqa: F401 # a fixture

pytestmark = pytest.mark.real_model

AUTO = f"{LOAD}\n%config FimMagics.ghost = 'auto'"
MEAN = 'def mean(xs):\n    """Return the arithmetic mean of a list of numbers."""\n    \n    return total / len(xs)'
HOLE = ("Control+Home", "ArrowDown", "ArrowDown", "End")
CALL = "xs = [3, 1, 2]\nprint(mean([1, 2, 6]))"
BEFORE = 'def largest(xs):\n    """Return the largest of a list of numbers."""\n    return '
WRONG, AFTER = "wrong(2)", "\n\nprint(largest([3, 1, 2]))"
LINE = "def larger(a, b):\n    return"
WITHIN = "for x in:\n    print(x)"
EMPTY = "total = 0\nfor x in [3, 1, 2]:\n\nprint(total)"
BLOCK = 'def smallest(xs):\n    """Return the smallest of a list of numbers."""'
# Of what stands nowhere else: what is copied may come in one step, and be whole before it can be interrupted.
LONG = 'def months():\n    """Return the English names of the twelve months in a list of texts."""\n    return '
EXTENSION = "%load_ext fim_magic"

# The model waits after its second token while it may not go on: what is done meanwhile needs no clock.
GATE = """
%config FimMagics.ghost = 'key'
import threading, time
from fim_magic.kernel import magics_of
from fim_magic.pipeline import busy
from fim_magic.loading.manager import MODELS

steps, may_go_on = [], threading.Event()
may_go_on.set()
generate = MODELS.loaded.engine.generate


def held(*prompt, **options):
    generation = generate(*prompt, **options)
    step = generation.step

    def next_step():
        if len(steps) == 2:
            may_go_on.wait()
        steps.append(1)
        return step()

    generation.step = next_step
    return generation


def stops():
    channels = magics_of(get_ipython())._page._channels.values()
    return [stop for channel in channels for stop in channel._under_way.values()]


MODELS.loaded.engine.generate = held
"""
HOLD = "steps.clear()\nmay_go_on.clear()"
GO_ON = """
while busy() and not any(stop.is_set() for stop in stops()):
    time.sleep(0.05)
before = len(steps)
may_go_on.set()
while busy():
    time.sleep(0.05)
print(f"it was told to stop, and took {len(steps) - before} steps more")
"""
IS_HELD = """
while len(steps) < 2:
    time.sleep(0.05)
print("it is held")
"""


CELLS = (MEAN, CALL, BEFORE + WRONG + AFTER, LINE, WITHIN, EMPTY, BLOCK, GATE, HOLD, IS_HELD, GO_ON, LONG, EXTENSION)


def at(source):
    """The cell's place, once the first fill has put one more below its own."""
    return 2 + CELLS.index(source)


@pytest.fixture(scope="module")
def lab(opened, server, model):  # noqa: F811 # a fixture
    """A notebook in JupyterLab, with two more for the same kernel in its folder."""
    server.write("second.ipynb", MEAN)
    server.write("seven.ipynb", MEAN, CALL, LINE)
    page = opened("lab", *CELLS, setup=AUTO)
    expect(page.cells.nth(0).locator(".jp-OutputArea")).to_contain_text("is loaded on", timeout=A_WHILE)
    server.share_kernel("second.ipynb", "seven.ipynb")
    return page


@pytest.fixture
def seven(lab, server, chromium):
    """A notebook in Notebook 7, on a page of its own, with the kernel of the one in JupyterLab."""
    page = Page(server, chromium, "notebook", "seven.ipynb")
    page.errors = []
    page.page.on("pageerror", lambda error: page.errors.append(str(error)))
    yield page
    page.close()


def ends(page):
    """Wait until ghost text is there, and all of it."""
    expect(ghost(page)).not_to_have_count(0, timeout=A_WHILE)
    expect(page.page.locator(".jp-GhostText-streamingIndicator")).to_have_count(0, timeout=A_WHILE)


def taken(page, index):
    """Take all of the ghost text of a cell, and return what the cell has then."""
    ends(page)
    before = source(page, index)
    take(page)
    expect(ghost(page)).to_have_count(0)
    assert source(page, index) != before
    return source(page, index)


def prints(page, index, text):
    page.run_whole(index)
    expect(page.cells.nth(index).locator(".jp-OutputArea-output").last).to_have_text(text)


def held(page):
    """Have ghost text come, and the model wait on its way."""
    page.run_whole(at(HOLD))
    cursor_at(page, at(LONG), "Control+End", "Alt+\\")
    expect(ghost(page)).not_to_have_count(0, timeout=A_WHILE)


def goes_on(page):
    """Let the model go on once it is told to stop: of one more token it knows no better."""
    page.run_whole(at(GO_ON))
    told = page.cells.nth(at(GO_ON)).locator(".jp-OutputArea")
    expect(told).to_contain_text("it was told to stop", timeout=A_WHILE)
    expect(told).to_contain_text(re.compile("took [01] steps more"))


def test_the_key_fills_a_hole_and_the_answer_is_right(lab):
    cursor_at(lab, 1, *HOLE, "F8")
    expect(lab.button("Accept")).to_be_visible(timeout=A_WHILE)
    expect(shown(lab, 1)).to_contain_text("return total / len(xs)")
    lab.button("Accept").click()
    lab.wait_cells(2 + len(CELLS))
    lab.run_whole(2)
    prints(lab, at(CALL), "3.0\n")


def test_what_is_selected_is_replaced_by_what_belongs_there(lab):
    index = at(BEFORE + WRONG + AFTER)
    selected = ["ArrowDown", "ArrowDown", "End", *["Shift+ArrowLeft"] * len(WRONG)]
    cursor_at(lab, index, "Control+Home", *selected, "F8")
    lab.cells.nth(index).get_by_role("button", name="Replace", exact=True).click(timeout=A_WHILE)
    expect(lab.cells.nth(index).locator(".fim-note")).to_contain_text("replaced")
    prints(lab, index, "3\n")


def test_ghost_text_at_the_end_of_a_line_stays_while_it_is_typed(lab):
    index = at(LINE)
    cursor_at(lab, index, "Control+End")
    lab.page.keyboard.type(" ")
    ends(lab)
    text = ghost(lab).text_content()
    lab.page.keyboard.type(text[0])
    expect(ghost(lab)).to_have_text(text[1:])
    assert taken(lab, index) == f"{LINE} {text}"
    assert {"a", "b"} <= set(text)


def test_ghost_text_within_a_line_ends_there(lab):
    index = at(WITHIN)
    cursor_at(lab, index, "Control+Home", *["ArrowRight"] * len("for x in"))
    lab.page.keyboard.type(" ")
    first, rest = taken(lab, index).split("\n", 1)
    assert rest == "    print(x)"
    assert first.startswith("for x in ")
    assert first.endswith(":")


def test_ghost_text_on_an_empty_line(lab):
    index = at(EMPTY)
    cursor_at(lab, index, "Control+Home", "ArrowDown", "ArrowDown", "Alt+\\")
    taken(lab, index)
    prints(lab, index, "6\n")


def test_ghost_text_in_an_indented_block(lab):
    index = at(BLOCK)
    cursor_at(lab, index, "Control+End", "Enter")
    text = taken(lab, index)
    assert text.startswith(f"{BLOCK}\n    ")
    ast.parse(text)


def test_another_key_stops_the_model_at_its_next_token(lab):
    lab.run_whole(at(GATE))
    held(lab)
    lab.page.keyboard.type("?")
    expect(ghost(lab)).to_have_count(0)
    goes_on(lab)
    cursor_at(lab, at(LONG), "Control+End", "Backspace")


def test_an_interrupt_stops_a_fill_which_shows_how_far_it_has_come(lab):
    lab.run_whole(at(HOLD))
    cursor_at(lab, at(LONG), "Control+End", "F8")
    lab.run_whole(at(IS_HELD))
    expect(lab.cells.nth(at(IS_HELD)).locator(".jp-OutputArea")).to_contain_text("it is held", timeout=A_WHILE)
    press(lab, "Escape")
    with lab.page.expect_response(lambda response: "/interrupt" in response.url):
        press(lab, "i", "i")
    goes_on(lab)
    expect(lab.cells.nth(at(LONG)).locator(".fim-view")).to_contain_text("partial: interrupted")


def test_another_notebook_on_this_kernel_takes_what_it_has_asked_for(lab):
    other = tab(lab, "second.ipynb")
    other.locator(".jp-Cell .cm-content").click()
    press(lab, *HOLE, "F8")
    other.get_by_role("button", name="Accept", exact=True).click(timeout=A_WHILE)
    expect(other.locator(".jp-Notebook .jp-Cell")).to_have_count(2)
    accepted = lab.saved_as("second.ipynb").cells[1].source
    assert accepted.endswith("return total / len(xs)")
    ast.parse(accepted)
    expect(tab(lab, lab.name).locator(".jp-Notebook .jp-Cell")).to_have_count(2 + len(CELLS))


def test_in_notebook_7_a_hole_is_filled_and_ghost_text_taken(seven):
    cursor_at(seven, 0, *HOLE, "F8")
    seven.button("Accept").click(timeout=A_WHILE)
    seven.wait_cells(4)
    seven.run_whole(1)
    prints(seven, 2, "3.0\n")
    cursor_at(seven, 3, "Control+End", "Alt+\\")
    ast.parse(taken(seven, 3))
    accepted, ghostly = (seven.saved().cells[index].metadata["fim_magic"]["model"] for index in (1, 3))
    assert accepted == ghostly
    assert seven.errors == []


def test_after_a_restart_while_it_streams_nothing_is_loaded_because_somebody_asks(lab):
    held(lab)
    restart(lab.server)
    press(lab, "Escape")
    lab.run_whole(at(EXTENSION))
    cursor_at(lab, at(LONG), "Control+End", "Alt+\\")
    expect(lab.page.get_by_text("Ghost text begins when a model is loaded").first).to_be_visible()
    expect(ghost(lab)).to_have_count(0)


def test_nothing_went_wrong_on_the_page(lab):
    assert lab.errors == []
