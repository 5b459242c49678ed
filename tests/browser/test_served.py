"""The main job with a server behind it: vLLM streams into the diff of a real JupyterLab, and one click accepts."""

from __future__ import annotations

import pytest
from asking import in_lab

expect = pytest.importorskip("playwright.sync_api").expect

pytestmark = [pytest.mark.servers, pytest.mark.real_model]

BODY = 'def mean(xs):\n    """Return the arithmetic mean of a list of numbers."""\n    <cursor>\n    return total / len(xs)'
A_WHILE = 180_000  # ms; the model takes seconds, a busy machine many of them


@in_lab
def test_what_vllm_says_is_streamed_chosen_and_accepted(notebook, vllm_server):
    host = vllm_server.url.removeprefix("http://")
    setup = f"import os\nos.environ['FIM_MAGIC_SERVER_KEYS'] = '{host}={vllm_server.key}'\n%load_ext fim_magic"
    page = notebook(setup, f"%fim use vllm://{host}/{vllm_server.model}", f"%%fim -n 3\n{BODY}", "mean([1, 2, 6])")
    page.run_whole(0)
    page.run(1)
    expect(page.cells.nth(1).locator(".jp-OutputArea")).to_contain_text("is loaded on", timeout=A_WHILE)
    assert vllm_server.key not in page.cells.nth(1).inner_text()
    page.run(2)
    expect(page.diff).to_contain_text("return total / len(xs)", timeout=A_WHILE)
    expect(page.button("Accept")).to_be_visible(timeout=A_WHILE)
    expect(page.page.locator(".fim-caption")).to_contain_text(host)
    expect(page.candidate(2)).to_be_visible(timeout=A_WHILE)
    page.candidate(2).click()
    page.screenshot("served")
    page.candidate(1).click()
    page.button("Accept").click()
    page.wait_cells(5)
    sources = page.sources()
    prefix, suffix = BODY.split("<cursor>")
    assert sources[3].startswith(prefix)
    assert sources[3].endswith(suffix)
    assert len(sources[3]) > len(prefix + suffix)
    assert vllm_server.counters().running == 0
