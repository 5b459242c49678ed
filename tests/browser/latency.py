"""How long ghost text takes in JupyterLab, from the end of a pause to its first character, with the real model.

    python tests/browser/latency.py --out latency.json

A notebook of 30 cells; in the last, code is typed, 1, 5 and 20 characters at a time. The page itself takes the times: when a
key was pressed, when the ghost's first character was drawn, and any task that took longer than 50 ms. A key stroke that was
dropped would be missing in the text at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import tempfile
import time
from pathlib import Path

from conftest import CHROMIUM_FLAGS, Page, Server, chromium_path
from playwright.sync_api import TimeoutError as NoGhostError
from playwright.sync_api import sync_playwright

SETUP = "%load_ext fim_magic\n%fim use {model}\n%config FimMagics.ghost = 'auto'"
READY = "from fim_magic.loading.manager import MODELS\nMODELS.loading and MODELS.wait(MODELS.loading)\nprint('ready')"
CELL = "def share_{n}(values, whole={n}):\n    part = sum(values[:{n}])\n    return part / whole\n\nshares_{n} = [share_{n}([1, 2, 3]) for _ in range({n})]"
TYPED = (
    "import statistics\nimport math\n\nscores = [3, 5, 8, 13]\nmean_score = statistics.mean(scores)\n"
    "spread = max(scores) - min(scores)\nlargest = max(scores)\nrounded = [round(score / 2) for score in scores]\n"
    "total = sum(scores)\nratio = largest / total\nprint(mean_score, spread, ratio)\nroot = math.sqrt(total)\n"
    "doubled = [score * 2 for score in scores]\nsmallest = min(doubled)\nshare = smallest / total\nlabels = list('abcd')\n"
)
STEPS = (1, 5, 20)
KEY_MS = 40
WATCH = """() => {
  window.fimSeen = { pressed: 0, first: null, blocked: [], keys: 0 };
  document.addEventListener('keydown', () => {
    fimSeen.pressed = performance.now();
    fimSeen.first = null;
    fimSeen.keys += 1;
  }, true);
  new MutationObserver(() => {
    const ghosts = [...document.querySelectorAll('.jp-GhostText:not(.jp-GhostText-letterSpacer)')];
    if (fimSeen.first === null && ghosts.some((each) => each.textContent)) {
      requestAnimationFrame(() => { fimSeen.first ??= performance.now(); });
    }
  }).observe(document.body, { childList: true, subtree: true, characterData: true });
  new PerformanceObserver((list) => {
    for (const each of list.getEntries()) fimSeen.blocked.push(Math.round(each.duration));
  }).observe({ type: 'longtask' });
}"""
SOURCE = """() => {
  const copy = [...document.querySelectorAll('.jp-Notebook .jp-Cell')].at(-1).querySelector('.cm-content').cloneNode(true);
  copy.querySelectorAll('[class*=jp-GhostText]').forEach((each) => each.remove());
  return [...copy.querySelectorAll('.cm-line')].map((line) => line.textContent).join('\\n');
}"""


def measured(page, step, times, text):
    """Type so many characters, pause, and wait for ghost text; return the milliseconds after the pause's end."""
    found, missed, position = [], 0, 0
    for _ in range(times):
        # The pause comes in a line, and not behind blanks that end one: there is something to go on with.
        piece = text[position : position + step]
        position += step
        if not piece:
            break
        page.page.keyboard.type(piece, delay=KEY_MS)
        page.page.evaluate("() => { fimSeen.first = null; }")
        try:
            page.page.wait_for_function("() => fimSeen.first !== null && fimSeen.first > fimSeen.pressed", timeout=4000)
        except NoGhostError:
            missed += 1
            continue
        seen = page.page.evaluate("() => fimSeen")
        found.append(round(seen["first"] - seen["pressed"]))
    return found, missed, text[:position]


def flags():
    """The processor's, as Linux names them: they decide how fast it computes."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.is_file() else ""
    name = re.search(r"model name\s*: (.*)", text)
    held = re.search(r"^flags\s*: (.*)", text, re.MULTILINE)
    wanted = ("avx2", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "avx_vnni")
    return {
        "processor": name[1] if name else platform.processor(),
        "cores": os.cpu_count(),
        "flags": [flag for flag in wanted if held and flag in held[1].split()],
    }


def summary(found, pause):
    after = sorted(max(value - pause, 0) for value in found)
    if not after:
        return {}
    p95 = after[min(len(after) - 1, round(0.95 * (len(after) - 1)))]
    return {"median_ms": statistics.median(after), "p95_ms": p95, "count": len(after), "all_ms": after}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--times", type=int, default=8)
    parser.add_argument("--pause", type=int, default=250, help="of the provider's settings, in ms")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as folder:
        browser = driver.chromium.launch(executable_path=chromium_path(), args=CHROMIUM_FLAGS)
        server = Server(Path(folder))
        try:
            cells = [CELL.format(n=n) for n in range(1, 28)]
            server.write("latency.ipynb", SETUP.format(model=arguments.model), READY, *cells, "")
            page = Page(server, browser, "lab", "latency.ipynb")
            page.run_whole(0)
            page.run_whole(1)
            page.page.get_by_text("ready", exact=True).wait_for(timeout=120_000)
            for index in range(2, 29):
                page.run(index)
            page.wait_run(28)
            page.page.evaluate(WATCH)
            page.cells.nth(29).locator(".cm-content").click()
            time.sleep(1)
            report = {"model": arguments.model, "pause_ms": arguments.pause, **flags(), "cells": 30, "after": {}}
            for step in STEPS:
                page.page.keyboard.press("Control+a")
                page.page.keyboard.press("Backspace")
                found, missed, typed = measured(page, step, arguments.times, TYPED)
                is_whole = page.page.evaluate(SOURCE).rstrip() == typed.rstrip()
                report["after"][str(step)] = {
                    **summary(found, arguments.pause),
                    "without_ghost": missed,
                    "all_keys_arrived": is_whole,
                }
                print(step, report["after"][str(step)], flush=True)
            seen = page.page.evaluate("() => fimSeen")
            report["blocked_ms"] = sorted(seen["blocked"])[-10:]
            arguments.out.write_text(json.dumps(report, indent=2) + "\n")
            print(json.dumps({name: report[name] for name in ("processor", "flags", "blocked_ms")}))
        finally:
            server.shut_kernels_down()
            server.stop()
            browser.close()


if __name__ == "__main__":
    main()
