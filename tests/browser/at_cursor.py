"""A notebook whose kernel has a scripted model, and what stands at its cursor."""

from __future__ import annotations

import pytest
from asking import press
from scripted import IN_A_KERNEL

expect = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=20_000)  # what a slow machine takes to bring in a tokenizer

SETUP = f"""{IN_A_KERNEL}
import threading
engine = MODELS.loaded.engine
%config FimMagics.ghost = {{ghost!r}}
"""


def cursor_at(page, index, *keys):
    page.cells.nth(index).locator(".cm-content").click()
    press(page, *keys)


def take(page):
    """Take all of the ghost text, by JupyterLab's own key."""
    press(page, "Tab" if page.server.lab >= (4, 3) else "Alt+End")


def source(page, index):
    """The text of a cell, without what is only shown in it."""
    return page.page.evaluate(
        "index => { const cell = document.querySelectorAll('.jp-Notebook .jp-Cell')[index];"
        "const copy = cell.querySelector('.cm-content').cloneNode(true);"
        "copy.querySelectorAll('[class*=jp-GhostText]').forEach(each => each.remove());"
        "return [...copy.querySelectorAll('.cm-line')].map(line => line.textContent).join('\\n'); }",
        index,
    )


def ghost(page):
    # What keeps its place open for a while is not seen, and stays in the page until something changes there.
    return page.page.locator(".jp-GhostText:not(.jp-GhostText-letterSpacer, .jp-GhostText-lineSpacer)")


def shown(page, index):
    return page.cells.nth(index).locator(".fim-view .fim-diff")


def toast(page, text):
    """A note in the corner of the page, which goes by itself."""
    return page.page.locator(".Toastify__toast", has_text=text).first


def is_source(page, index, text):
    page.page.wait_for_timeout(50)
    for _ in range(100):
        if source(page, index) == text:
            return
        page.page.wait_for_timeout(100)
    assert source(page, index) == text


def tab(page, name):
    """Go to a file's tab, which is opened if there is none, and return what shows it."""
    there = page.page.locator(".lm-DockPanel-tabBar .lm-TabBar-tabLabel", has_text=name)
    if there.count():
        there.click()
    else:
        page.page.locator(".jp-DirListing-item", has_text=name).dblclick()
    shows = page.page.locator(".lm-DockPanel-widget:not(.lm-mod-hidden)")
    shows.locator(".cm-content").first.wait_for()
    return shows


def restart(server):
    for kernel in server.api("kernels"):
        server.api(f"kernels/{kernel['id']}/restart", "POST")
