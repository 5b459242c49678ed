"""What is said of a cell that was to be filled, and is not, since its magic is mistyped or in the wrong place.

IPython would say "SyntaxError: invalid syntax" of the marker. A cell without a marker of ours is never looked at.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence

from fim_magic.languages import PYTHON
from fim_magic.line_ends import lines_with_ends
from fim_magic.markers import FILLING_MAGICS, Place, occurrences
from fim_magic.quoted import quoted_positions

_MAGIC = re.compile(r"(?P<signs>%+)[ \t]*(?P<name>\w*)")
_OURS = re.compile(rf"^[ \t]*({'|'.join(FILLING_MAGICS)})\b", re.MULTILINE | re.IGNORECASE)
_UNSEEN = "\ufeff\u200b\u200c\u200d\u2060\xa0 \t\f\r\n"  # the first of these are copied with a text from a page
_NAMES = ("fim", "complete", "infill", "fill")
_ALIKE = 0.7


class MistypedMagic:
    """An input transformer of IPython's: it refuses a cell that was to be filled, and leaves every other as it is.

    Args:
        markers: Returns the texts that mark a hole.
        is_magic: Whether there is a cell magic of a name.
        auto: Returns whether a marker alone is enough.
        error: What is raised with the paragraph; the shell shows it without a traceback.
    """

    has_side_effects = True  # so that IPython does not ask it, at each key, whether the input is complete

    def __init__(
        self,
        markers: Callable[[], Sequence[str]],
        is_magic: Callable[[str], bool],
        auto: Callable[[], bool],
        error: type[Exception],
    ) -> None:
        self._markers = markers
        self._is_magic = is_magic
        self._auto = auto
        self._error = error

    def __call__(self, lines: list[str]) -> list[str]:
        """Return a cell's lines as they are.

        Raises:
            Exception: The one that was given: what to type instead.
        """
        told = explain("".join(lines), self._markers(), self._is_magic, auto=self._auto())
        if told:
            raise self._error(told)
        return lines


def explain(cell: str, markers: Sequence[str], is_magic: Callable[[str], bool], *, auto: bool = False) -> str:
    """Return what to type instead of a cell that was to be filled, or "" where nothing is to be said.

    Args:
        cell: As it was typed.
        markers: The texts that mark a hole.
        is_magic: Whether there is a cell magic of a name.
        auto: Whether a marker alone is enough.
    """
    found = occurrences(cell, markers)
    if not found:
        return ""
    from fim_magic.checks import parses  # not with %load_ext

    lines = [line for line in lines_with_ends(cell) if line.strip(_UNSEEN)]
    first = lines[0] if lines else ""
    magic = _MAGIC.match(first.strip(_UNSEEN))
    if magic is not None and len(magic["signs"]) > 1:
        return _of_first_line(first, magic, is_magic)
    ours = _below(cell, found)
    if ours:
        return ours
    code = next((line.strip() for line in lines if not line.lstrip().startswith("#")), "")
    magic = _MAGIC.match(code)
    is_command = magic is not None and magic["name"].lower() in _NAMES
    quoted = quoted_positions(cell, found, PYTHON)
    shown = [place for place in found if place[0] not in quoted]
    if not shown or (auto and not is_command) or parses(cell).passed is not False:
        return ""
    if is_command and magic is not None:
        return (
            f"{magic.group()} with one % is a command, and fills nothing. To fill the hole at {shown[0][1]}, begin the "
            "cell with %%fim, and give each command a cell of its own."
        )
    return (
        f"{shown[0][1]} in this cell marks a hole that fim-magic can fill, but the cell does not begin with %%fim, so "
        "that Python takes the marker for code. To fill it, put a line with %%fim above all others; %fim auto on fills "
        "every cell with a marker."
    )


def _of_first_line(line: str, magic: re.Match[str], is_magic: Callable[[str], bool]) -> str:
    """What is to be said of a cell that begins with a cell magic, or almost."""
    seen = line.strip(_UNSEEN)
    name = seen[2:].partition(" ")[0]  # as IPython reads it
    if is_magic(name):
        if line.startswith("%%"):
            return ""
        before = "white space" if line[0].isspace() else f"an invisible character (U+{ord(line[0]):04X})"
        return (
            f"Before %%{name} stands {before}, so that IPython sees no magic. Delete it: the cell has to begin with %%."
        )
    own = magic["name"]
    if is_magic(own) and magic.group() == f"%%{own}":
        asks_for_help = name == f"{own}?"
        behind = f"Directly behind %%{own} stands something else than a space, so that IPython sees another magic. "
        return "" if asks_for_help or own not in _NAMES else f"{behind}Put a space there: %%{own} -n 3"
    alike = difflib.get_close_matches(own.lower(), _NAMES, 1, _ALIKE)
    meant = "%%complete" if alike[:1] == ["complete"] else "%%fim"
    return f"There is no magic {magic.group()}. To fill the hole in this cell, begin it with {meant}." if alike else ""


def _below(cell: str, found: Sequence[Place]) -> str:
    """What is to be said of a cell that has the magic in a line below its first."""
    ours = [(match.start(1), match[1]) for match in _OURS.finditer(cell)]
    quoted = quoted_positions(cell, sorted([*found, *ours]), PYTHON) if ours else set()
    for position, magic in ours:
        if position not in quoted:
            return (
                f"{magic} stands below other lines of this cell, and IPython sees a cell magic only in the first. Move "
                f"{magic.lower()} to the top of the cell: comments can stand below it, and other magics in a cell of "
                "their own."
            )
    return ""
