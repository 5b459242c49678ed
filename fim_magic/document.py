"""Text with a cursor marker <-> what stands before and after the hole.

Exactly the marker is removed. No whitespace around it is touched, because in Python, and in every FIM model's
training data, whitespace around the hole is part of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fim_magic.errors import MarkerError
from fim_magic.line_ends import line_end_of, with_lf, with_line_ends
from fim_magic.markers import MARKERS, marked_places, no_marker, too_many
from fim_magic.unicode_text import check_whole, without_mark


@dataclass(frozen=True)
class Document:
    """A text with one hole.

    Attributes:
        prefix: Everything before the hole, exactly as the user wrote it.
        suffix: Everything after the hole, exactly as the user wrote it.
        marker: The marker that stood at the hole, or "" where the hole is the end of the text.
        holes: How many holes the user made. The text between several is part of the middle: see `MultiHoleDocument`.
        language: What the text is in, as `languages.of_file` calls it; "" for a cell, whose magic says it.
        replaced: What stood in the hole, and goes where it is filled: a selection. No model sees it.
    """

    prefix: str
    suffix: str
    marker: str = ""
    holes: int = 1
    language: str = ""
    replaced: str = ""

    def rebuild(self, middle: str) -> str:
        r"""Return the whole text with `middle` in the hole.

        A text whose lines end in CR LF, or in CR alone, gets a middle whose lines do too; models write LF. The middle
        of several holes holds text of the user's, so it is taken as it is.
        """
        if self.holes == 1:
            middle = with_line_ends(middle, line_end_of(self.prefix, self.suffix))
        return self.prefix + middle + self.suffix

    def for_model(self) -> Document:
        r"""Return the document as models know it: with LF line ends, and without a byte order mark.

        A `\r` beside a sentinel is out of distribution for every family; it made CodeLlama fail on Windows
        (ex3ndr/llama-coder, pull request 34). The checks read the text so as well: Python takes a mark in the text for
        a character of the code.
        """
        prefix, suffix = with_lf(without_mark(self.prefix)), with_lf(self.suffix)
        return self if (prefix, suffix) == (self.prefix, self.suffix) else replace(self, prefix=prefix, suffix=suffix)

    @property
    def as_typed(self) -> str:
        """The whole text as the user has it: with the marker in the hole, or with what is to be replaced there."""
        return self.prefix + (self.replaced or self.marker) + self.suffix

    @property
    def hole_begins_line(self) -> bool:
        """Whether nothing but indentation stands before the hole on its line."""
        return not self.prefix.rpartition("\n")[2].strip()


def parse(
    text: str, markers: Sequence[str] = MARKERS, *, required: bool = True, every: bool = False, language: str = ""
) -> Document:
    """Split `text` at its cursor marker. `holes.parse` takes several.

    Args:
        text: Source text in any script, with one marker.
        markers: The markers to look for. Where one contains another, the longer is recognised.
        required: When False, a text without a marker has its hole at its end (left-to-right completion).
        every: Each occurrence of a marker counts: as for `marked_places`.
        language: What the text is in, as `languages.of_file` calls it; "" for a cell.

    Raises:
        MarkerError: There is no marker and one is required; or there are two, of one kind or of different kinds.
        UnreadableTextError: The text holds half a character.
    """
    check_whole(text)
    found = marked_places(text, markers, completes=not required, every=every, language=language)
    if not found:
        if required:
            raise MarkerError(no_marker(markers))
        return Document(text, "", language=language)
    if len(found) > 1:
        rule = "one hole is filled at a time" if required else "a completion goes on from one"
        raise MarkerError(too_many(text, found, rule))
    position, marker = found[0]
    return Document(text[:position], text[position + len(marker) :], marker, language=language)
