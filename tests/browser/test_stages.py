"""Several holes in one cell, and what is said of checks, in a real browser."""

from __future__ import annotations

import pytest
from asking import in_lab

expect = pytest.importorskip("playwright.sync_api").expect

HOLES = """
from fim_magic.candidate import Candidate, Check, Ending, Result
from fim_magic.holes import combine, parse
from fim_magic.provenance import record
from fim_magic.review import View

blanks = parse("def area(r):\\n    pi = <cursor>\\n    # the area\\n    return <cursor> * r ** 2\\n")
document = blanks.document
checks = (Check("parses", True), Check("names", {passed}, {said!r}))


def filled(*middles):
    return combine(blanks, [Candidate(each, Ending.STOP_TOKEN, token_ids=(1,)) for each in middles])


import dataclasses
candidates = (
    dataclasses.replace(filled("3.14", "pi"), checks=checks, reason="the most probable with what follows"),
    dataclasses.replace(filled("3", "<b>pi</b>"), checks=(Check("parses", False, "line <i>4</i>"),), reason="<u>less</u>"),
)
view = View(get_ipython(), document, title="tiny", unfilled=blanks.joined(()))
result = Result(document, candidates, "tiny", "1d96", "fim", "psm", 38, 0, 0, None, 0.2, 2.1, holes=2)
view.finish(result, record=record(result))
"""
FIRST = "def area(r):\n    pi = 3.14\n    # the area\n    return pi * r ** 2\n"


@in_lab
def test_several_holes_are_one_diff_and_one_new_cell(notebook):
    page = notebook(HOLES.format(passed=True, said=""))
    page.run_whole()
    expect(page.toolbar).to_be_visible()
    view = page.page.locator(".fim-view").first
    expect(view.locator(".fim-caption")).to_contain_text("parses, names known")
    expect(view.locator(".fim-about")).to_contain_text("Holes 2")
    expect(view.locator(".fim-about")).to_contain_text("Checks 2 of 2 passed")
    assert view.locator(".fim-diff").first.locator("ins").all_text_contents() == ["3.14", "pi"]
    page.screenshot("several-holes")
    page.button("Accept").click()
    expect(page.button("Undo")).to_be_visible()
    assert page.sources()[1].rstrip() == FIRST.rstrip()


@in_lab
def test_a_check_that_fails_is_said_and_stays_text(notebook):
    page = notebook(HOLES.format(passed=False, said="undefined: <img src=x onerror=alert(1)>"))
    page.run_whole()
    expect(page.toolbar).to_be_visible()
    view = page.page.locator(".fim-view").first
    expect(view.locator(".fim-caption")).to_have_text(
        "tiny · 1 of 2 · 2.1 s · <img src=x onerror=alert(1)> is not defined"
    )
    expect(view).to_contain_text("✗ failed: names (undefined: <img src=x onerror=alert(1)>)")
    page.page.keyboard.press("Escape")
    for summary in view.locator("summary").all():
        summary.click()
    page.screenshot("checks")
    expect(page.page.get_by_role("radio", name="Candidate 2 of 2")).to_contain_text("✗")
    foreign = (
        ".fim-view img, .fim-view b:not(.fim-check > b), .fim-view i:not(.fim-caret), .fim-view u, .fim-toolbar img"
    )
    assert page.page.locator(foreign).count() == 0
