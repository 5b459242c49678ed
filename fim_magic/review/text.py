"""Untrusted text, made fit to be shown on a page.

`visible` says which characters are shown by name, there and on a terminal.
"""

from __future__ import annotations

from html import escape

from fim_magic.visible import name_of, parts

DIM = "\x1b[2m"
RESET = "\x1b[0m"


def html_text(text: str) -> str:
    """Return `text` as HTML, with control characters by name. A line end is one of them."""
    return "".join(
        f'<span class="fim-{"end" if part == chr(10) else "control"}">{escape(name_of(part))}</span>'
        if is_named
        else escape(part)
        for part, is_named in parts(text)
    )


def counted(number: int, what: str) -> str:
    """Return a number of things in words: 1 token, 1,234 tokens."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
