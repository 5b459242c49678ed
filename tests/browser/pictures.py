"""Makes the pictures of README and manual, from a real run of the real model: `python tests/browser/pictures.py`.

JupyterLab runs headless, in the light theme and in the dark one. Of the light one there are animations, too: of `%%fim`, and
of ghost text and F8 at the cursor. A name, such as `python tests/browser/pictures.py cursor`, makes that one alone.
"""

from __future__ import annotations

import io
import sys
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
GIVEN = "scores = [3, 5, 8, 13]"
TYPED = "\nmean_score = "  # after which ghost text comes
FUNCTION = '\n\ndef distinct(words):\n"""The distinct words, in alphabetical order."""\n'  # whose body F8 fills in
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
SIZE = {"width": 860, "height": 640}
COLOURS = 64  # enough for text, and small
LAST_FRAME_MS = 3000


def main(names: list[str]) -> None:
    """Make all pictures, or those of these names."""
    server = Server(Path(tempfile.mkdtemp()))
    try:
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium_path(), args=CHROMIUM_FLAGS)
            for name, theme in THEMES.items():
                server.set_theme(theme)
                if not names or name in names:
                    picture(server, browser, name)
            server.set_theme(THEMES["light"])
            if not names or "cursor" in names:
                animate_cursor(server, browser)
    finally:
        server.shut_kernels_down()
        server.stop()


def picture(server: Server, browser, name: str) -> None:
    """Run the cell in one theme, and keep what it looks like."""
    page = loaded(server, browser, name, CELL)
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


def loaded(server: Server, browser, name: str, cell: str) -> Page:
    """Open a notebook of one cell, with the cursor in it, after the model is loaded."""
    server.write(f"{name}.ipynb", SETUP, cell)
    page = Page(server, browser, "lab", f"{name}.ipynb")
    page.page.set_viewport_size(SIZE)
    page.page.keyboard.press("Control+b")  # without the side bar
    page.run_whole(0)
    page.page.get_by_text("is loaded on").wait_for(timeout=120_000)
    page.page.locator(".jp-Cell").nth(0).evaluate("cell => cell.remove()")  # the picture is of the other
    page.cells.nth(0).locator(".cm-content").click()
    return page


def animate_cursor(server: Server, browser) -> None:
    """Type, take the ghost text that comes, and fill in a body by F8, with a picture every moment."""
    page = loaded(server, browser, "cursor", GIVEN)
    page.page.set_viewport_size({**SIZE, "height": 500})
    keyboard = page.page.keyboard
    keyboard.press("Control+End")
    frames = [shot(page)]

    def type_text(text: str) -> None:
        for at in range(0, len(text), 2):
            keyboard.type(text[at : at + 2])
            frames.append(shot(page))

    type_text(TYPED)
    keyboard.press("Alt+\\")
    ghost = page.page.locator(".jp-GhostText").first
    ghost.wait_for()
    before = ""
    while (text := ghost.text_content()) != before:  # it grows
        before = text
        frames.append(shot(page))
        page.page.wait_for_timeout(1000)
    read = [len(frames) - 1]
    keyboard.press("Tab")
    frames.append(shot(page))
    type_text(FUNCTION)
    keyboard.press("F8")
    while page.toolbar.count() == 0:
        frames.append(shot(page))
    page.button("More").wait_for()
    page.page.wait_for_timeout(500)
    frames.append(shot(page))
    page.button("Replace").click()
    page.note.wait_for()
    read.append(len(frames) - 1)
    page.page.wait_for_timeout(500)
    frames.append(shot(page))
    save("at-the-cursor.gif", frames, read)
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
    save("filling.gif", frames, [0, len(frames) - 2])


def save(name: str, frames: list[tuple[Image.Image, float]], read: list[int]) -> None:
    """Write an animation. Those frames of it are shown longer that hold something to `read`, as is the last."""
    times = [at for _, at in frames]
    lasts = [round(1000 * (after - before)) for before, after in pairwise(times)] + [LAST_FRAME_MS]
    for index in read:
        lasts[index] = LAST_FRAME_MS // 2
    size = max(image.size for image, _ in frames)
    reduced = [grown(image, size).quantize(COLOURS) for image, _ in frames]
    reduced[0].save(IMAGES / name, save_all=True, append_images=reduced[1:], duration=lasts, loop=0, optimize=True)


def grown(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A frame on white, as large as the largest."""
    whole = Image.new("RGB", size, "white")
    whole.paste(image)
    return whole


def area(page: Page) -> dict[str, float]:
    """The notebook's part of the page."""
    return page.page.locator(".jp-Notebook").first.bounding_box()


def shot(page: Page) -> tuple[Image.Image, float]:
    """A frame, and when it was taken."""
    taken = page.page.screenshot(clip=area(page))
    return Image.open(io.BytesIO(taken)).convert("RGB"), time.monotonic()


if __name__ == "__main__":
    main(sys.argv[1:])
