"""The diff and its buttons in JupyterLab and Notebook 7."""

from __future__ import annotations

from itertools import pairwise

import pytest
from asking import MIDDLE, PREFIX, SUFFIX, WHOLE, ask, in_lab

expect = pytest.importorskip("playwright.sync_api").expect

EVIL = [
    "<script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    "</pre></div><svg onload=window.pwned=1>",
    "</style><script>window.pwned=1</script>",
    "</ins></span><iframe srcdoc='<script>parent.pwned=1</script>'>",
    "${window.pwned=1} {{window.pwned=1}} `${window.pwned=1}`",
    "&lt;script&gt;window.pwned=1&lt;/script&gt; &amp;amp;",
    "\"><b onmouseover='window.pwned=1'> $x^2$ \\(y\\)",
    "javascript:window.pwned=1",
]


def outputs_of(cell, mime):
    return [output for output in cell.outputs if mime in output.get("data", {})]


def test_growing_then_buttons(notebook):
    page = notebook(ask(held=True))
    page.run()
    expect(page.diff).to_contain_text("with open(path)")
    assert page.button("Accept").count() == 0
    assert page.page.locator(".fim-caret").count() == 1
    page.screenshot("growing")
    page.go_on()
    expect(page.button("Accept")).to_be_visible()
    expect(page.diff).to_contain_text("one number per row")
    assert page.page.locator(".fim-caret").count() == 0
    for name in ("Replace", "Copy", "Reject"):
        expect(page.button(name)).to_be_visible()
    expect(page.page.locator(".fim-caption")).to_have_text("qwen2.5-coder-0.5b · 2.1 s")
    expect(page.page.locator(".fim-about")).to_contain_text("41 tokens in 2.1 s")
    page.screenshot("buttons")


# Looks at every drawn frame: how tall the cell's outputs are, and how much of the diff is there.
WATCH = """
() => {
  window.frames_seen = [];
  const look = () => {
    const area = document.querySelector('.jp-OutputArea');
    const diff = document.querySelector('.fim-diff');
    window.frames_seen.push([area.offsetHeight, diff ? diff.textContent.length : 0]);
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}
"""


@in_lab
@pytest.mark.parametrize("lines", [3, 2000])
def test_a_hundred_tokens_a_second_do_not_flicker(notebook, lines):
    middle = "\n".join(f"    value_{number} = {number}" for number in range(60)).strip()
    prefix = "".join(f"line_{number} = {number}\n" for number in range(lines)) + "if line_0 == 0:\n    "
    # 4 characters a token: about 100 tokens a second.
    page = notebook(ask(middle, prefix=prefix, suffix="\nprint(line_0)", seconds=len(middle) / 400))
    page.run()
    expect(page.diff).to_be_visible()
    page.page.evaluate(WATCH)
    expect(page.button("Accept")).to_be_visible()
    frames = page.page.evaluate("() => window.frames_seen")
    before_buttons = [frame for frame in frames if frame[0] < frames[-1][0]]
    assert len({text for _, text in frames}) > 10  # it did grow before our eyes
    for (height, text), (next_height, next_text) in pairwise(before_buttons):
        assert next_height >= height, "the outputs shrank between two frames"
        assert next_text >= text > 0, "the diff was away, or shorter, for a frame"


def test_accept_inserts_below_the_owner(notebook):
    page = notebook(ask(), "other = 1", "third = 2")
    page.run_whole()
    page.cells.nth(2).locator(".cm-content").click()
    page.button("Accept").click()
    page.wait_cells(4)
    page.page.wait_for_function("() => document.activeElement.matches('.cm-content')")
    assert page.active() == 1
    assert page.has_focus(1)
    assert page.prompt(1).text_content().strip() in ("[ ]:", "")
    expect(page.page.locator(".fim-note")).to_contain_text("new cell below")
    assert page.button("Accept").count() == 0
    page.screenshot("accepted")
    assert page.sources() == [ask(), WHOLE, "other = 1", "third = 2"]


@in_lab
def test_accept_when_another_cell_is_active(notebook):
    page = notebook(ask(), "other = 1", "third = 2")
    page.run_whole()
    page.cells.nth(2).locator(".cm-content").click()
    expect(page.toolbar).to_be_visible()
    # Without the mouse, the click doesn't make the owner the active cell.
    page.button("Accept").evaluate("button => button.click()")
    page.wait_cells(4)
    assert page.sources()[1:3] == [WHOLE, "other = 1"]


def test_two_fast_clicks_insert_once(notebook):
    page = notebook(ask(), "decided")
    page.run_whole()
    expect(page.toolbar).to_be_visible()
    page.button("Accept").evaluate("button => { button.click(); button.click(); }")
    page.wait_cells(3)
    expect(page.page.locator(".fim-note")).to_be_visible()
    page.run_whole(2)
    expect(page.cells.nth(2).locator(".jp-OutputArea")).to_contain_text("[('accept', 0)]")
    assert page.sources() == [ask(), WHOLE, "decided"]


def test_only_the_clicked_tab_inserts(notebook):
    page = notebook(ask(), "other = 1")
    page.run_whole()
    expect(page.button("Accept")).to_be_visible()
    page.saved()
    second = page.another_tab()
    expect(second.button("Accept")).to_be_visible()
    second.button("Accept").click()
    second.wait_cells(3)
    expect(page.page.locator(".fim-note")).to_be_visible()
    assert page.cells.count() == 2


def test_replace(notebook):
    page = notebook(ask(), "other = 1")
    page.run_whole()
    page.button("Replace").click()
    expect(page.page.locator(".fim-note")).to_contain_text("replaced")
    assert page.sources() == [WHOLE, "other = 1"]
    expect(page.diff).to_be_visible()


@in_lab
def test_reject_changes_nothing(notebook):
    page = notebook(ask(), "decided")
    page.run_whole()
    page.button("Reject").click()
    expect(page.page.locator(".fim-note")).to_contain_text("Rejected")
    page.run_whole(1)
    expect(page.cells.nth(1).locator(".jp-OutputArea")).to_contain_text("[('reject', 0)]")
    assert page.sources() == [ask(), "decided"]


@in_lab
def test_copy(notebook):
    page = notebook(ask())
    page.run_whole()
    page.button("Copy").click()
    expect(page.page.locator(".fim-status")).to_have_text("Copied.")
    assert page.page.evaluate("() => navigator.clipboard.readText()") == WHOLE
    expect(page.button("Accept")).to_be_enabled()


@in_lab
def test_selecting_the_diff_copies_code_without_gutter(notebook):
    page = notebook(ask())
    page.run_whole()
    expect(page.button("Accept")).to_be_visible()
    selected = page.diff.evaluate(
        "diff => { getSelection().selectAllChildren(diff); return getSelection().toString(); }"
    )
    assert selected.rstrip("\n") == WHOLE


def test_saved_notebook(notebook):
    page = notebook(ask())
    page.run_whole()
    page.button("Accept").click()
    page.wait_cells(2)
    expect(page.page.locator(".fim-note")).to_be_visible()
    saved, told = page.saved_with_decision()
    owner, new = saved.cells
    diff, note = outputs_of(owner, "text/html")
    assert told["model"] == "qwen2.5-coder-0.5b"
    assert (told["decision"]["what"], told["decision"]["candidate"]) == ("accept", 1)
    assert set(diff.data) == set(note.data) == {"text/html", "text/plain"}
    assert "+         rows = list(csv.reader(file))" in diff.data["text/plain"]
    assert len(owner.outputs) == 2
    assert (new.source, new.outputs, new.execution_count) == (WHOLE, [], None)
    assert "trusted" not in new.metadata
    written = new.metadata["fim_magic"]
    assert (written["model"], written["revision"]) == ("qwen2.5-coder-0.5b", "1d9614638d18024d")
    assert (written["candidate"], written["tokens"]) == (1, 41)


@pytest.mark.parametrize("decision", ["Accept", None])
def test_reopened_without_kernel(notebook, server, decision):
    page = notebook(ask(), "%load_ext fim_magic")
    page.run_whole()
    if decision:
        page.button(decision).click()
        page.wait_cells(3)
        expect(page.page.locator(".fim-note")).to_be_visible()
    expect(page.diff).to_be_visible()
    page.saved()
    server.shut_kernels_down()
    page.open()
    expect(page.diff).to_contain_text("one number per row")
    assert page.page.locator(".fim-added").count() == 3
    page.screenshot(f"reopened-{decision}".lower())
    if decision:
        expect(page.page.locator(".fim-note")).to_be_visible()
    else:
        page.run_whole(1)  # %load_ext, in another kernel: it takes away what the first has left
        expect(page.note).to_contain_text("Not decided")
        assert "widget-view" not in str([output.data.keys() for output in page.saved().cells[0].outputs])
    assert "Error displaying widget" not in page.page.inner_text("body")


def test_accept_after_a_reload(notebook):
    page = notebook(ask(), "other = 1")
    page.run_whole()
    expect(page.button("Accept")).to_be_visible()
    page.saved()
    page.open()
    page.button("Accept").click()
    page.wait_cells(3)
    expect(page.page.locator(".fim-note")).to_contain_text("new cell below")
    saved = page.saved()
    assert [cell.source for cell in saved.cells] == [ask(), WHOLE, "other = 1"]
    assert all("widget-view" not in mime for out in saved.cells[0].outputs for mime in out.data)


@in_lab
def test_candidates(notebook):
    page = notebook(ask(MIDDLE, "total = rows = 1", "pass"))
    page.run_whole()
    assert page.page.locator(".fim-candidate").count() == 2
    expect(page.page.locator(".fim-about")).to_be_hidden()
    page.page.locator(".fim-other summary").first.click()
    expect(page.page.locator(".fim-about")).to_be_visible()
    page.page.locator(".fim-candidate summary").first.click()
    expect(page.diff.nth(1)).to_contain_text("total = rows = 1")
    page.screenshot("candidates")
    page.candidate(2).click()
    expect(page.page.locator(".fim-caption")).to_contain_text("2 of 3")
    expect(page.diff.first).to_contain_text("total = rows = 1")
    page.button("Accept").click()
    page.wait_cells(2)
    assert page.sources()[1] == PREFIX + "total = rows = 1" + SUFFIX


def test_untrusted_text_stays_text(notebook):
    prefix = "".join(f"a = 1 # {evil}\n" for evil in EVIL)
    middle = "".join(f"b = '{evil}'\n{evil}\n" for evil in EVIL)
    suffix = "".join(f"c = 3 # {evil}\n" for evil in EVIL) + EVIL[0]
    # A model's name may be that of a file. It stands below the growing diff, and in the details of the whole one.
    page = notebook(ask(middle, prefix=prefix, suffix=suffix, model="/".join(EVIL), seconds=1))
    page.run_whole()
    expect(page.button("Accept")).to_be_visible()
    told = page.page.locator(".fim-about").text_content()
    assert [evil for evil in EVIL if evil not in told] == []
    page.button("Accept").click()
    page.wait_cells(2)
    expect(page.page.locator(".fim-note")).to_be_visible()
    shown = page.page.locator(".fim-view .fim-code").all_text_contents()
    assert "".join(shown).removesuffix("\n") == prefix + middle + suffix
    assert page.page.evaluate("() => window.pwned") is None
    assert page.sources()[1] == prefix + middle + suffix


@in_lab
def test_dark_theme(notebook, server):
    server.set_theme("JupyterLab Dark")
    try:
        page = notebook(ask("sum(row)", prefix="total = ", suffix=" / 2\n" * 70), ask())
        page.page.wait_for_selector("body[data-jp-theme-light='false']", state="attached")
        page.run_whole(1)
        expect(page.button("Accept")).to_be_visible()
        page.screenshot("dark")
        page.run_whole(0)
        changed = page.page.locator(".fim-view").first
        expect(changed).to_contain_text("66 unchanged lines")
        page.screenshot("dark-changed", changed)
    finally:
        server.set_theme("JupyterLab Light")


@in_lab
def test_a_cell_accepted_while_it_runs(notebook):
    source = (
        ask()
        + "\nfrom fim_magic.frontends import accept_now\naccept_now(get_ipython(), view._document.rebuild('pass'))"
    )
    page = notebook(source, "other = 1")
    page.run_whole()
    page.wait_cells(3)
    assert page.sources()[1] == PREFIX + "pass" + SUFFIX


@in_lab
def test_where_no_click_can_insert_the_next_cell_brings_it(notebook):
    # As where anywidget cannot be shown: no toolbar, and a bridge that nobody answers.
    foreign = (
        "import fim_magic.frontends as f\nconnection = f.Connection.of(get_ipython()); connection.open_bridge()\n"
        "bridge = connection.bridge\nbridge.can_insert = lambda client: False\nbridge.when_page = lambda call: None\n"
    )
    page = notebook(foreign + ask(), "raise ValueError", "other = 1", "last = 1")
    page.run_whole()
    page.button("Accept").click()
    expect(page.page.locator(".fim-note")).to_contain_text("next cell that you run")
    page.run_whole(1)  # its reply can bring nothing, since it failed
    page.run_whole(2)
    page.wait_cells(5)
    page.run_whole(4)
    assert page.sources()[2:] == ["other = 1", WHOLE, "last = 1"]


@in_lab
def test_a_lost_owner_is_not_guessed(notebook):
    page = notebook(ask(), "other = 1")
    page.run_whole()
    expect(page.button("Accept")).to_be_visible()
    lost = (
        "import fim_magic.review.widget as w\n"
        "import dataclasses\n"
        "actions, = w._shown.values()\n"
        "actions._owner = dataclasses.replace(actions._owner, cell_id='gone')\n"
        "actions._toolbar.owner = {**actions._toolbar.owner, 'cell_id': 'gone'}"
    )
    page.cells.nth(1).locator(".cm-content").click()
    page.page.keyboard.press("Control+a")
    page.page.keyboard.insert_text(lost)
    page.run_whole(1)
    page.button("Accept").click()
    expect(page.status).to_contain_text("not in this notebook any more")
    assert page.sources() == [ask(), lost]
