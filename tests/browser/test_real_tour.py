"""`%fim tour` with the real model, from its first cell to its end, as a new user has it."""

from __future__ import annotations

import ast

import pytest
from asking import in_lab, press
from at_cursor import cursor_at, source
from test_magic import A_WHILE, model  # noqa: F401 # a fixture

from fim_magic.tour import steps

expect = pytest.importorskip("playwright.sync_api").expect

pytestmark = pytest.mark.real_model

OWN = ("%load_ext fim_magic", "%fim tour")


def ran(page, step, at):
    """Run the tour's cell, which says what it is about, and wait until the next one has come."""
    count = page.cells.count()
    assert source(page, at) == step.code
    page.run(at)
    page.page.wait_for_function(
        "count => document.querySelectorAll('.jp-Notebook .jp-Cell').length === count", arg=count + 1, timeout=A_WHILE
    )
    return page.cells.nth(at)


@in_lab
def test_each_step_does_what_it_says(notebook, model):  # noqa: F811 # a fixture
    page = notebook(*OWN)
    page.run_whole(0)
    page.run_whole(1)
    page.wait_cells(3)
    ran(page, steps.LOAD, 2)
    ran(page, steps.HOLE, 3)
    page.button("Accept").click(timeout=A_WHILE)
    page.wait_cells(6)
    page.run_whole(4)
    expect(ran(page, steps.ACCEPT_BY_CLICK, 5)).to_contain_text("3.75")
    expect(ran(page, steps.COMPLETE, 6).locator(".fim-diff").first).to_contain_text("return fibonacci(n")
    expect(ran(page, steps.CHECK, 7).locator(".fim-caption")).to_contain_text("your check passes", timeout=A_WHILE)
    expect(ran(page, steps.CANDIDATES, 8).locator(".fim-caption")).to_contain_text("1 of", timeout=A_WHILE)
    assert source(page, 9) == steps.CURSOR_ON_PAGE.code
    cursor_at(page, 9, "Control+Home", *["ArrowDown"] * 3, "End", "ArrowLeft", "F8")
    page.cells.nth(9).get_by_role("button", name="Replace", exact=True).click(timeout=A_WHILE)
    expect(page.cells.nth(9).locator(".fim-note")).to_contain_text("replaced")
    page.run(9)
    page.wait_cells(11)
    expect(ran(page, steps.LOG, 10)).to_contain_text("replaced")
    page.screenshot("real-tour")
    page.run(11)
    page.wait_cells(5)
    expect(page.cells.nth(4)).to_contain_text("The tour has ended.")
    saved = page.sources()
    assert (*saved[:2], saved[4]) == (*OWN, steps.END.code)
    for left in saved[2:4]:  # what was accepted and what was replaced: they are the user's
        ast.parse(left)
        assert "lengths = " in left
    press(page, "Escape")
