"""Makes the pictures of README and manual, from a real run of the real model: `python tests/browser/pictures.py`.

JupyterLab runs headless, in the light theme and in the dark one. Of the light one there is an animation, too.
"""

from __future__ import annotations

import io
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from conftest import CHROMIUM_FLAGS, ROOT, Page, Server, chromium_path
from PIL import Image
from playwright.sync_api import sync_playwright

IMAGES = ROOT / "notebooks" / "images"
SETUP = "%load_ext fim_magic\n%fim use qwen2.5-coder-0.5b"
CELL = (
    "%%fim\n"
    "def most_common_words(path, n):\n"
    '    """Return the n most common words of a text file, with their counts."""\n'
    "    <cursor>\n"
    "    return counts.most_common(n)"
)
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
SIZE = {"width": 860, "height": 640}
COLOURS = 64  # enough for text, and small
LAST_FRAME_MS = 3000


def main() -> None:
    """Make all pictures."""
    server = Server(Path(tempfile.mkdtemp()))
    try:
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium_path(), args=CHROMIUM_FLAGS)
            for name, theme in THEMES.items():
                server.set_theme(theme)
                picture(server, browser, name)
    finally:
        server.shut_kernels_down()
        server.stop()


def picture(server: Server, browser, name: str) -> None:
    """Run the cell in one theme, and keep what it looks like."""
    server.write(f"{name}.ipynb", SETUP, CELL)
    page = Page(server, browser, "lab", f"{name}.ipynb")
    page.page.set_viewport_size(SIZE)
    page.page.keyboard.press("Control+b")  # without the side bar
    page.run_whole(0)
    page.page.get_by_text("is loaded on").wait_for(timeout=120_000)
    page.page.locator(".jp-Cell").nth(0).evaluate("cell => cell.remove()")  # the picture is of the other
    page.cells.nth(0).locator(".cm-content").click()
    if name == "light":
        animate(page)
        page.button("Undo").click()
        page.wait_cells(1)
        page.cells.nth(0).locator(".cm-content").click()
    page.page.keyboard.press("Control+Enter")  # nobody takes pictures meanwhile, which would slow it down
    page.page.get_by_text("filling the hole").wait_for()
    page.button("More").wait_for()  # which is there when no further answer is on its way
    page.page.mouse.move(0, 0)
    page.page.wait_for_timeout(500)
    page.page.screenshot(path=IMAGES / f"diff-view-{name}.png", clip=area(page))
    page.close()


def animate(page: Page) -> None:
    """Fill the cell and accept the answer, with a picture every moment."""
    frames = [shot(page)]
    page.page.keyboard.press("Control+Enter")
    began = time.monotonic()
    while page.toolbar.count() == 0 and time.monotonic() - began < 60:
        frames.append(shot(page))
    page.toolbar.wait_for()
    page.page.wait_for_timeout(500)
    frames.append(shot(page))
    page.toolbar.focus()
    page.page.keyboard.press("Tab")
    page.note.wait_for()
    page.page.wait_for_timeout(500)
    page.cells.nth(1).scroll_into_view_if_needed()
    frames.append(shot(page))
    times = [at for _, at in frames]
    lasts = [round(1000 * (after - before)) for before, after in pairwise(times)] + [LAST_FRAME_MS]
    lasts[0] = lasts[-2] = LAST_FRAME_MS // 2  # time to read the question, and the answer
    reduced = [frame.quantize(COLOURS) for frame, _ in frames]
    reduced[0].save(
        IMAGES / "filling.gif", save_all=True, append_images=reduced[1:], duration=lasts, loop=0, optimize=True
    )


def area(page: Page) -> dict[str, float]:
    """The notebook's part of the page."""
    return page.page.locator(".jp-Notebook").first.bounding_box()


def shot(page: Page) -> tuple[Image.Image, float]:
    """A frame, and when it was taken."""
    taken = page.page.screenshot(clip=area(page))
    return Image.open(io.BytesIO(taken)).convert("RGB"), time.monotonic()


if __name__ == "__main__":
    main()
