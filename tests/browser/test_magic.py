"""The main job as a user does it: a %%fim cell, the real model, the diff, one click, a new cell."""

from __future__ import annotations

import subprocess
import sys

import pytest
from asking import in_lab

expect = pytest.importorskip("playwright.sync_api").expect

pytestmark = pytest.mark.real_model

LOAD = "%load_ext fim_magic\n%fim use qwen2.5-coder-0.5b"
BODY = 'def mean(xs):\n    """Return the arithmetic mean of a list of numbers."""\n    <cursor>\n    return total / len(xs)'
FIM = f"%%fim\n{BODY}"
AFTER = "mean([1, 2, 6])"
A_WHILE = 180_000  # ms; the model takes seconds, a busy machine many of them


@pytest.fixture(scope="module", autouse=True)
def model():
    """Bring the model here first, so that a test waits for what it tests."""
    subprocess.run([sys.executable, "-m", "fim_magic.cli", "fetch", "qwen2.5-coder-0.5b"], check=True, timeout=1200)


def loaded(notebook, *sources):
    page = notebook(LOAD, *sources)
    page.run(0)
    expect(page.cells.nth(0).locator(".jp-OutputArea")).to_contain_text("is loaded on", timeout=A_WHILE)
    return page


@pytest.mark.parametrize("notebook", ["notebook"], indirect=True)  # in JupyterLab it is a part of the tour
def test_from_cell_to_accepted_code(notebook):
    page = loaded(notebook, FIM, AFTER)
    page.run(1)
    expect(page.diff).to_contain_text("return total / len(xs)", timeout=A_WHILE)
    expect(page.button("Accept")).to_be_visible(timeout=A_WHILE)
    page.screenshot("fim")
    # The user has gone on to another cell meanwhile.
    page.cells.nth(2).locator(".cm-content").click()
    page.button("Accept").evaluate("button => button.click()")
    page.wait_cells(4)
    sources = page.sources()
    assert sources[0] == LOAD
    assert sources[1] == FIM
    assert sources[3] == AFTER
    prefix, suffix = BODY.split("<cursor>")
    assert sources[2].startswith(prefix)
    assert sources[2].endswith(suffix)
    assert len(sources[2]) > len(prefix + suffix)
    page.run_whole(2)
    page.run_whole(3)
    expect(page.cells.nth(3).locator(".jp-OutputArea-output").last).to_have_text("3.0")
    page.screenshot("fim-accepted")


@in_lab
def test_stop_button_keeps_the_partial_text_and_the_model(notebook):
    # Greedy: a sampled story may end at its first token. This one goes on for more than 200.
    page = loaded(notebook, "%%complete --max-new-tokens 2000\n# A long story about a cursor:\n", FIM)
    page.run(1)
    expect(page.page.locator(".fim-caption")).to_contain_text("tokens", timeout=A_WHILE)
    page.page.wait_for_function(
        "() => /(\\d+) tokens/.exec(document.querySelector('.fim-caption')?.textContent ?? '')?.[1] > 2",
        timeout=A_WHILE,
    )
    page.page.keyboard.press("Escape")
    page.page.keyboard.press("i")
    page.page.keyboard.press("i")
    expect(page.page.locator(".fim-caption")).to_contain_text("partial: interrupted", timeout=A_WHILE)
    page.screenshot("interrupted")
    page.run(2)
    expect(page.cells.nth(2).locator(".fim-about")).to_contain_text("ended", timeout=A_WHILE)


@in_lab
def test_fim_accept_in_an_empty_cell_turns_it_into_the_answer(notebook):
    page = loaded(notebook, FIM, "%fim accept")
    page.run(1)
    expect(page.button("Accept")).to_be_visible(timeout=A_WHILE)
    page.run_whole(2)
    page.page.wait_for_function(
        "() => document.querySelectorAll('.jp-Notebook .jp-Cell')[2].textContent.includes('def mean')"
    )
    sources = page.sources()
    assert sources[2].startswith("def mean(xs):")
    assert "<cursor>" not in sources[2]


@in_lab
def test_fim_with_accept_puts_the_cell_below_at_once(notebook):
    page = loaded(notebook, FIM.replace("%%fim", "%%fim --accept"), AFTER)
    page.run(1)
    page.page.wait_for_function(
        "() => document.querySelectorAll('.jp-Notebook .jp-Cell').length === 4", timeout=A_WHILE
    )
    assert page.sources()[2].startswith("def mean(xs):")
    assert page.button("Accept").count() == 0


@in_lab
def test_errors_are_one_paragraph(notebook):
    page = notebook("%load_ext fim_magic", "%%fim\nx = 1")
    page.run_whole(0)
    page.run_whole(1)
    output = page.cells.nth(1).locator(".jp-OutputArea")
    expect(output).to_contain_text("There is no cursor marker")
    assert "Traceback" not in output.text_content()
    page.screenshot("error")
