"""The toolbar below a diff: each button and each key, in JupyterLab and Notebook 7."""

from __future__ import annotations

import pytest
from asking import MIDDLE, PREFIX, SUFFIX, WAIT, WHOLE, ask, in_lab, press, with_toolbar

expect = pytest.importorskip("playwright.sync_api").expect

OTHER = "total = rows = 1"
LINES = MIDDLE.split("\n")


def asked(notebook, *sources, **options):
    """A notebook whose first cell has asked, with the toolbar in focus."""
    page = with_toolbar(notebook(ask(**options), *sources))
    expect(page.button("Accept")).to_be_visible()
    return page


def test_tab_accepts(notebook):
    page = asked(notebook, "other = 1")
    page.screenshot("toolbar", page.toolbar)
    press(page, "Tab")
    page.wait_cells(3)
    expect(page.note).to_contain_text("new cell below")
    assert page.sources() == [ask(), WHOLE, "other = 1"]


@in_lab
def test_escape_rejects(notebook):
    page = asked(notebook, "decided")
    press(page, "Escape")
    expect(page.note).to_contain_text("Rejected")
    page.run_whole(1)
    expect(page.cells.nth(1).locator(".jp-OutputArea")).to_contain_text("[('reject', 0)]")
    assert page.sources() == [ask(), "decided"]


def test_r_replaces_and_undo_brings_the_old_text_back(notebook):
    page = asked(notebook)
    press(page, "r")
    expect(page.note).to_contain_text("replaced")
    assert page.sources() == [WHOLE]
    page.button("Undo").click()
    expect(page.button("Accept")).to_be_visible()
    assert page.sources() == [ask()]


@in_lab
def test_c_copies(notebook):
    page = asked(notebook)
    press(page, "c")
    expect(page.status).to_have_text("Copied.")
    assert page.page.evaluate("() => navigator.clipboard.readText()") == WHOLE
    expect(page.button("Accept")).to_be_enabled()


@in_lab
def test_undo_takes_the_new_cell_back_and_asks_again(notebook):
    page = asked(notebook, "other = 1")
    press(page, "Tab")
    page.wait_cells(3)
    expect(page.button("Undo")).to_be_visible()
    page.screenshot("undo")
    page.button("Undo").click()
    page.wait_cells(2)
    expect(page.button("Accept")).to_be_visible()
    page.button("Accept").click()
    page.wait_cells(3)
    expect(page.note).to_contain_text("new cell below")
    saved = page.saved()
    assert [cell.source for cell in saved.cells] == [ask(), WHOLE, "other = 1"]
    assert {mime for output in saved.cells[0].outputs for mime in output.data} == {"text/html", "text/plain"}


@in_lab
def test_undo_leaves_a_cell_that_was_edited(notebook):
    page = asked(notebook, "other = 1")
    press(page, "Tab")
    page.wait_cells(3)
    page.cells.nth(1).locator(".cm-content").click()
    page.page.keyboard.press("Control+End")
    page.page.keyboard.type("  # mine")
    page.button("Undo").click()
    expect(page.note).to_contain_text("edited since")
    assert page.sources() == [ask(), f"{WHOLE}  # mine", "other = 1"]


@in_lab
def test_undo_of_a_cell_that_is_gone_says_so(notebook):
    page = asked(notebook, "other = 1")
    press(page, "Tab")
    page.wait_cells(3)
    page.cells.nth(1).locator(".jp-InputPrompt").click()
    press(page, "Escape", "d", "d")
    page.wait_cells(2)
    page.button("Undo").click()
    expect(page.note).to_contain_text("not there any more")
    assert page.sources() == [ask(), "other = 1"]


def test_line_by_line_fills_one_new_cell(notebook):
    page = asked(notebook, "other = 1")
    press(page, "l")
    page.wait_cells(3)
    assert page.sources()[1:] == [PREFIX + LINES[0] + SUFFIX, "other = 1"]
    page.toolbar.focus()
    press(page, "l")
    expect(page.status).to_contain_text("in the new cell below")
    assert page.sources()[1:] == [PREFIX + "\n".join(LINES[:2]) + SUFFIX, "other = 1"]
    page.toolbar.focus()
    press(page, "l")
    expect(page.note).to_contain_text("new cell below")
    assert page.sources()[1:] == [WHOLE, "other = 1"]


@in_lab
def test_word_by_word_and_back(notebook):
    page = asked(notebook, "[what for what, _ in decided]")
    press(page, "w", "w", "w")
    page.wait_cells(3)
    page.screenshot("word")
    assert page.sources()[1] == f"{PREFIX}with open({SUFFIX}"
    page.button("Undo").click()
    page.wait_cells(2)
    press(page, "w")
    page.wait_cells(3)
    assert page.sources()[1] == f"{PREFIX}with{SUFFIX}"
    page.toolbar.focus()
    press(page, "Escape")
    expect(page.note).to_contain_text("stays in the new cell")
    page.run_whole(2)
    heard = ["part", "part", "part", "undo", "part", "reject"]
    expect(page.cells.nth(2).locator(".jp-OutputArea")).to_contain_text(f"{heard}")


@in_lab
def test_a_part_is_not_added_to_what_the_user_has_edited(notebook):
    page = asked(notebook)
    press(page, "l")
    page.wait_cells(2)
    page.cells.nth(1).locator(".cm-content").click()
    page.page.keyboard.press("Control+End")
    page.page.keyboard.type("  # mine")
    page.button("Line").click()
    expect(page.status).to_contain_text("not as it was left")
    page.button("Accept").click()
    expect(page.status).to_contain_text("not as it was left")
    assert page.sources()[1] == f"{PREFIX}{LINES[0]}{SUFFIX}  # mine"
    assert page.cells.count() == 2


@in_lab
def test_whole_lines_are_taken_as_such(notebook):
    page = asked(notebook, middles=("    a = 1\n    b = 2\n",), prefix="def f():\n", suffix="    return a + b")
    press(page, "l")
    page.wait_cells(2)
    assert page.sources()[1] == "def f():\n    a = 1\n    return a + b"


IMPORT = "from collections import Counter"


def test_the_import_can_be_left_out(notebook):
    page = asked(notebook, middles=("Counter(xs)\nprint(c)",), prefix="c = ", suffix="", imports=(IMPORT,))
    expect(page.diff.first).to_contain_text(IMPORT)
    expect(page.button("Import")).to_have_attribute("aria-pressed", "true")
    page.screenshot("import")
    press(page, "i")
    expect(page.button("Import")).to_have_attribute("aria-pressed", "false")
    expect(page.diff.first).not_to_contain_text(IMPORT)
    page.screenshot("without-import")
    press(page, "l")
    page.wait_cells(2)
    assert page.sources()[1] == "c = Counter(xs)"
    page.button("Import").click()
    expect(page.diff.first).to_contain_text(IMPORT)
    assert page.sources()[1] == f"{IMPORT}\nc = Counter(xs)"
    page.toolbar.focus()
    press(page, "Tab")
    expect(page.note).to_contain_text("new cell below")
    assert page.sources()[1] == f"{IMPORT}\nc = Counter(xs)\nprint(c)"


@in_lab
def test_without_the_import_only_the_answer_is_taken(notebook):
    page = asked(notebook, middles=("Counter(xs)",), prefix="c = ", suffix="", imports=(IMPORT,))
    press(page, "i", "c")
    expect(page.status).to_have_text("Copied.")
    assert page.page.evaluate("() => navigator.clipboard.readText()") == "c = Counter(xs)"
    press(page, "i", "r")
    expect(page.note).to_contain_text("replaced")
    assert page.sources() == [f"{IMPORT}\nc = Counter(xs)"]


@in_lab
def test_an_answer_without_an_import_has_no_button_for_it(notebook):
    page = asked(notebook)
    expect(page.button("Import")).to_be_hidden()
    press(page, "i", "Tab")
    page.wait_cells(2)
    assert page.sources()[1] == WHOLE


@in_lab
def test_arrows_change_the_candidate(notebook):
    page = asked(notebook, middles=(MIDDLE, OTHER, "pass"))
    expect(page.candidate(1)).to_have_attribute("aria-checked", "true")
    press(page, "ArrowRight")
    expect(page.page.locator(".fim-caption")).to_contain_text("2 of 3")
    expect(page.candidate(2)).to_have_attribute("aria-checked", "true")
    press(page, "ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft")
    expect(page.page.locator(".fim-caption")).to_contain_text("2 of 3")
    press(page, "Tab")
    page.wait_cells(2)
    assert page.sources()[1] == PREFIX + OTHER + SUFFIX


def test_more_and_again(notebook):
    page = asked(notebook, more=True)
    press(page, "a")
    expect(page.page.locator(".fim-caret")).to_be_visible()
    assert page.button("Accept").is_disabled()
    expect(page.page.locator(".fim-caption")).to_contain_text("2 of 2")
    expect(page.candidate(2)).to_have_attribute("aria-checked", "true")
    page.screenshot("more")
    page.candidate(1).click()
    expect(page.diff.first).to_contain_text("with open(path)")
    press(page, "m")
    expect(page.diff.first).to_contain_text("total = rows")
    expect(page.page.locator(".fim-caption")).to_contain_text("3 of 3")
    expect(page.button("Accept")).to_be_enabled()
    press(page, "Tab")
    page.wait_cells(2)
    assert page.sources()[1] == f"{PREFIX}total = rows = [0]{SUFFIX}"


def test_accept_while_the_kernel_computes_something_else(notebook):
    page = asked(notebook, WAIT, "other = 1")
    page.run(1)
    expect(page.prompt(1)).to_have_text("[*]:")
    # The second click is one too many: it has been decided, whatever the kernel knows. A kernel with subshells may hear
    # of it while it computes, and then the button is gone.
    page.button("Accept").evaluate("button => { button.click(); button.click(); }")
    page.wait_cells(4)
    assert page.prompt(1).text_content().strip() in ("[ ]:", "")
    expect(page.prompt(2)).to_have_text("[*]:")
    page.go_on()
    page.wait_run(2)
    expect(page.note).to_contain_text("new cell below")
    assert page.sources() == [ask(), WHOLE, WAIT, "other = 1"]


@in_lab
def test_other_keys_stay_with_the_notebook_and_the_editor(notebook):
    page = asked(notebook, "other = 1")
    press(page, "Control+c", "x", "Shift+Tab")
    expect(page.button("Accept")).to_be_enabled()
    page.cells.nth(1).locator(".cm-content").click()
    page.page.keyboard.type("l")
    assert page.cells.count() == 2
    assert page.diff.is_visible()


@in_lab
def test_at_200_percent_everything_is_in_reach(notebook):
    page = notebook(ask(middles=(MIDDLE, OTHER), more=True))
    page.page.set_viewport_size({"width": 600, "height": 700})
    page.run_whole()
    expect(page.toolbar).to_be_visible()
    page.page.evaluate("() => { document.body.style.zoom = 2; }")
    for name in ("Accept", "Line", "Word", "Replace", "Copy", "Reject", "Again", "More"):
        page.button(name).scroll_into_view_if_needed()
        box = page.button(name).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] < 602  # half a pixel is rounding
    page.screenshot("zoomed")
    page.button("Accept").click()
    page.wait_cells(2)
