"""The view, as axe-core sees it: for people who use a screen reader, a keyboard, or other eyes than ours."""

from __future__ import annotations

import pytest
from asking import MIDDLE, ask, in_lab

expect = pytest.importorskip("playwright.sync_api").expect
Axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe

OURS = {"include": [[".fim-view"], [".fim-toolbar"]]}
SERIOUS = {"serious", "critical"}

# Trimmed text, tokens of which the model was not sure, and checks of all kinds.
UNSURE = """
import dataclasses
from fim_magic.candidate import Check, Cut
checks = (Check("parses", True), Check("names", False, "undefined: left"), Check("mean([1]) == 1", None, "needs a file"))
one = dataclasses.replace(
    candidates[0], raw=candidates[0].raw + "\\nleft = over", cut=Cut("dedent", len(candidates[0].raw)),
    checks=checks, same=3, reason="the most probable with what follows", logprobs=(-0.01, -0.4, -1.2, -3.0), token_ends=(4, 8, 20, len(candidates[0].raw)),
)
view.finish(dataclasses.replace(result, candidates=(one, *candidates[1:])), ask=another)
"""


def findings(page, context=OURS):
    """What axe finds serious in our part of the page."""
    found = Axe().run(page.page, context=context).response
    assert found["passes"], "axe has looked at nothing"
    return [
        (each["id"], each["impact"], [node["html"][:200] for node in each["nodes"]])
        for each in found["violations"]
        if each["impact"] in SERIOUS
    ]


# Within JupyterLab's windowed notebook, axe counts no text as visible, and so finds no contrast to measure.
BARE = """() => {
  const names = new Set();
  for (const sheet of document.styleSheets) {
    for (const rule of sheet.cssRules) {
      for (const name of rule.style ?? []) if (name.startsWith('--jp-')) names.add(name);
    }
  }
  const style = getComputedStyle(document.body);
  const values = [...names].map((name) => `${name}: ${style.getPropertyValue(name)};`).join(' ');
  const views = [...document.querySelectorAll('.fim-view, .fim-tabs, .fim-status')].map((each) => each.outerHTML);
  const own = [...document.querySelectorAll('style')].filter((each) => each.textContent.includes('.fim-tab'));
  return [values.replaceAll('"', "'"), document.body.dataset.jpThemeLight, views.join(''), own.map((each) => each.outerHTML).join('')];
}"""


def contrasts(page):
    """What axe finds of contrast when our part, with the theme's colours, stands on a page of its own."""
    values, light, views, styles = page.page.evaluate(BARE)
    bare = page.context.new_page()
    bare.set_content(
        f'<!doctype html><html lang="en"><head><title>t</title>{styles}</head>'
        f'<body data-jp-theme-light="{light}" style="{values} background: var(--jp-layout-color0)">'
        f'<main class="fim-toolbar">{views}</main></body></html>'
    )
    found = Axe().run(bare, options={"runOnly": ["color-contrast"], "resultTypes": ["violations", "passes"]}).response
    (measured,) = found["passes"]
    assert len(measured["nodes"]) > 20, "axe has measured next to nothing"
    bare.close()
    return [(node["html"][:150], node["any"][0]["message"]) for each in found["violations"] for node in each["nodes"]]


@pytest.fixture
def theme(request, server):
    server.set_theme(request.param)
    yield request.param
    server.set_theme("JupyterLab Light")


@in_lab
@pytest.mark.parametrize(
    "theme", ["JupyterLab Light", "JupyterLab Dark", "JupyterLab Dark High Contrast"], indirect=True
)
def test_nothing_serious_is_found(notebook, theme):
    page = notebook(ask(MIDDLE, "pass", more=True) + UNSURE, "%load_ext fim_magic")
    page.run_whole()
    expect(page.toolbar.last).to_be_visible()
    for summary in page.page.locator(".fim-view summary").all():
        summary.click()
    page.screenshot(f"accessible-{theme}".replace(" ", "-").lower())
    assert findings(page) == []
    assert contrasts(page) == []
    page.button("Accept").last.click()
    expect(page.button("Undo")).to_be_visible()
    assert findings(page, {"include": [[".fim-view"]]}) == []


@in_lab
def test_a_screen_reader_is_told_what_each_thing_is(notebook):
    page = notebook(ask(MIDDLE, "pass", more=True))
    page.run_whole()
    expect(page.toolbar).to_be_visible()
    assert page.page.get_by_role("toolbar", name="What to do with the answer").count() == 1
    keys = {"Accept": "Tab", "Line": "l", "Word": "w", "Replace": "r", "Copy": "c", "Reject": "Escape"}
    for name, key in {**keys, "Again": "a", "More": "m"}.items():
        expect(page.button(name)).to_have_attribute("aria-keyshortcuts", key)
    expect(page.page.get_by_role("radiogroup", name="Candidates")).to_be_visible()
    expect(page.page.get_by_role("radio", name="Candidate 2 of 2: ended by itself")).to_be_visible()
    expect(page.page.locator(".fim-status")).to_have_attribute("role", "status")
    page.toolbar.focus()
    outline = page.toolbar.evaluate("toolbar => getComputedStyle(toolbar).outlineStyle")
    assert outline == "solid"
