"""Text with a cursor marker <-> what stands before and after the hole.

Exactly the marker is removed. No whitespace around it is touched, because in Python, and in every FIM model's
training data, whitespace around the hole is part of the answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fim_magic.errors import MarkerError
from fim_magic.markers import MARKERS, no_marker, occurrences, too_many


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
