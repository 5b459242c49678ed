"""Ghost text and a fill at the cursor beside what else is on a page: other notebooks, text files, another provider."""

from __future__ import annotations

import pytest
from asking import press
from at_cursor import cursor_at, expect, ghost, is_source, shown, source, tab, take
from test_accessibility import findings

LINE = "total = "
SEVERAL = "engine.answers = ('sum(xs)', 'max(xs)', 'min(xs)')"
COUNTED = """
import os, pathlib
os.environ["FIM_MAGIC_CACHE"] = str(pathlib.Path("counted").resolve())
%config FimMagics.stats = True
"""
COUNTS = """
from fim_magic.outcomes import TALLY
print(*(f"{name}={count}" for counts in TALLY.read().values() for name, count in sorted(counts.items()) if count))
"""
OURS = {"include": [[".fim-view"], [".fim-toolbar"], [".fim-magic-status"], [".jp-GhostText"]]}


@pytest.fixture(scope="module")
def lab(opened, server):
    """A notebook in JupyterLab, with another one for the same kernel, and a file of text, in its folder."""
    server.write("other.ipynb", LINE, LINE)
    server.write("tour.ipynb", "%fim tour", "%fim tour next", "%fim tour end")
    (server.notebooks / "notes.py").write_text("xs = [1]\n")
    page = opened("lab", LINE, SEVERAL, LINE, COUNTED, LINE, LINE, COUNTS)
    server.share_kernel("other.ipynb", "tour.ipynb")
    return page


@pytest.fixture(scope="module")
def history(opened, server):
    """A notebook in JupyterLab, whose settings say that history and ghost text come after each pause in typing."""
    server.set_inline_providers(history={"enabled": True}, fim_magic={"enabled": True, "automatic": True})
    yield opened(
        "lab", "total = len('of old')", LINE.rstrip(), LINE.rstrip(), "%config FimMagics.ghost = 'off'", LINE.rstrip()
    )
    server.set_inline_providers()


def invoke(page):
    """Ask for ghost text on its key."""
    if page.server.lab < (4, 2):  # it drops what is asked for at once after another key
        page.page.wait_for_timeout(500)
    press(page, "Alt+\\")


def shown_in_turn(page, count):
    """The ghost texts that come one after the other."""
    seen = []
    for _ in range(count):
        seen.append(ghost(page).text_content())
        press(page, "Alt+]")
        page.page.wait_for_timeout(100)
    return seen


def test_the_next_and_the_previous_answer(lab):
    lab.run_whole(2)
    cursor_at(lab, 1, "Control+End")
    invoke(lab)
    expect(lab.page.locator(".jp-InlineCompleter")).to_contain_text("1/3")
    assert shown_in_turn(lab, 4) == ["sum(xs)", "max(xs)", "min(xs)", "sum(xs)"]
    press(lab, "Alt+[", "Alt+[")
    expect(ghost(lab)).to_have_text("min(xs)")
    take(lab)
    is_source(lab, 1, "total = min(xs)")
    assert lab.saved().cells[1].metadata["fim_magic"]["candidate"] == 3


def test_what_is_seen_and_not_taken_counts_as_rejected(lab):
    lab.run_whole(4)
    cursor_at(lab, 5, "Control+End")
    invoke(lab)
    expect(ghost(lab)).to_have_text("sum(xs)")
    press(lab, "Escape")
    expect(ghost(lab)).to_have_count(0)
    press(lab, "Enter", "Control+End")
    invoke(lab)
    expect(ghost(lab)).to_have_text("sum(xs)")
    lab.page.keyboard.type("1")  # it is none of it
    lab.page.wait_for_timeout(100)
    cursor_at(lab, 6, "Control+End")
    invoke(lab)
    expect(ghost(lab)).to_have_text("sum(xs)")
    lab.page.keyboard.type("sum(xs)")  # all of it
    press(lab, "Control+End", "Enter")
    lab.page.keyboard.type(LINE)  # on an empty line JupyterLab 4.1 has no key for it
    invoke(lab)
    expect(ghost(lab)).to_have_text("sum(xs)")
    take(lab)
    lab.run_whole(7)
    expect(lab.cells.nth(7).locator(".jp-OutputArea")).to_contain_text("accepted=1 offered=4 rejected=2")


def test_nothing_serious_is_found_by_axe(lab):
    cursor_at(lab, 3, "Control+End", "F8")
    expect(shown(lab, 3)).to_contain_text("total = sum(xs)")
    cursor_at(lab, 3, "Control+End")
    invoke(lab)
    expect(ghost(lab)).to_have_text("sum(xs)")
    assert findings(lab, OURS) == []
    press(lab, "Escape")


def test_of_two_notebooks_on_one_kernel_the_one_that_asks_shows_it(lab):
    fills = lab.page.locator(".fim-view").count()
    other = tab(lab, "other.ipynb")
    other.locator(".jp-Cell .cm-content").nth(0).click()
    press(lab, "Control+End")
    invoke(lab)
    expect(other.locator(ghost(lab))).to_have_text("sum(xs)")
    expect(ghost(lab)).to_have_count(1)
    press(lab, "Escape")
    other.locator(".jp-Cell .cm-content").nth(1).click()
    press(lab, "Control+End", "F8")
    expect(other.locator(".fim-view .fim-diff").first).to_contain_text("total = sum(xs)")
    expect(lab.page.locator(".fim-view")).to_have_count(fills + 1)


def test_the_other_notebook_takes_what_it_has_asked_for(lab):
    """Its buttons belong to the notebook that was opened first, as all widgets of a kernel do."""
    other = tab(lab, "other.ipynb")
    cells = other.locator(".jp-Notebook .jp-Cell")
    count = lab.cells.count() - cells.count()

    def click(name):
        other.get_by_role("button", name=name, exact=True).click()

    for name in ("Accept", "Word"):
        click(name)
        expect(cells).to_have_count(3)
        click("Undo")
        expect(cells).to_have_count(2)
    click("Replace")
    expect(other.locator(".fim-note")).to_contain_text("it replaced the text of this cell")
    cells.nth(0).locator(".cm-content").click()
    press(lab, "Control+Home")
    lab.page.keyboard.type("%%fim\n")
    press(lab, "Control+End")
    lab.page.keyboard.type("<cursor>")
    press(lab, "Control+Enter")
    click("Accept")
    expect(cells).to_have_count(3)
    expect(other.locator(".fim-note", has_text="it is in the new cell below")).to_be_visible()
    saved = lab.saved_as("other.ipynb").cells
    assert [cell.source for cell in saved] == ["%%fim\ntotal = <cursor>", "total = sum(xs)", "total = sum(xs)"]
    assert [cell.metadata["fim_magic"]["model"] for cell in saved[1:]] == ["scripted", "scripted"]
    expect(tab(lab, lab.name).locator(".jp-Notebook .jp-Cell")).to_have_count(count)


def test_a_tour_in_another_notebook_puts_its_cells_there_and_takes_them_away(lab):
    counts = [lab.cells.count(), len(lab.saved().cells)]
    touring = tab(lab, "tour.ipynb")
    cells = touring.locator(".jp-Notebook .jp-Cell")

    def run(index):
        cells.nth(index).locator(".cm-content").click()
        press(lab, "Control+Enter")

    run(0)
    expect(cells).to_have_count(4)
    expect(cells.nth(1)).to_contain_text("%fim")
    run(1)  # the tour's own
    expect(cells).to_have_count(5)
    expect(cells.nth(2)).to_contain_text("def mean_word_length(text):")
    run(3)
    expect(cells).to_have_count(6)
    run(5)
    expect(cells).to_have_count(3)
    expect(cells.nth(2).locator(".jp-OutputArea")).to_contain_text("The tour has ended.")
    expect(cells.nth(2).locator(".jp-OutputArea")).not_to_contain_text("stay")
    tab(lab, lab.name)
    assert [lab.cells.count() - 3, len(lab.saved().cells)] == counts


def test_a_file_of_text_has_none(lab):
    fills = lab.page.locator(".fim-view").count()
    tab(lab, "notes.py").locator(".cm-content").click()
    press(lab, "Control+End")
    lab.page.keyboard.type(LINE)
    press(lab, "Alt+\\", "F8")
    lab.page.wait_for_timeout(500)
    expect(ghost(lab)).to_have_count(0)
    expect(lab.page.locator(".fim-view")).to_have_count(fills)


def test_beside_the_history_of_cells_each_is_shown_and_taken(history):
    history.run_whole(1)
    cursor_at(history, 2, "Control+End")
    history.page.keyboard.type(" ")
    if history.server.lab < (4, 2):  # after a pause it shows the first that answers, and all of them on the key
        expect(ghost(history)).not_to_have_count(0)
        invoke(history)
    expect(history.page.locator(".jp-InlineCompleter")).to_contain_text("1/2")
    both = shown_in_turn(history, 3)
    assert both[0] == both[2]
    assert {text.strip() for text in both} == {"sum(xs)", "len('of old')"}
    while "of old" not in ghost(history).text_content():
        press(history, "Alt+]")
        history.page.wait_for_timeout(100)
    press(history, "Control+ArrowRight")  # of ours, which is not what is shown
    history.page.wait_for_timeout(200)
    assert "sum" not in source(history, 2)
    take(history)
    end = "\n" if history.server.lab < (4, 2) else ""  # its history has a line end
    is_source(history, 2, f"total = len('of old'){end}")
    history.run_whole(4)
    cursor_at(history, 5, "Control+End")
    history.page.keyboard.type(" ")
    expect(history.page.locator(".jp-InlineCompleter")).to_contain_text("1/1")
    expect(ghost(history)).to_contain_text("of old")
    assert "fim_magic" not in history.saved().cells[2].metadata


def test_nothing_went_wrong_on_the_pages(lab, history):
    assert [*lab.errors, *history.errors] == []
