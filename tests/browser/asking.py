"""A cell that does what `%%fim` does, without a model: it shows given answers and asks what to do with them."""

from __future__ import annotations

import pytest

expect = pytest.importorskip("playwright.sync_api").expect

# For what a page of Notebook 7, which takes seconds to open, does in the same way.
in_lab = pytest.mark.parametrize("notebook", ["lab"], indirect=True)

PREFIX = 'import csv\n\ndef mean(path):\n    """The mean of a column."""\n    '
MIDDLE = (
    "with open(path) as file:\n"
    "        rows = list(csv.reader(file))\n"
    "    total = sum(float(row[0]) for row in rows)  # one number per row"
)
SUFFIX = "\n    return total / len(rows)"
WHOLE = PREFIX + MIDDLE + SUFFIX

# What a cell waits for, so that what a test does meanwhile never depends on how fast the machine is: `page.go_on()`
# writes this file beside the notebook.
GO_ON = "go-on"
WAIT = f"import pathlib, time\nwhile not pathlib.Path({GO_ON!r}).exists():\n    time.sleep(0.05)\n"

# What a cell does that runs %%fim, without a model. `decided` is filled by the buttons.
ASK = """
import pathlib, time
from fim_magic.candidate import Candidate, Ending, Result
from fim_magic.document import Document
from fim_magic.provenance import record
from fim_magic.review import View

decided = []
document = Document({prefix!r}, {suffix!r}, "<cursor>")
model = {model!r}
view = View(get_ipython(), document, title=model)
middles = {middles!r}
for at in range(0, len(middles[0]) if {seconds} or {held} else 0, 4):
    time.sleep({seconds} * 4 / len(middles[0]))
    view.grow(middles[0][:at], at // 4, at / 100)
    while {held} and at > len(middles[0]) / 2 and not pathlib.Path({go_on!r}).exists():
        time.sleep(0.05)
        view.grow(middles[0][:at], at // 4, at / 100)  # it draws so many times a second
candidates = tuple(
    Candidate(middle, Ending.STOP_TOKEN, token_ids=tuple(range(41)), imports={imports!r}) for middle in middles
)
result = Result(document, candidates, model, "1d9614638d18024d", "fim", "psm", 38, 0, 0, None, 0.2, 2.1)


def another(index, on_grow):
    # What the model says when it is asked again takes a second.
    import dataclasses
    middle = "total = rows = [" + str(len(decided)) + "]"
    for at in range(len(middle)):
        time.sleep(1 / len(middle))
        on_grow(middle[:at], at, at / 10)
    return dataclasses.replace(result, candidates=(Candidate(middle, Ending.RULE),))


view.finish(
    result,
    record=record(result),
    on_decision=lambda *what: decided.append(what),
    ask=another if {more} else None,
)
"""


def ask(
    *given,
    middles=(),
    prefix=PREFIX,
    suffix=SUFFIX,
    seconds=0,
    held=False,
    more=False,
    model="qwen2.5-coder-0.5b",
    imports=(),
):
    """The cell's source: the answers, what stands around the hole, and how they come.

    It takes `seconds` to grow, or stays half grown until the page's `go_on` where it is `held`; `more` answers can be had.
    """
    given = {"middles": list(given or middles or (MIDDLE,)), "imports": imports}
    how = {"seconds": seconds, "held": held, "go_on": GO_ON, "more": more}
    return ASK.format(prefix=prefix, suffix=suffix, model=model, **how, **given)


def with_toolbar(page, index=0):
    """Run the cell that asks, and put the toolbar below its diff in focus."""
    page.run_whole(index)
    expect(page.toolbar).to_be_visible()
    page.toolbar.focus()
    return page


def press(page, *keys):
    """Press keys, one after the other."""
    for key in keys:
        page.page.keyboard.press(key)


HAS_PAGE = "__import__('fim_magic.frontends').frontends.Connection.of(get_ipython()).bridge.has_page"


def run_until_true(page, index):
    """Run a cell again and again until it says True, such as whether the kernel has heard of its page."""
    for _ in range(100):
        page.run(index)
        page.page.wait_for_timeout(200)
        if page.shown(index).endswith("True"):
            return
    pytest.fail("It is not true.")
