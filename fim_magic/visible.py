"""Text for people: nothing in it drives a terminal, reorders what is read or cannot be seen. All that is printed is.

A model's answer, a file, a folder's name or a checkpoint's configuration may hold any character. Those that could
hide text from its reader or act on a terminal are shown by name, as `<U+202E>`. Some of them are part of how people
write: joiners within a word of Persian, Hindi or Burmese, variation selectors behind an emoji or an ideograph. Those
stay where the character before them is one that they are made for, and are named everywhere else. A page and a
terminal have the same table.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from fim_magic.streams import is_tty, put, write

# Arabic, Syriac, Thaana, N'Ko, Mandaic; Devanagari to Sinhala; Tibetan, Myanmar, Khmer, Mongolian and their kin.
_JOINED = (
    "\u0620-\u07ff\u0840-\u085f\u0860-\u08ff\u0900-\u0dff\u0f40-\u0fbc\u1000-\u109f\u1780-\u17b3\u17b6-\u17d3"
    "\u1820-\u18aa\u1a20-\u1aad\u1b00-\u1b4c\ua840-\ua871\ua8e0-\ua8ff\ua9e0-\ua9fe\uaa60-\uaa7f\uabc0-\uabed"
    "\ufb50-\ufdfb\ufe70-\ufefc\U00010d00-\U00010d27\U00011000-\U00011a9f\U0001e900-\U0001e943"
)
_UNSPACED = "\u0e01-\u0e4e\u0e81-\u0ecd\u1000-\u109f\u1780-\u17b3\u17b6-\u17d3"  # Thai, Lao, Myanmar, Khmer
_EMOJI = (
    "\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u24c2\u25a0-\u27bf\u2900-\u297f\u2b00-\u2bff"
    "\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
)
_IDEOGRAPHS = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_MARKS = "\u0300-\u034e\u0350-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f"
_GLYPHS = "\U00013000-\U0001342f"  # hieroglyphs
_PLANE_ENDS = "".join(chr(plane << 16 | last) for plane in range(1, 17) for last in (0xFFFE, 0xFFFF))

# C0 and C1 controls but the tab; marks that reorder; what takes no room and what looks like a blank and is a letter;
# notes between lines, tags; lone surrogates, which no UTF-8 file can hold, and codes that are no characters.
_UNSEEN = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u2800\u3164\ud800-\udfff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffc\ufffe\uffff"
    f"\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff{_PLANE_ENDS}]"
)

# What of these people write, and where.
_WRITTEN = re.compile(
    "|".join(
        (
            rf"(?<=[{_JOINED}])[\u200c\u200d]",
            rf"(?<=[{_UNSPACED}])\u200b(?=[{_UNSPACED}])",
            rf"(?:(?<=[{_EMOJI}])|(?<=[{_EMOJI}]\ufe0f))\u200d(?=[{_EMOJI}])",
            rf"(?<=[{_EMOJI}])[\ufe0e\ufe0f]",
            r"(?<=[0-9#*])\ufe0f(?=\u20e3)",  # a key
            rf"(?<=[{_IDEOGRAPHS}])[\ufe00-\ufe02\U000e0100-\U000e01ef]",
            r"(?<=[\u2205-\u2aff])\ufe00",  # a sign of mathematics
            r"(?<=[\u1000-\u109f\uaa60-\uaa7f])\ufe00",
            r"(?<=[\u1820-\u18aa])[\u180b-\u180d\u180f]",
            r"(?<=\U0001f3f4)[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f",  # the flag of a region
            r"\u115f(?=[\u1161-\u11a7])|(?<=[\u1100-\u115e\ua960-\ua97c])\u1160",  # a syllable of old Hangul
            rf"\u034f(?=[{_MARKS}])",
            r"(?<=[\u2801-\u28ff])\u2800|\u2800(?=[\u2801-\u28ff])",  # Braille's blank
            rf"(?<=[{_GLYPHS}])[\U00013430-\U0001343f]|[\U00013430-\U0001343f](?=[{_GLYPHS}])",  # a group of them
        )
    )
)

_COLOUR = re.compile(r"(\x1b\[(?:[012]|30;\d{2,3})m)")
"""What is drawn with here: black on a ground, bold, dim, and their end. Others could hide text."""


def parts(text: str) -> Iterator[tuple[str, bool]]:
    """Cut a text into what is shown as it is, and single characters that are shown by name: each with whether it is."""
    end, written_to = 0, 0
    for match in _UNSEEN.finditer(text):
        start = match.start()
        written = None if start < written_to else _WRITTEN.match(text, start)
        if written is not None:
            written_to = written.end()
        if start < written_to:
            continue
        if end < start:
            yield text[end:start], False
        yield match.group(), True
        end = match.end()
    if end < len(text):
        yield text[end:], False


def name_of(character: str) -> str:
    """Return the name by which a character is shown. A line end gets here only where it is itself what is shown."""
    return "↵" if character == "\n" else f"<U+{ord(character):04X}>"


def plain_text(text: str) -> str:
    """Return `text` for a terminal or a file, with control characters by name. A line end is one of them."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(name_of(part) if is_named else part for part, is_named in parts(text))


def plain_lines(text: str) -> str:
    """Return several lines for a terminal or a file, with all control characters but their ends by name."""
    *lines, last = text.split("\n")
    return "".join([*map(_plain_line, lines), plain_text(last)])


def _plain_line(line: str) -> str:
    return plain_text(line[:-1]) + "\r\n" if line.endswith("\r") else plain_text(line) + "\n"


def say(text: str) -> None:
    """Print text for people, whose lines end with a line feed, on standard output; lost where that takes none."""
    put(sys.stdout, f"{plain_lines(text)}\n")


def notify(text: str) -> None:
    """As [`say`][], on standard error at once: beside a command's output."""
    write(sys.stderr, f"{plain_lines(text)}\n")


def say_in_colour(text: str) -> None:
    """Print what was drawn for a terminal: as [`say`][], but colours stay."""
    pieces = _COLOUR.split(text)
    shown = (piece if number % 2 else plain_lines(piece) for number, piece in enumerate(pieces))
    put(sys.stdout, "".join(shown) + "\n")


def hand_over(text: str) -> None:
    """Write a result on standard output: for a program or a file byte for byte, as UTF-8; on a terminal for people.

    Raises:
        OSError: It cannot be written.
    """
    raw = getattr(sys.stdout, "buffer", None)
    if is_tty(sys.stdout):
        shown = plain_lines(text)
        sys.stdout.write(shown)
        if shown != text:
            notify("Characters that cannot be seen are shown by name here; in a file, they are as they were.")
    elif raw is None:
        sys.stdout.write(text)
    else:
        sys.stdout.flush()
        raw.write(text.encode("utf-8", "surrogatepass"))
