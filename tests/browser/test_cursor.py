"""A fill at the cursor and ghost text, in a real browser: the labextension, and a kernel with a scripted model.

One page serves many tests, as a page takes seconds to open: each has cells of its own.
"""

from __future__ import annotations

import pytest
from asking import press
from at_cursor import cursor_at, expect, ghost, is_source, restart, shown, source, take, toast

ANSWERS = "engine.answers = {!r}"
LINE = "total = "
BODY = "def f(xs):\n    "
GAP = "a = 1\n\nb = 2"
WITHIN = "f(1, )  # of xs"
HELD = "import pathlib, time\nwhile not pathlib.Path('go-on').exists():\n    time.sleep(0.05)\n"

HOLDS = "engine.may_go_on.clear()"
GOES_ON = """
import time
from fim_magic.pipeline import busy
engine.may_go_on.set()
while busy():
    time.sleep(0.05)
print("busy:", busy(), len(engine.allowed))
"""

ELSEWHERE = """
from dataclasses import replace
from fim_magic.engines import Destination
here = engine.info
engine.info = replace(here, destination=Destination.HOST, device="gpu.example:8000")
"""

NOTHING_YET = """
import pathlib
class Later(tuple):
    def __getitem__(self, at):
        return super().__getitem__(at) if pathlib.Path("go-on").exists() else ""
engine.answers = Later(engine.answers)
"""


@pytest.fixture(scope="module")
def lab(opened):
    """A notebook in JupyterLab, with ghost text on its key."""
    return opened(
        "lab",
        LINE,
        "x = wrong(2)\ny = 3",
        LINE,
        LINE,
        HELD,
        LINE,
        ANSWERS.format(("sum(xs)",)),
        "%fim log",
        "text",
        HOLDS,
        GOES_ON,
        LINE,
        ELSEWHERE,
        "engine.info = here",
        NOTHING_YET,
    )


@pytest.fixture(scope="module")
def typing(opened):
    """A notebook in JupyterLab, with ghost text after each pause in typing."""
    return opened(
        "lab",
        LINE.rstrip(),
        GAP,
        WITHIN,
        ANSWERS.format(("a = 1\n    return a\n\nf(1)",)),
        BODY.rstrip(),
        HELD,
        "print('asked', len(engine.prompts))",
        ghost="auto",
    )


def hold(page, index):
    """Run the cell that computes until the page's `go_on`."""
    (page.server.notebooks / "go-on").unlink(missing_ok=True)
    page.run(index)
    expect(page.prompt(index)).to_have_text("[*]:")


# --- a fill ----------------------------------------------------------------------------------------


def test_the_key_fills_below_the_cell_which_neither_runs_nor_changes(lab):
    cursor_at(lab, 1, "Control+End", "F8")
    expect(shown(lab, 1)).to_contain_text("total = sum(xs)")
    expect(lab.toolbar).to_be_visible()
    assert source(lab, 1) == LINE
    assert lab.prompt(1).text_content() == "[ ]:"
    lab.screenshot("fill-at-the-cursor")
    count = lab.cells.count()
    lab.button("Accept").click()
    lab.wait_cells(count + 1)
    assert source(lab, 2) == "total = sum(xs)"
    lab.button("Undo").click()
    lab.wait_cells(count)
    lab.button("Replace").click()
    is_source(lab, 1, "total = sum(xs)")
    assert lab.saved().cells[1].metadata["fim_magic"]["model"] == "scripted"


def test_what_a_model_has_written_still_says_so_after_undo(lab):
    cursor_at(lab, 1, "Control+End", "F8")
    expect(shown(lab, 1)).to_contain_text("total = sum(xs)sum(xs)")
    lab.button("Replace").click()
    is_source(lab, 1, "total = sum(xs)sum(xs)")
    lab.button("Undo").click()
    is_source(lab, 1, "total = sum(xs)")
    assert lab.saved().cells[1].metadata["fim_magic"]["model"] == "scripted"
    lab.button("Reject").click()


def test_what_was_typed_since_is_not_replaced(lab):
    cell = lab.cells.nth(12)
    cursor_at(lab, 12, "Control+End", "F8")
    expect(shown(lab, 12)).to_contain_text("total = sum(xs)")
    cursor_at(lab, 12, "Control+End")
    lab.page.keyboard.type("1 + ")
    cell.get_by_role("button", name="Replace", exact=True).click()
    expect(cell.locator(".fim-status")).to_contain_text("has changed since")
    is_source(lab, 12, f"{LINE}1 + ")
    cell.get_by_role("button", name="Reject", exact=True).click()


def test_what_is_selected_is_replaced_and_shown_as_removed(lab):
    cursor_at(lab, 2, "Control+Home", "End", *["Shift+ArrowLeft"] * len("wrong(2)"), "F8")
    expect(shown(lab, 2)).to_contain_text("x = sum(xs)")
    assert lab.cells.nth(2).locator(".fim-removed del").text_content() == "wrong(2)"
    assert source(lab, 2) == "x = wrong(2)\ny = 3"
    lab.cells.nth(2).get_by_role("button", name="Replace", exact=True).click()
    is_source(lab, 2, "x = sum(xs)\ny = 3")


def test_it_is_in_the_menu_and_the_palette_and_has_settings(lab):
    cursor_at(lab, 3, "Control+End")
    lab.page.locator(".lm-MenuBar-itemLabel", has_text="Edit").click()
    lab.page.locator(".lm-Menu-itemLabel", has_text="fim-magic: Fill at the Cursor").click()
    expect(shown(lab, 3)).to_contain_text("total = sum(xs)")
    cursor_at(lab, 4, "Control+End", "Control+Shift+c")
    lab.page.locator(".lm-CommandPalette-input").fill("fim-magic: fill")
    lab.page.locator(".lm-CommandPalette-item", has_text="fim-magic: Fill at the Cursor").click()
    expect(shown(lab, 4)).to_contain_text("total = sum(xs)")
    settings = "() => fetch('/lab/api/settings/fim-magic:plugin').then((answer) => answer.json())"
    schema = lab.page.evaluate(settings)["schema"]
    assert schema["jupyter.lab.shortcuts"][0]["command"] == "fim-magic:fill"


def test_why_there_is_none_is_said_to_its_end(lab):
    lab.run_whole(13)
    cursor_at(lab, 12, "Control+End", "F8")
    expect(lab.page.get_by_role("dialog")).to_contain_text("%fim allow gpu.example:8000")
    lab.page.get_by_role("dialog").get_by_role("button").click()
    lab.run_whole(14)


def test_a_cell_of_text_has_none(lab):
    cursor_at(lab, 9, "Escape", "m", "Enter")
    lab.page.keyboard.type("the mean ")
    press(lab, "Alt+\\", "F8")
    lab.page.wait_for_timeout(500)
    expect(ghost(lab)).to_have_count(0)
    expect(lab.cells.nth(9).locator(".fim-view")).to_have_count(0)
    press(lab, "Escape", "y")


# --- ghost text ------------------------------------------------------------------------------------


def test_on_its_key_it_streams_stays_while_typed_and_is_taken_in_parts(lab):
    cursor_at(lab, 6, "Control+End", "Alt+\\")
    expect(ghost(lab)).to_have_text("sum(xs)")
    lab.page.keyboard.type("s")
    expect(ghost(lab)).to_have_text("um(xs)")
    press(lab, "Control+ArrowRight")
    expect(ghost(lab)).to_have_text("(xs)")
    assert source(lab, 6) == "total = sum"
    take(lab)
    is_source(lab, 6, "total = sum(xs)")
    saved = lab.saved()
    assert saved.cells[6].metadata["fim_magic"]["model"] == "scripted"
    lab.run_whole(8)
    expect(lab.cells.nth(8).locator(".jp-OutputArea")).to_contain_text("total = …")


def test_where_nothing_came_that_is_said_and_it_is_asked_again(lab):
    (lab.server.notebooks / "go-on").unlink(missing_ok=True)
    lab.run_whole(15)
    cursor_at(lab, 12, "Control+End", "Alt+\\")
    expect(lab.page.locator(".fim-magic-status")).to_have_text("The model has nothing to put here.")
    expect(ghost(lab)).to_have_count(0)
    lab.go_on()
    press(lab, "Alt+\\")
    expect(ghost(lab)).to_have_text("sum(xs)")
    press(lab, "Escape")
    lab.run_whole(7)


def test_both_come_while_the_kernel_computes(lab):
    hold(lab, 5)
    cursor_at(lab, 4, "Control+End", "Alt+\\")
    if lab.server.lab < (4, 4):  # without subshells
        expect(lab.page.locator(".fim-magic-status")).to_contain_text("The kernel is busy")
        lab.go_on()
        lab.wait_run(5)
        return
    expect(ghost(lab)).to_have_text("sum(xs)")
    press(lab, "Escape", "Enter", "F8")
    expect(shown(lab, 4)).to_contain_text("total = sum(xs)")
    expect(lab.prompt(5)).to_have_text("[*]:")
    lab.go_on()
    lab.wait_run(5)


def test_escape_and_the_stop_button_end_what_is_under_way(lab):
    lab.run_whole(10)  # it waits before its first token from now on
    cursor_at(lab, 4, "Control+End", "Alt+\\")
    lab.page.wait_for_timeout(500)
    press(lab, "Escape")
    lab.run_whole(11)
    expect(lab.cells.nth(11).locator(".jp-OutputArea")).to_contain_text("busy: False")
    expect(ghost(lab)).to_have_count(0)
    lab.run_whole(10)
    cursor_at(lab, 4, "Control+End", "F8")
    lab.page.wait_for_timeout(500)
    cursor_at(lab, 9, "Escape", "m", "i", "i")  # whatever cell is active
    press(lab, "y")
    lab.run_whole(11)
    expect(shown(lab, 4)).to_contain_text("total = ")
    expect(lab.cells.nth(4).locator(".fim-view")).to_contain_text("interrupted")


def test_the_key_pressed_twice_shows_the_answer_of_the_first(lab):
    lab.run_whole(10)
    cursor_at(lab, 4, "Control+End", "F8")
    lab.page.wait_for_timeout(500)
    press(lab, "F8")
    expect(toast(lab, "busy")).to_be_visible()
    lab.run_whole(11)
    expect(shown(lab, 4)).to_contain_text("total = sum(xs)")
    expect(lab.cells.nth(4).locator(".fim-view")).not_to_contain_text("stopped")


def test_only_the_page_that_asks_shows_it(lab):
    lab.saved()
    other = lab.another_tab()
    try:
        cursor_at(other, 4, "Control+End")
        cursor_at(lab, 4, "Control+End", "Alt+\\")
        expect(ghost(lab)).to_have_text("sum(xs)")
        expect(ghost(other)).to_have_count(0)
    finally:
        other.close()
    press(lab, "Escape")


def test_after_a_pause_it_comes_at_the_end_of_a_line_within_one_and_on_an_empty_one(typing):
    cursor_at(typing, 1, "Control+End")
    typing.page.keyboard.type(" ")
    expect(ghost(typing)).to_have_text("sum(xs)")
    take(typing)
    is_source(typing, 1, "total = sum(xs)")
    cursor_at(typing, 2, "Control+Home", "ArrowDown")
    typing.page.keyboard.type("c")
    press(typing, "Backspace")
    expect(ghost(typing)).to_have_text("sum(xs)")
    take(typing)
    is_source(typing, 2, "a = 1\nsum(xs)\nb = 2")
    cursor_at(typing, 3, "Control+Home", *["ArrowRight"] * len("f(1, "))
    typing.page.keyboard.type(" ")
    if typing.server.lab < (4, 2):
        typing.page.wait_for_timeout(500)
        expect(ghost(typing)).to_have_count(0)
        press(typing, "Escape")
        return
    expect(ghost(typing)).to_have_text("sum(xs)")
    typing.page.keyboard.type("q")  # it is none of it
    expect(ghost(typing)).to_have_text("sum(xs)")  # what belongs behind that
    assert source(typing, 3) == "f(1,  q)  # of xs"
    press(typing, "Escape")


def test_a_block_is_taken_line_by_line(typing):
    typing.run_whole(4)
    cursor_at(typing, 5, "Control+End", "Enter")
    expect(ghost(typing)).to_contain_text("a = 1")
    press(typing, "Control+ArrowDown")
    is_source(typing, 5, "def f(xs):\n    a = 1")
    expect(ghost(typing)).to_contain_text("return a")
    press(typing, "Control+ArrowDown")
    is_source(typing, 5, "def f(xs):\n    a = 1\n    return a")


def test_a_cell_that_runs_to_its_end_is_not_typing(typing):
    typing.run_whole(7)
    asked = typing.shown(7)
    hold(typing, 6)
    cursor_at(typing, 6, "Control+Home", "End")
    typing.go_on()
    typing.wait_run(6)
    typing.page.wait_for_timeout(600)
    press(typing, "Escape")
    typing.run_whole(7)
    expect(typing.cells.nth(7).locator(".jp-OutputArea")).to_have_text(asked)


@pytest.mark.parametrize("how", ["by the page", "by another"])
def test_a_kernel_that_begins_anew_ends_it_and_a_cell_brings_it_back(typing, how):
    press(typing, "Escape")
    if how == "by another":
        restart(typing.server)
    else:
        press(typing, "0", "0")
        typing.page.get_by_role("button", name="Confirm Kernel Restart").click()
    cursor_at(typing, 1, "Control+End")
    typing.page.keyboard.type(" + ")
    typing.page.wait_for_timeout(1000)
    expect(ghost(typing)).to_have_count(0)
    typing.run(0)
    cursor_at(typing, 1, "Control+End")
    for _ in range(20):  # the cell may still run
        typing.page.keyboard.type("1 + ")
        typing.page.wait_for_timeout(1000)
        if ghost(typing).count():
            break
    expect(ghost(typing)).to_have_text("sum(xs)")
    press(typing, "Escape")


def test_a_notebook_of_notebook_7_has_both(opened):
    page = opened("notebook", LINE, LINE)
    cursor_at(page, 1, "Control+End", "F8")
    expect(shown(page, 1)).to_contain_text("total = sum(xs)")
    # It has no status bar: a note says that it fills, and goes with that, not by itself some seconds later.
    expect(toast(page, "Filling in")).to_have_count(0, timeout=4000)
    cursor_at(page, 2, "Control+End", "Alt+\\")
    expect(ghost(page)).to_have_text("sum(xs)")
    take(page)
    is_source(page, 2, "total = sum(xs)")


def test_what_a_kernel_cannot_answer_yet_is_said_and_not_done_later(typing):
    """A page that is loaded anew has no channel, and gets none while the kernel computes."""
    typing.saved()
    hold(typing, 6)
    typing.load()
    expect(typing.page.locator(".jp-Toolbar-kernelName").first).to_contain_text("Python 3")
    cursor_at(typing, 1, "Control+End", "F8")
    expect(toast(typing, "The kernel is busy")).to_be_visible()
    press(typing, "F8", "Alt+\\")
    expect(typing.page.locator(".fim-magic-status")).to_contain_text("The kernel is busy")
    typing.go_on()
    typing._wait_for_kernel()
    typing.page.wait_for_timeout(1500)
    expect(typing.page.locator(".fim-view")).to_have_count(0)
    expect(ghost(typing)).to_have_count(0)


def test_nothing_went_wrong_on_the_pages(lab, typing):
    # JupyterLab 4.1 has one of its own, when the cursor moves after a key.
    own = "Calls to EditorView.update are not allowed" if lab.server.lab < (4, 2) else None
    assert [error for error in (*lab.errors, *typing.errors) if own is None or own not in error] == []
