"""The diff and its buttons in the oldest JupyterLab that is supported, from an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv

import pytest
from asking import MIDDLE, PREFIX, SUFFIX, WHOLE, ask, press, with_toolbar
from conftest import Page, Server

expect = pytest.importorskip("playwright.sync_api").expect

# The server's side only: the kernel is this interpreter.
VERSION = "4.0.13"  # the last of 4.0
OLDEST = (f"jupyterlab=={VERSION}", "anywidget")
OTHER = "total = rows = 1"
LINES = MIDDLE.split("\n")


def environment(folder):
    """Return the interpreter of an environment with the oldest JupyterLab; it is made if there is none yet."""
    interpreter = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    done = folder / "complete.json"
    if not done.exists() or json.loads(done.read_text()) != [*OLDEST, sys.version]:
        venv.create(folder, clear=True, with_pip=True)
        install = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *OLDEST]
        ran = subprocess.run(install, capture_output=True, text=True, timeout=300, check=False)
        if ran.returncode:
            # As with the browser: in CI it must be there.
            why = f"JupyterLab 4.0 could not be installed: {ran.stderr[-500:]}"
            (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
        done.write_text(json.dumps([*OLDEST, sys.version]))
    return interpreter


@pytest.fixture(scope="session")
def old_server(request, tmp_path_factory):
    if request.config.pluginmanager.has_plugin("cacheprovider"):
        folder = request.config.cache.mkdir("jupyterlab-4.0")
    else:
        folder = tmp_path_factory.mktemp("jupyterlab-4.0")
    running = Server(tmp_path_factory.mktemp("old-jupyter"), environment(folder))
    yield running
    running.shut_kernels_down()
    running.stop()


@pytest.fixture
def old_lab(request, old_server, chromium):
    """Open a notebook with the given cells: `page = old_lab(source, ...)`."""
    opened = []

    def open_with(*sources):
        name = f"{request.node.name}.ipynb"
        old_server.write(name, *sources)
        opened.append(Page(old_server, chromium, "lab", name))
        return opened[-1]

    yield open_with
    for page in opened:
        page.close()
    old_server.shut_kernels_down()


def mimes(cell):
    return {mime for output in cell.outputs for mime in output.data}


def asked(old_lab, *sources, **options):
    """A notebook whose first cell has asked, with the toolbar in focus."""
    return with_toolbar(old_lab(ask(**options), *sources))


def test_streams_and_accepts_once_below_the_owner(old_lab):
    page = old_lab(ask(held=True), "other = 1", "third = 2")
    assert json.loads(page.page.locator("#jupyter-config-data").text_content())["appVersion"] == VERSION
    page.run()
    expect(page.diff).to_contain_text("with open(path)")
    expect(page.page.locator(".fim-caret")).to_have_count(1)
    assert page.button("Accept").count() == 0
    page.go_on()
    expect(page.toolbar).to_be_visible()
    expect(page.diff).to_contain_text("one number per row")
    expect(page.page.locator(".fim-caret")).to_have_count(0)
    page.screenshot("oldest")
    page.cells.nth(2).locator(".cm-content").click()
    page.button("Accept").evaluate("button => { button.click(); button.click(); }")
    page.wait_cells(4)
    expect(page.cells.nth(1).locator(".cm-content")).to_be_focused()
    assert page.active() == 1
    expect(page.note).to_contain_text("new cell below")
    saved = page.saved()
    assert [cell.source for cell in saved.cells] == [ask(held=True), WHOLE, "other = 1", "third = 2"]
    assert mimes(saved.cells[0]) == {"text/html", "text/plain"}


def test_tab_accepts_and_undo_takes_it_back(old_lab):
    page = asked(old_lab, "other = 1")
    press(page, "x", "Tab")  # x cuts the cell in command mode: no business of a toolbar
    page.wait_cells(3)
    expect(page.note).to_contain_text("new cell below")
    page.button("Undo").click()
    page.wait_cells(2)
    expect(page.toolbar).to_be_visible()
    page.toolbar.focus()
    press(page, "l")
    page.wait_cells(3)
    page.toolbar.focus()
    press(page, "l")
    expect(page.status).to_contain_text("in the new cell below")
    assert page.sources()[1:] == [PREFIX + "\n".join(LINES[:2]) + SUFFIX, "other = 1"]
    page.toolbar.focus()
    press(page, "z")
    page.wait_cells(2)
    press(page, "Tab")
    page.wait_cells(3)
    page.cells.nth(1).locator(".cm-content").click()
    press(page, "Control+End")
    page.page.keyboard.type("  # mine")
    page.button("Undo").click()
    expect(page.note).to_contain_text("edited since")
    assert page.sources() == [ask(), f"{WHOLE}  # mine", "other = 1"]


def test_replace_then_undo_then_reject(old_lab):
    page = asked(old_lab, "decided")
    press(page, "r")
    expect(page.note).to_contain_text("replaced")
    assert page.sources() == [WHOLE, "decided"]
    page.button("Undo").click()
    expect(page.toolbar).to_be_visible()
    assert page.sources() == [ask(), "decided"]
    page.toolbar.focus()
    press(page, "Escape")
    expect(page.note).to_contain_text("Rejected")
    page.run_whole(1)
    decided = "[('replace', 0), ('undo', 0), ('reject', 0)]"
    expect(page.cells.nth(1).locator(".jp-OutputArea")).to_contain_text(decided)
    assert page.sources() == [ask(), "decided"]


def test_candidates_before_and_after_a_reload(old_lab):
    page = asked(old_lab, "other = 1", middles=(MIDDLE, OTHER, "pass"))
    press(page, "ArrowRight")
    expect(page.page.locator(".fim-caption").first).to_contain_text("2 of 3")
    expect(page.candidate(2)).to_have_attribute("aria-checked", "true")
    page.saved()
    page.open()
    page.candidate(3).click()
    expect(page.page.locator(".fim-caption").first).to_contain_text("3 of 3")
    page.button("Accept").click()
    page.wait_cells(3)
    expect(page.note).to_contain_text("new cell below")
    saved = page.saved()
    assert [cell.source for cell in saved.cells[1:]] == [f"{PREFIX}pass{SUFFIX}", "other = 1"]
    assert mimes(saved.cells[0]) == {"text/html", "text/plain"}
