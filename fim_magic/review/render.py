"""A diff as HTML, as plain text, and with a terminal's colours, and what stands below it: `caption`, `details`.

The HTML has to be read in many places: live in JupyterLab, reopened from a file, exported, and on
sites that strip every style. So its meaning is in its text and tags (`+` and `~` in the gutter,
`<ins>`), and the style only makes it pleasant. Code is untrusted text: all of it goes through
`review.text`.
"""

from __future__ import annotations

import math
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cache
from html import escape
from itertools import chain, count
from pathlib import Path

from fim_magic.columns import clipped, columns_of
from fim_magic.line_ends import lines_with_ends, without_end
from fim_magic.review.diff import Gap, Kind, Line, Removed, Row, Segment, writing_at
from fim_magic.review.highlight import python_spans
from fim_magic.review.text import DIM, RESET, html_text
from fim_magic.visible import plain_lines, plain_text

MARKS: dict[Kind, str] = {"same": " ", "added": "+", "changed": "~"}
"""What stands in the gutter."""

REMOVED = "-"
"""What stands there beside a line as it was, of which a part or all is taken away."""

OPEN, CLOSE = "⟦", "⟧"
"""What stands around the new part of a changed line where there are no colours."""

NO_MATHS = ("mathjax_ignore", "tex2jax_ignore")
"""Classes of what holds names, checks or errors: they may have `$`, which MathJax (3 and 2) must not typeset."""

VIEW = " ".join(("fim-view", *NO_MATHS))
"""The classes of everything that is drawn."""

_STATIC = Path(__file__).parent / "static"
_UNDECIDED = "Not decided before the kernel ended. Run the cell again to be asked again."
_GREEN = "\x1b[30;42m"
_RED = "\x1b[30;41m"
_TAB = " " * 4


def to_html(
    rows: Sequence[Row],
    caption: str,
    *,
    live: bool = False,
    details: str = "",
    others: Sequence[tuple[Sequence[Row], str]] = (),
    unfolded: bool = False,
) -> str:
    """Draw a diff as one HTML element without scripts.

    Args:
        rows: The lines of the diff, as `elided` gives them.
        caption: The line below it.
        live: Draw a caret where the model is writing.
        details: HTML of what is folded away behind that line: `details.details_html`.
        others: Further candidates, rows and title of each: folded away behind the details.
        unfolded: Show the details at once.
    """
    folded = details + "".join(map(_other, others))
    if folded:
        shown = f'<span class="fim-caption">{html_text(caption)}</span> <span class="fim-more">Details</span>'
        summary = f"<summary><small>{shown}</small></summary>"
        below = f'<details class="fim-other"{" open" if unfolded else ""}>{summary}{folded}</details>'
    else:
        below = f'<p class="fim-caption"><small>{html_text(caption)}</small></p>'
    return f'<div class="{VIEW}"><style>{styles()}</style>{_block(rows, live=live)}{below}</div>'


def _other(other: tuple[Sequence[Row], str]) -> str:
    rows, title = other
    summary = f"<summary><small>{html_text(title)}</small></summary>"
    return f'<details class="fim-other fim-candidate">{summary}{_block(rows)}</details>'


def to_text(rows: Sequence[Row], caption: str = "", details: str = "") -> str:
    """Draw a diff as plain text, with its line below it, and all the rest if it is given: `details.details_text`.

    As in a unified diff, `+` is before an added line and two blanks before an unchanged one. `~` is
    before a line of the user's that got new text, which stands between ⟦ and ⟧. `-` is before one as it was, where
    text of it is replaced: that stands between the same brackets where the rest of the line stays.
    """
    return "\n".join([*map(_text_row, rows), *_below(caption, details)])


def to_ansi(rows: Sequence[Row], caption: str = "", details: str = "", *, width: int | None = None) -> str:
    """Draw a diff for a terminal: as `to_text`, with a green ground for what is new.

    Lines are clipped to `width` columns, if that is given. There are no escape sequences if the environment has
    NO_COLOR (https://no-color.org).
    """
    plain = bool(os.environ.get("NO_COLOR"))
    drawn = ["".join(_terminal_row(row, width, plain=plain)) for row in rows]
    drawn += [f"{DIM}{line}{RESET}" if line and not plain else line for line in _below(caption, details)]
    return "\n".join(drawn)


def _below(caption: str, details: str) -> Iterator[str]:
    """Yield the lines below a diff as plain text."""
    if caption:
        yield from ("", plain_text(caption))
    if details:
        yield from plain_lines(details).split("\n")


def code_html(title: str, code: str) -> str:
    """Draw some Python below a line that says what it is."""
    lines = [
        Line(number, (Segment(text, added=False),), "same") for number, text in enumerate(lines_with_ends(code), 1)
    ]
    return (
        f'<div class="{VIEW}"><style>{styles()}</style>'
        f'<p class="fim-caption"><small>{html_text(title)}</small></p>{_block(lines)}</div>'
    )


def note_html(text: str, anchor: str = "") -> str:
    """Draw what became of a diff, as one small line, with `anchor` as a CSS class by which the page finds it."""
    return (
        f'<div class="{VIEW}"><style>{styles()}</style>'
        f'<p class="{escape(f"fim-note {anchor}".strip())}" role="status"><small>{html_text(text)}</small></p></div>'
    )


def undecided() -> dict[str, str]:
    """Return, by MIME type, what stands in the place of buttons whose kernel has ended."""
    return {"text/html": note_html(_UNDECIDED), "text/plain": _UNDECIDED}


@cache
def styles(*names: str) -> str:
    """Return the style sheets of these names as one line, the diff's first. They go into the HTML that they are for."""
    read = ((_STATIC / f"{name}.css").read_text("utf-8").splitlines() for name in ("diff", *names))
    lines = (line.split("/*", 1)[0].strip() for line in chain.from_iterable(read))
    return " ".join(filter(None, lines))


def _block(rows: Sequence[Row], *, live: bool = False) -> str:
    lines = [row for row in rows if isinstance(row, Line)]
    width = len(str(lines[-1].number)) if lines else 1
    colours = _Colours(lines)
    number, hole = (writing_at(lines) if live else None) or (None, None)
    body = "".join(
        _html_gap(row, width)
        if isinstance(row, Gap)
        else _html_removed(row, width)
        if isinstance(row, Removed)
        else _html_line(row, width, colours, caret=hole if row.number == number else None)
        for row in rows
    )
    return f'<pre class="fim-diff">{body}</pre>'


def _html_line(line: Line, width: int, colours: _Colours, *, caret: int | None) -> str:
    """Draw a line, with a caret behind the added segment of this number."""
    parts: list[str] = []
    start = colours.start_of(line)
    holes = count()
    for segment in line.visible():
        coloured = "".join(colours.cut(start, segment.text))
        start += len(segment.text)
        if not segment.added:
            parts.append(coloured)
            continue
        if coloured:
            parts.append(f"<ins>{coloured}</ins>")
        if next(holes) == caret:
            parts.append('<i class="fim-caret"></i>')
    gutter = f"{line.number:>{width}} {MARKS[line.kind]} "
    return (
        f'<span class="fim-line fim-{line.kind}"><span class="fim-gutter">{gutter}</span>'
        f'<span class="fim-code">{"".join(parts)}\n</span></span>'
    )


def _html_removed(row: Removed, width: int) -> str:
    gone = html_text(without_end(row.text))
    before, after = html_text(row.before), html_text(without_end(row.after))
    return (
        f'<span class="fim-line fim-removed"><span class="fim-gutter">{" " * width} {REMOVED} </span>'
        f'<span class="fim-code">{before}<del>{gone}</del>{after}\n</span></span>'
    )


def _html_gap(gap: Gap, width: int) -> str:
    return (
        f'<span class="fim-line fim-gap"><span class="fim-gutter">{" " * width} ⋯ </span>'
        f'<span class="fim-code">{gap.count} unchanged lines\n</span></span>'
    )


class _Colours:
    """The colour of each place in the shown lines."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._starts: dict[int, int] = {}
        start = 0
        for line in lines:
            self._starts[line.number] = start
            start += len(line.text)
        # What is in a gap is not read, so a long string that begins there is not seen as one. It is
        # only a colour.
        spans = list(python_spans("".join(line.text for line in lines)))
        self._names = [name for name, _ in spans]
        self._ends = [end for _, end in spans]

    def start_of(self, line: Line) -> int:
        return self._starts[line.number]

    def cut(self, start: int, text: str) -> Iterator[str]:
        """Yield the HTML of `text`, which begins at `start`."""
        begin, stop = start, start + len(text)
        span = bisect_right(self._ends, begin)
        while begin < stop:
            end = min(self._ends[span], stop)
            piece = html_text(text[begin - start : end - start])
            yield (f'<span class="fim-{self._names[span]}">{piece}</span>' if self._names[span] else piece)
            begin = end
            span += 1


def _pieces(row: Row) -> Iterator[tuple[str, bool]]:
    """Yield the text of a row without colours, in pieces that are new or not."""
    if isinstance(row, Gap):
        yield f"  ⋯ {row.count} unchanged lines", False
        return
    if isinstance(row, Removed):
        yield f"{REMOVED} ", False
        for text, is_gone in ((row.before, False), (row.text, True), (row.after, False)):
            if without_end(text):
                yield plain_text(without_end(text)), is_gone
        return
    yield f"{MARKS[row.kind]} ", False
    for segment in row.visible():
        if segment.text:
            yield plain_text(segment.text), segment.added


def _bracketed(row: Row) -> Iterator[tuple[str, bool]]:
    is_changed = isinstance(row, Line) and row.kind == "changed"
    if isinstance(row, Removed):
        is_changed = bool((row.before + row.after).strip())
    for text, added in _pieces(row):
        yield (f"{OPEN}{text}{CLOSE}" if added and is_changed else text), added


def _text_row(row: Row) -> str:
    return "".join(text for text, _ in _bracketed(row)).rstrip(" ")


def _terminal_row(row: Row, width: int | None, *, plain: bool) -> Iterator[str]:
    room = math.inf if width is None else width
    for text, added in _bracketed(row) if plain else _pieces(row):
        shown = clipped(text.replace("\t", _TAB), room)
        room -= columns_of(shown)
        colour = _RED if isinstance(row, Removed) else _GREEN
        yield f"{colour}{shown}{RESET}" if added and shown and not plain else shown
