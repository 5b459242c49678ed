"""A hint in the place of an answer, for classrooms: some Python below a line that says what it is."""

from __future__ import annotations

from typing import Any

from fim_magic.frontends import recognise
from fim_magic.review.render import code_html
from fim_magic.visible import plain_lines, say

_TITLES = {"line": "Hint: the first line", "outline": "Hint: what kind of lines they are"}


def show_hint(shell: Any, kind: str, code: str) -> None:
    """Show a hint.

    Args:
        shell: The IPython shell.
        kind: One of `classroom.HINTS`.
        code: As of `classroom.hint`; "" where the model has written nothing.
    """
    title = _TITLES[kind] if code else "No hint: the model has written nothing."
    plain = plain_lines(f"{title}\n{code}")
    if not recognise(shell).has_kernel:
        say(plain)
        return
    from IPython.display import publish_display_data

    publish_display_data({"text/html": code_html(title, code), "text/plain": plain})
