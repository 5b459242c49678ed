"""Text with a cursor marker <-> what stands before and after the hole.

Exactly the marker is removed. No whitespace around it is touched, because in Python, and in every FIM model's
training data, whitespace around the hole is part of the answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fim_magic.errors import MarkerError

MARKERS: tuple[str, ...] = ("<cursor>", "<|cursor|>", "<FILL_ME>", "<游標在這>", "█")
"""The markers that are recognised unless the user sets others. The first is the one in the documentation."""


@dataclass(frozen=True)
class Document:
    """A text with one hole.

    Attributes:
        prefix: Everything before the hole, exactly as the user wrote it.
        suffix: Everything after the hole, exactly as the user wrote it.
        marker: The marker that stood at the hole, or "" where the hole is the end of the text.
        holes: How many holes the user made. The text between several is part of the middle: see `MultiHoleDocument`.
        language: What the text is in, as `languages.of_file` calls it; "" for a cell, whose magic says it.
    """

    prefix: str
    suffix: str
    marker: str = ""
    holes: int = 1
    language: str = ""

    def rebuild(self, middle: str) -> str:
        r"""Return the whole text with `middle` in the hole.

        A text whose lines end in CR LF gets a middle whose lines do too; models write LF. The middle of several holes
        holds text of the user's, so it is taken as it is.
        """
        if self.holes == 1 and self._has_crlf:
            middle = with_crlf(middle)
        return self.prefix + middle + self.suffix

    def for_model(self) -> Document:
        r"""Return the document as models know it: with LF line ends.

        A `\r` beside a sentinel is out of distribution for every family; it made CodeLlama fail on Windows
        (ex3ndr/llama-coder, pull request 34).
        """
        if not self._has_crlf:
            return self
        prefix, suffix = (text.replace("\r\n", "\n") for text in (self.prefix, self.suffix))
        return replace(self, prefix=prefix, suffix=suffix)

    @property
    def hole_begins_line(self) -> bool:
        """Whether nothing but indentation stands before the hole on its line."""
        return not self.prefix.rpartition("\n")[2].strip()

    @property
    def _has_crlf(self) -> bool:
        return "\r\n" in self.prefix or "\r\n" in self.suffix


def with_crlf(text: str) -> str:
    return re.sub(r"(?<!\r)\n", "\r\n", text)


def parse(text: str, markers: Sequence[str] = MARKERS, *, required: bool = True) -> Document:
    """Split `text` at its cursor marker. `holes.parse` takes several.

    Args:
        text: Source text in any script, with one marker.
        markers: The markers to look for. Where one contains another, the longer is recognised.
        required: When False, a text without a marker has its hole at its end (left-to-right completion).

    Raises:
        MarkerError: There is no marker and one is required; or there are two, of one kind or of different kinds.
    """
    found = occurrences(text, markers)
    if not found:
        if required:
            raise MarkerError(no_marker(markers))
        return Document(text, "")
    if len(found) > 1:
        rule = "one hole is filled at a time" if required else "a completion goes on from one"
        raise MarkerError(too_many(text, found, rule))
    position, marker = found[0]
    return Document(text[:position], text[position + len(marker) :], marker)


def occurrences(text: str, markers: Sequence[str]) -> list[tuple[int, str]]:
    """Return where in `text` a marker begins, and which, in order. Where one contains another, the longer is found."""
    pattern = "|".join(map(re.escape, sorted(filter(None, markers), key=len, reverse=True)))
    return [(match.start(), match.group()) for match in re.finditer(pattern, text)] if pattern else []


def no_marker(markers: Sequence[str]) -> str:
    """Say that there is no hole, and how to make one."""
    first, *others = markers or MARKERS
    known = ", ".join(others)
    return (
        f"There is no cursor marker in the text, so there is nothing to fill. Put {first} where the code should go"
        + (f" (also known: {known})" if known else "")
        + ". To continue from the end of the text instead, use %%complete."
    )


def too_many(text: str, found: Sequence[tuple[int, str]], rule: str) -> str:
    """Say where the markers are that are too many, and the `rule` that they break, as a clause."""
    places = "; ".join(f"{marker} in {line_and_column(text, position)}" for position, marker in found)
    kinds = {marker for _, marker in found}
    what = "different cursor markers" if len(kinds) > 1 else "cursor markers"
    return (
        f"There are {len(found)} {what}, and {rule}: {places}. "
        "Keep the one where the code should go. If a marker is part of your code, use another one for the hole."
    )


def line_and_column(text: str, position: int) -> str:
    """Say where in `text` a character stands: "line 2, column 5"."""
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return f"line {line}, column {column}"
