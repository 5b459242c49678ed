"""The diff and its buttons in nbclassic, the notebook as it was before version 7."""

from __future__ import annotations

import pytest
from asking import HAS_PAGE, MIDDLE, PREFIX, SUFFIX, WHOLE, ask, press, run_until_true, with_toolbar
from conftest import TOKEN, Page
from scripted import IN_A_KERNEL

from fim_magic.tour import steps

pytest.importorskip("nbclassic")
expect = pytest.importorskip("playwright.sync_api").expect

# With it, the page is heard of.
LOAD = "%load_ext fim_magic"
OTHER = "total = rows = 1"
LINES = MIDDLE.split("\n")


class ClassicPage(Page):
    """One notebook, open in nbclassic."""

    def __init__(self, server, browser, name):
        super().__init__(server, browser, "classic", name)

    def open(self):
        self.page.goto(f"{self.server.url}/nbclassic/notebooks/{self.name}?token={TOKEN}")
        # Widgets need a moment more than the kernel: an opening comm without its target is turned away for good.
        self.page.wait_for_function(
            "() => { const kernel = window.Jupyter?.notebook?.kernel;"
            " return kernel?.is_connected() && 'jupyter.widget' in kernel.comm_manager.targets; }",
            timeout=60_000,
        )
        self._wait_for_kernel()

    @property
    def cells(self):
        return self.page.locator("#notebook-container .cell")

    def button(self, name):
        return self.page.get_by_role("button", name=name, exact=True).and_(self.page.locator(".output_wrapper button"))

    def saved(self):
        """Save the notebook, and read the file back."""
        self.page.evaluate("() => Jupyter.notebook.save_notebook()")
        return self.server.read(self.name)

    def focus_editor(self, index):
        self.cells.nth(index).locator(".CodeMirror-code").click()

    def run(self, index=0):
        """Start a cell, which returns before it is done."""
        self.focus_editor(index)
        self.page.keyboard.press("Control+Enter")

    def shown(self, index=0):
        return self.cells.nth(index).locator(".output").inner_text().strip()

    def prompt(self, index=0):
        return self.cells.nth(index).locator(".input_prompt")

    def wait_run(self, index=0):
        self.page.wait_for_function(
            "index => typeof Jupyter.notebook.get_cell(index).input_prompt_number === 'number'",
            arg=index,
            timeout=60_000,
        )

    def active(self):
        return self.page.evaluate("() => Jupyter.notebook.get_selected_index()")

    def has_focus(self, index):
        return self.page.evaluate(
            "index => Jupyter.notebook.get_cell(index).element[0].contains(document.activeElement)", index
        )

    def wait_cells(self, count):
        self.page.wait_for_function("count => Jupyter.notebook.ncells() === count", arg=count)


@pytest.fixture
def classic(request, server, chromium):
    """Open a notebook with the given cells: `page = classic(source, ...)`."""
    opened = []

    def open_with(*sources):
        name = f"{request.node.name}-classic.ipynb"
        server.write(name, *sources)
        opened.append(ClassicPage(server, chromium, name))
        return opened[-1]

    yield open_with
    for page in opened:
        page.close()
    server.shut_kernels_down()


def asked(classic, *sources, **options):
    """A notebook whose second cell has asked, with the toolbar in focus."""
    page = classic(LOAD, ask(**options), *sources)
    page.run_whole(0)
    return with_toolbar(page, 1)


def test_growing_then_buttons(classic):
    page = classic(LOAD, ask(held=True))
    page.run_whole(0)
    page.run(1)
    expect(page.diff).to_contain_text("with open(path)")
    expect(page.page.locator(".fim-caret")).to_have_count(1)
    assert page.button("Accept").count() == 0
    page.screenshot("growing")
    page.go_on()
    expect(page.toolbar).to_be_visible()
    expect(page.diff).to_contain_text("one number per row")
    expect(page.page.locator(".fim-caret")).to_have_count(0)
    for name in ("Accept", "Line", "Word", "Replace", "Copy", "Reject"):
        expect(page.button(name)).to_be_visible()
    expect(page.page.locator(".fim-caption")).to_have_text("qwen2.5-coder-0.5b · 2.1 s")
    expect(page.page.locator(".fim-about")).to_contain_text("41 tokens in 2.1 s")
    page.screenshot("buttons")


def test_accept_inserts_once_below_the_owner(classic):
    page = asked(classic, "other = 1", "third = 2")
    page.focus_editor(3)
    page.button("Accept").evaluate("button => { button.click(); button.click(); }")
    page.wait_cells(5)
    expect(page.note).to_contain_text("new cell below")
    assert (page.active(), page.has_focus(2)) == (2, True)
    assert page.button("Accept").count() == 0
    page.screenshot("accepted")
    assert page.sources() == [LOAD, ask(), WHOLE, "other = 1", "third = 2"]


def test_tab_accepts_and_undo_takes_it_back(classic):
    page = asked(classic, "other = 1")
    press(page, "x", "d", "d")  # in command mode, these cut and delete cells
    press(page, "Tab")
    page.wait_cells(4)
    expect(page.note).to_contain_text("new cell below")
    page.button("Undo").click()
    page.wait_cells(3)
    expect(page.toolbar).to_be_visible()
    assert page.sources() == [LOAD, ask(), "other = 1"]
    page.toolbar.focus()
    press(page, "Tab")
    page.wait_cells(4)
    page.focus_editor(2)
    press(page, "Control+End")
    page.page.keyboard.type("  # mine")
    page.button("Undo").click()
    expect(page.note).to_contain_text("edited since")
    assert page.sources() == [LOAD, ask(), f"{WHOLE}  # mine", "other = 1"]


def test_replace_then_undo_then_reject(classic):
    page = asked(classic, "decided")
    press(page, "r")
    expect(page.note).to_contain_text("replaced")
    assert page.sources() == [LOAD, WHOLE, "decided"]
    expect(page.diff).to_be_visible()
    page.button("Undo").click()
    expect(page.toolbar).to_be_visible()
    assert page.sources() == [LOAD, ask(), "decided"]
    page.toolbar.focus()
    press(page, "Escape")
    expect(page.note).to_contain_text("Rejected")
    page.run_whole(2)
    expect(page.cells.nth(2)).to_contain_text("[('replace', 0), ('undo', 0), ('reject', 0)]")
    assert page.sources() == [LOAD, ask(), "decided"]


def test_line_by_line_fills_one_new_cell(classic):
    page = asked(classic, "other = 1")
    press(page, "l")
    page.wait_cells(4)
    page.toolbar.focus()
    press(page, "l")
    expect(page.status).to_contain_text("in the new cell below")
    assert page.sources()[2:] == [PREFIX + "\n".join(LINES[:2]) + SUFFIX, "other = 1"]
    page.toolbar.focus()
    press(page, "z")
    page.wait_cells(3)
    expect(page.status).to_have_text("Taken back.")
    press(page, "w")
    page.wait_cells(4)
    assert page.sources()[2] == f"{PREFIX}with{SUFFIX}"
    page.toolbar.focus()
    press(page, "Tab")
    expect(page.note).to_contain_text("new cell below")
    assert page.sources()[2:] == [WHOLE, "other = 1"]


def test_candidates_copy_and_what_is_saved(classic, server):
    page = asked(classic, middles=(MIDDLE, OTHER, "pass"))
    press(page, "ArrowRight")
    expect(page.page.locator(".fim-caption").first).to_contain_text("2 of 3")
    expect(page.candidate(2)).to_have_attribute("aria-checked", "true")
    press(page, "c")
    expect(page.status).to_have_text("Copied.")
    assert page.page.evaluate("() => navigator.clipboard.readText()") == PREFIX + OTHER + SUFFIX
    page.candidate(3).click()
    expect(page.page.locator(".fim-caption").first).to_contain_text("3 of 3")
    press(page, "Tab")
    page.wait_cells(3)
    expect(page.note).to_be_visible()
    owner, new = page.saved().cells[1:]
    assert new.source == f"{PREFIX}pass{SUFFIX}"
    assert {mime for output in owner.outputs for mime in output.data} == {"text/html", "text/plain"}
    server.shut_kernels_down()
    page.open()
    expect(page.diff.first).to_contain_text("pass")
    expect(page.diff.first.locator(".fim-added")).to_have_count(1)
    expect(page.note).to_contain_text("new cell below")
    page.screenshot("reopened")


def test_after_a_reload(classic):
    page = asked(classic, "other = 1", middles=(MIDDLE, OTHER))
    page.saved()
    page.open()
    page.candidate(2).click()
    expect(page.page.locator(".fim-caption").first).to_contain_text("2 of 2")
    page.button("Accept").click()
    page.wait_cells(4)
    expect(page.note).to_contain_text("new cell below")
    page.button("Undo").click()
    page.wait_cells(3)
    page.button("Accept").click()
    page.wait_cells(4)
    expect(page.note).to_contain_text("new cell below")
    saved = page.saved()
    assert [cell.source for cell in saved.cells[2:]] == [PREFIX + OTHER + SUFFIX, "other = 1"]
    assert {mime for output in saved.cells[1].outputs for mime in output.data} == {"text/html", "text/plain"}


def test_asked_before_the_page_could_say_anything(classic):
    # As after "Run All": the second cell is at the kernel before the page has heard of the first one's bridge.
    page = classic(ask(held=True), "other = 1")
    page.run()
    expect(page.diff).to_contain_text("with open(path)")
    expect(page.page.locator(".fim-caret")).to_have_count(1)
    page.go_on()
    expect(page.toolbar).to_be_visible()
    page.button("Accept").click()
    page.wait_cells(3)
    assert page.sources()[1:] == [WHOLE, "other = 1"]


def test_asked_before_the_page_had_looked_for_the_kernels_widgets(classic):
    # What nbclassic does when it opens a notebook: it asks the kernel for its widgets and, when the kernel comes to
    # answer, draws the outputs again, without the widgets that a cell has shown meanwhile. Here it begins while the
    # cell runs, as when someone is quick to run it.
    page = classic(ask(held=True), "other = 1")
    page.run()
    page.page.evaluate(
        "() => void Jupyter.notebook.kernel.widget_manager._loadFromKernel().then(() =>"
        " Jupyter.notebook.get_cells().filter(cell => cell.output_area)"
        ".forEach(cell => Jupyter.notebook.render_cell_output(cell)))"
    )
    page.go_on()
    expect(page.toolbar).to_be_visible(timeout=10_000)
    page.page.wait_for_timeout(4_000)  # longer than what an earlier kernel has left is kept
    page.button("Accept").click()
    page.wait_cells(3)
    assert page.sources()[1:] == [WHOLE, "other = 1"]
    expect(page.note).to_contain_text("new cell below")


def test_a_tour_makes_its_cells_and_takes_them_away(classic):
    page = classic(IN_A_KERNEL, "%fim tour", "%fim tour end", HAS_PAGE)
    page.run_whole(0)
    run_until_true(page, 3)
    page.run_whole(1)
    page.wait_cells(5)
    page.run_whole(2)
    page.wait_cells(6)
    assert [cell.source for cell in page.saved().cells][2:4] == [steps.STATUS.code, steps.HOLE.code]
    page.run(4)
    page.wait_cells(4)
    assert page.shown(1) == ""
