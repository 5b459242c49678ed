"""`%fim tour` in JupyterLab: each cell comes with the focus when the one before has run, and all go away at the end."""

from __future__ import annotations

import pytest
from asking import HAS_PAGE, in_lab, press, run_until_true
from at_cursor import source
from scripted import IN_A_KERNEL

from fim_magic.tour import steps

expect = pytest.importorskip("playwright.sync_api").expect

LOAD = IN_A_KERNEL.replace("'sum(xs)'", "'lengths = [len(word) for word in text.split()]'")

HEARD = f'{HAS_PAGE} and get_ipython().magics_manager.registry["FimMagics"]._page.has_pages'
TO_THE_END = "%fim tour next\n" * 8


@in_lab
def test_a_tour_in_chinese_from_its_first_cell_to_its_end(notebook):
    page = notebook(LOAD, "%fim tour", TO_THE_END, HEARD)
    page.page.evaluate("() => { document.documentElement.lang = 'zh-TW'; }")  # as JupyterLab does in that language
    page.run_whole(0)
    run_until_true(page, 3)
    page.run_whole(1)
    page.wait_cells(5)
    expect(page.cells.nth(1).locator(".jp-OutputArea")).to_contain_text("第 1 步，共 8 步。")
    assert source(page, 2) == steps.STATUS.code
    page.page.wait_for_function("() => document.activeElement.textContent.trim() === '%fim'")
    press(page, "Control+Enter")
    page.wait_cells(6)
    assert source(page, 3) == steps.HOLE.code
    page.page.wait_for_function("() => document.activeElement.textContent.startsWith('%%fim')")
    press(page, "Shift+Enter")
    expect(page.button("Accept")).to_be_visible()
    page.wait_cells(7)
    assert source(page, 4) == steps.ACCEPT_BY_CLICK.code
    page.screenshot("tour")
    page.toolbar.focus()
    press(page, "Tab")
    page.wait_cells(8)
    accepted = steps.HOLE.code.replace("<cursor>", "lengths = [len(word) for word in text.split()]").removeprefix(
        "%%fim\n"
    )
    assert source(page, 4) == accepted
    page.run_whole(4)
    page.run_whole(5)
    expect(page.cells.nth(5).locator(".jp-OutputArea")).to_contain_text("3.75")
    page.wait_cells(9)
    assert source(page, 6) == steps.COMPLETE.code.rstrip("\n") + "\n"
    # The user changes one of the tour's cells, and then has enough of it.
    page.cells.nth(6).locator(".cm-content").click()
    press(page, "Control+a")
    page.page.keyboard.insert_text("%fim tour end")
    page.run(6)
    page.wait_cells(6)
    expect(page.cells.nth(3).locator(".jp-OutputArea")).to_contain_text("導覽結束了。")
    assert page.sources() == [LOAD, "%fim tour", accepted, "%fim tour end", TO_THE_END, HEARD]
    expect(page.cells.nth(1).locator(".jp-OutputArea")).not_to_contain_text("第 1 步")
    # The tour's own last cell takes itself away as well.
    page.run_whole(1)
    page.wait_cells(7)
    page.run_whole(5)
    page.wait_cells(15)
    page.run(6)
    page.wait_cells(6)
    assert page.sources() == [LOAD, "%fim tour", accepted, "%fim tour end", TO_THE_END, HEARD]
