"""What happens to a notebook while an answer waits in it: cells move, kernels restart, pages and notebooks multiply."""

from __future__ import annotations

import contextlib
import urllib.error

import nbconvert
import pytest
from asking import MIDDLE, PREFIX, SUFFIX, WHOLE, ask, in_lab
from conftest import Page

expect = pytest.importorskip("playwright.sync_api").expect

OTHER = "total = rows = 1"
ERRORS = ("Error displaying widget", "Error creating widget", "Failed to load model", "Traceback")


def asked(notebook, *sources, owner=0, **options):
    """A notebook with a cell that has asked, at `owner` among the others."""
    page = notebook(*sources[:owner], ask(**options), *sources[owner:])
    page.run_whole(owner)
    expect(page.toolbar).to_be_visible()
    return page


def command(page, index, *keys):
    """Press keys in command mode, with one cell selected."""
    page.cells.nth(index).locator(".jp-InputPrompt").click()
    for key in keys:
        page.page.keyboard.press(key)


def scroll_to(page, text):
    page.page.mouse.move(600, 500)
    line = page.page.locator(".cm-line", has_text=text).last
    for _ in range(100):
        page.page.mouse.wheel(0, 500)
        page.page.wait_for_timeout(50)
        box = line.bounding_box() if line.count() else None
        if box is not None and box["y"] < 900:
            return
    pytest.fail("It does not come into sight.")


def mimes(cell):
    return {mime for output in cell.outputs for mime in output.data}


@in_lab
def test_a_moved_owner_gets_the_cell_where_it_is_now(notebook):
    page = asked(notebook, "first = 1", "second = 2", "third = 3", owner=1)
    command(page, 1, "Control+Shift+ArrowDown")
    page.button("Accept").click()
    page.wait_cells(5)
    expect(page.note).to_contain_text("new cell below")
    assert page.sources() == ["first = 1", "second = 2", ask(), WHOLE, "third = 3"]
    # The new cell is moved as well: Undo takes it from where it is.
    command(page, 3, "Control+Shift+ArrowUp", "Control+Shift+ArrowUp")
    page.button("Undo").click()
    page.wait_cells(4)
    expect(page.toolbar).to_be_visible()
    assert page.sources() == ["first = 1", "second = 2", ask(), "third = 3"]
    command(page, 2, "Control+Shift+ArrowUp", "Control+Shift+ArrowUp")
    page.toolbar.focus()
    page.page.keyboard.press("Tab")
    page.wait_cells(5)
    assert page.sources() == [ask(), WHOLE, "first = 1", "second = 2", "third = 3"]


@in_lab
def test_nothing_is_inserted_for_a_deleted_owner(notebook):
    page = asked(notebook, "other = 1", "third = 2")
    page.diff.click(button="right")
    page.page.get_by_role("menuitem", name="Create New View for Cell Output").click()
    expect(page.toolbar).to_have_count(2)
    command(page, 0, "d", "d")
    page.wait_cells(2)
    # What is left is the second view of its output.
    expect(page.toolbar).to_have_count(1)
    page.button("Accept").click()
    page.button("Line").click()
    expect(page.status).to_contain_text("not in this notebook any more")
    page.screenshot("owner-deleted")
    assert page.sources() == ["other = 1", "third = 2"]
    # Nor is it left behind for a cell that has nothing to do with it.
    page.run_whole(0)
    page.run_whole(1)
    assert page.sources() == ["other = 1", "third = 2"]
    page.button("Copy").click()
    expect(page.status).to_have_text("Copied.")


@in_lab
def test_asked_again_and_in_a_restarted_kernel(notebook):
    page = asked(notebook, "x = 6 * 7; x")
    page.run()
    expect(page.prompt()).to_have_text("[2]:")
    expect(page.toolbar).to_have_count(1)
    command(page, 1, "0", "0")
    page.page.get_by_role("dialog").locator(".jp-mod-accept").click()
    page.run_whole(1)  # the new kernel answers
    expect(page.cells.nth(1).locator(".jp-OutputArea")).to_contain_text("42")
    expect(page.diff).to_be_visible()
    page.button("Accept").evaluate("button => { button.click(); button.click(); }")
    page.wait_cells(3)
    expect(page.button("Accept")).to_be_disabled()
    page.button("Accept").evaluate("button => button.click()")
    page.screenshot("restarted")
    assert page.sources() == [ask(), WHOLE, "x = 6 * 7; x"]
    assert not any(error in page.page.inner_text(".jp-Notebook") for error in ERRORS)
    # Asking again brings new buttons in their place.
    page.run()
    expect(page.button("Accept")).to_be_enabled()
    expect(page.toolbar).to_have_count(1)
    page.toolbar.focus()
    page.page.keyboard.press("Escape")
    expect(page.note).to_contain_text("Rejected")
    saved = page.saved()
    assert [cell.source for cell in saved.cells] == [ask(), WHOLE, "x = 6 * 7; x"]
    assert mimes(saved.cells[0]) == {"text/html", "text/plain"}


@in_lab
def test_two_notebooks_on_one_kernel(notebook, server, chromium):
    page = notebook(ask(), "other = 1")
    server.write("second.ipynb", ask(OTHER), "more = 2")
    server.share_kernel("second.ipynb")
    second = Page(server, chromium, "lab", "second.ipynb")
    try:
        page.run_whole()
        second.run_whole()
        expect(page.toolbar).to_be_visible()
        expect(second.toolbar).to_be_visible()
        page.button("Accept").click()
        page.wait_cells(3)
        expect(page.button("Undo")).to_be_visible()
        assert second.sources() == [ask(OTHER), "more = 2"]
        assert second.note.count() == 0
        second.button("Accept").click()
        second.wait_cells(3)
        expect(second.button("Undo")).to_be_visible()
        assert page.sources() == [ask(), WHOLE, "other = 1"]
        page.button("Undo").click()
        page.wait_cells(2)
        expect(page.toolbar).to_be_visible()
        assert second.sources() == [ask(OTHER), PREFIX + OTHER + SUFFIX, "more = 2"]
    finally:
        second.close()
        with contextlib.suppress(urllib.error.HTTPError):  # with the first session, the second loses its kernel
            server.shut_kernels_down()


@in_lab
def test_undo_in_the_tab_that_accepted(notebook):
    page = asked(notebook, "other = 1")
    page.saved()
    second = page.another_tab()
    try:
        second.button("Accept").click()
        second.wait_cells(3)
        expect(second.button("Undo")).to_be_visible()
        expect(page.note).to_be_visible()
        assert page.button("Undo").count() == 0
        second.button("Undo").click()
        second.wait_cells(2)
        for each in (second, page):
            expect(each.toolbar).to_be_visible()
        assert page.cells.count() == 2
        second.button("Accept").click()
        second.wait_cells(3)
        expect(second.note).to_contain_text("new cell below")
        saved = second.saved()
        assert [cell.source for cell in saved.cells] == [ask(), WHOLE, "other = 1"]
        assert mimes(saved.cells[0]) == {"text/html", "text/plain"}
        assert page.cells.count() == 2
    finally:
        second.close()


@pytest.fixture(params=["contentVisibility", "full"])
def windowing(request, server):
    server.set_windowing(request.param)
    yield
    server.set_windowing("contentVisibility")  # JupyterLab's own: the server stays for other tests


@in_lab
@pytest.mark.usefixtures("windowing")
def test_scrolled_far_away(notebook):
    others = [f"number = {number}\n" * 8 for number in range(60)]
    page = asked(notebook, *others)
    page.toolbar.focus()
    scroll_to(page, "number = 59")
    page.page.keyboard.press("Tab")
    expect(page.note).to_contain_text("new cell below")
    expect(page.cells.nth(1).locator(".cm-content")).to_be_focused()
    expect(page.cells.nth(1).locator(".cm-content")).to_be_in_viewport()
    assert page.sources() == [ask(), WHOLE, *others]


@in_lab
def test_a_notebook_without_a_kernel_shows_no_widgets_of_others(notebook):
    page = asked(notebook)
    errors = []
    page.page.on("pageerror", lambda error: errors.append(str(error)))
    page.page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.page.get_by_role("menuitem", name="Shut Down Kernel", exact=True).click()
    expect(page.page.locator(".jp-Toolbar-kernelName")).to_have_text("No Kernel")
    found = """() => {
      const detail = { kernel: undefined, found: [] };
      document.dispatchEvent(new CustomEvent('fim-magic:notebooks', { detail }));
      return detail.found.length;
    }"""
    assert page.page.evaluate(found) == 0
    assert errors == []


@in_lab
def test_reloaded_then_exported(notebook, chromium, tmp_path):
    page = asked(notebook, middles=(MIDDLE, OTHER), more=True)
    page.saved()
    page.open()
    # The diff shows what would be accepted.
    page.candidate(2).click()
    expect(page.page.locator(".fim-caption")).to_contain_text("2 of 2")
    expect(page.diff.first).to_contain_text(OTHER)
    page.button("More").click()
    expect(page.page.locator(".fim-caption")).to_contain_text("3 of 3")
    expect(page.button("Accept")).to_be_enabled()
    page.candidate(2).click()
    page.button("Accept").click()
    page.wait_cells(2)
    expect(page.note).to_contain_text("new cell below")
    saved, told = page.saved_with_decision()
    assert saved.cells[1].source == PREFIX + OTHER + SUFFIX
    assert told["decision"]["candidate"] == 2

    html, _ = nbconvert.HTMLExporter().from_notebook_node(saved)
    file = tmp_path / "exported.html"
    file.write_text(html, "utf-8")
    for scripts in (True, False):
        context = chromium.new_context(java_script_enabled=scripts)
        try:
            shown = context.new_page()
            # The file alone: what nbconvert would load from elsewhere is not needed to read it.
            shown.route("http*://**", lambda route: route.abort())
            shown.goto(file.as_uri())
            expect(shown.locator(".fim-diff").first).to_be_visible()
            expect(shown.locator(".fim-diff").first).to_contain_text(OTHER)
            expect(shown.locator(".fim-diff").first.locator(".fim-added")).to_have_count(1)
            expect(shown.locator(".fim-caption")).to_contain_text("2 of 3")
            expect(shown.locator(".fim-note")).to_contain_text("new cell below")
            shown.locator(".fim-other summary").first.click()
            shown.locator(".fim-candidate summary").first.click()
            expect(shown.locator(".fim-candidate .fim-diff").first).to_contain_text("one number per row")
            assert not any(error in shown.inner_text("body") for error in ERRORS)
            page.screenshot(f"exported-{'with' if scripts else 'without'}-scripts", shown)
            if not scripts:
                fits_on_paper(shown)
        finally:
            context.close()


def fits_on_paper(shown):
    """Look at the page as a printer, or nbconvert's PDF, has it: nothing scrolls there."""
    shown.emulate_media(media="print")
    shown.set_viewport_size({"width": 500, "height": 900})
    too_wide = "lines => lines.filter(line => line.scrollWidth > line.parentElement.clientWidth + 1).length"
    assert shown.locator(".fim-diff .fim-line").evaluate_all(too_wide) == 0
    assert len(shown.pdf()) > 1000
