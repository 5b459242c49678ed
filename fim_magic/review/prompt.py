"""A prompt as the model sees it, for people who want to know how infilling works.

Every token is a box of its own; its id is the box's tooltip on a page, and stands under it in a terminal. The pieces
(sentinels, prefix, suffix, context) are coloured apart, spaces and line ends are visible, and the same text in the
family's other order stands beside it. As in `render`, the HTML's meaning is in its text and tags. Its style adds the
marks for white space, so they are not in what is copied.
"""

from __future__ import annotations

import codecs
import os
import re
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fim_magic.columns import columns_of
from fim_magic.formats import Piece, Prompt
from fim_magic.frontends import recognise
from fim_magic.review.render import VIEW, styles
from fim_magic.review.text import DIM, RESET, counted, html_text
from fim_magic.streams import is_terminal
from fim_magic.visible import plain_text, say_in_colour

WIDTH = 100
"""Columns of the plain text where no terminal says how many it has."""

_ORDERS = {"psm": "prefix, suffix, middle", "spm": "suffix, prefix, middle"}
_NAMES = {"sentinel": "sentinel", "context": "context", "text": "template", "prefix": "prefix", "suffix": "suffix"}
"""What the kinds of pieces are called here, in the order in which they are counted."""

_LONGEST = 160  # tokens: a longer piece is shown by its two ends, so that a view has kilobytes and not megabytes
_BUDGET = 800  # tokens that all pieces of one order share, where there are many
_SHORTEST = 8

_GUTTER = 13
_WHITE = re.compile(r"(?P<space> +)|(?P<newline>\n)|(?P<tab>\t)|[^ \n\t]+")
_MARKS = str.maketrans({" ": "␣", "\n": "⏎", "\t": "⇥"})
_BOLD = "\x1b[1m"
# Black on two shades of one colour, by turns. A sentinel has no neighbour.
_SHADES = {
    "sentinel": ("\x1b[30;105m", "\x1b[30;105m"),
    "context": ("\x1b[30;42m", "\x1b[30;102m"),
    "text": ("\x1b[30;47m", "\x1b[30;107m"),
    "prefix": ("\x1b[30;46m", "\x1b[30;106m"),
    "suffix": ("\x1b[30;43m", "\x1b[30;103m"),
}
# Two shades of one colour as well. They stand in the tags, since JupyterLab takes the style out of a notebook that it
# does not trust; half-transparent, they do for light and dark pages alike.
_GROUNDS = {
    "sentinel": ("#a352df57", "#a352df57"),
    "context": ("#1ea0782b", "#1ea07861"),
    "text": ("#80808033", "#80808066"),
    "prefix": ("#1f78eb29", "#1f78eb5c"),
    "suffix": ("#e2880a2e", "#e2880a6b"),
}


class Vocabulary(Protocol):
    """What ids stand for. [`fim_magic.tokenization.TextTokenizer`][] is one."""

    def token_bytes(self, token_id: int) -> bytes: ...

    def decode(self, ids: list[int]) -> str: ...


@dataclass(frozen=True)
class Box:
    """The text of one token and its id; of several, where only all of them together make up a character."""

    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Skipped:
    """Tokens in the middle of a long piece, which are not shown."""

    tokens: int


@dataclass(frozen=True)
class PromptRow:
    """One piece of a prompt.

    Attributes:
        kind: As of [`fim_magic.formats.Piece`][].
        tokens: How many it has.
        boxes: Its tokens.
        taken_back: Text that belongs behind it and was taken back for token healing.
    """

    kind: str
    tokens: int
    boxes: tuple[Box | Skipped, ...]
    taken_back: str = ""


@dataclass(frozen=True)
class PromptColumn:
    """A prompt from its first piece to its last, in one order."""

    heading: str
    rows: tuple[PromptRow, ...]


@dataclass(frozen=True)
class PromptSheet:
    """Everything that is shown of a prompt.

    Attributes:
        title: Whose prompt it is.
        facts: What is to be known of it: a label and a text each.
        columns: The prompt, and the same text in the other order if there is one.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    columns: tuple[PromptColumn, ...]


def lay_out(prompt: Prompt, other: Prompt | None, vocabulary: Vocabulary, title: str) -> PromptSheet:
    """Turn a prompt into what is shown of it.

    Args:
        prompt: What the model is given.
        other: The same text in the other order; None if the model was not trained in another.
        vocabulary: The model's.
        title: The model's name, and what else tells whose prompt it is.
    """
    columns = [
        PromptColumn(_heading(shown, sent=shown is prompt), tuple(_rows(shown, vocabulary)))
        for shown in (prompt, other)
        if shown is not None
    ]
    skips = any(isinstance(box, Skipped) for column in columns for row in column.rows for box in row.boxes)
    return PromptSheet(title, tuple(_facts(prompt, other, vocabulary, skips=skips)), tuple(columns))


def show(shell: Any, sheet: PromptSheet) -> None:
    """Show a prompt: as HTML and text where there is a kernel, else in the terminal."""
    if not recognise(shell).has_kernel:
        print_sheet(sheet)
        return
    from IPython.display import publish_display_data

    publish_display_data({"text/html": to_html(sheet), "text/plain": to_text(sheet)})


def print_sheet(sheet: PromptSheet) -> None:
    """Print a prompt, with colours on a terminal."""
    draws = is_terminal(sys.stdout)
    width = shutil.get_terminal_size((WIDTH, 0)).columns if draws else WIDTH
    say_in_colour((to_ansi if draws else to_text)(sheet, width=width))


def to_html(sheet: PromptSheet) -> str:
    """Draw a prompt as one HTML element without scripts. A token's id is its tooltip."""
    facts = "".join(f"<p><b>{html_text(label)}</b> {html_text(text)}</p>" for label, text in sheet.facts)
    drawn = "".join(map(_html_column, sheet.columns))
    return (
        f'<div class="{VIEW} fim-prompt"><style>{styles("prompt")}</style>'
        f'<p class="fim-title"><b>Prompt</b> {html_text(sheet.title)}</p>'
        f'<div class="fim-facts">{facts}</div><div class="fim-columns">{drawn}</div></div>'
    )


def to_text(sheet: PromptSheet, *, width: int = WIDTH) -> str:
    """Draw a prompt as plain text, in lines of at most `width` columns: under each token stands its id."""
    return "\n".join(_lines(sheet, width, plain=True))


def to_ansi(sheet: PromptSheet, *, width: int = WIDTH) -> str:
    """Draw a prompt for a terminal: as `to_text`, with a ground in the colour of each piece, unless NO_COLOR is set."""
    return "\n".join(_lines(sheet, width, plain=bool(os.environ.get("NO_COLOR"))))


def _heading(prompt: Prompt, *, sent: bool) -> str:
    order = prompt.order.upper() or "Left to right"
    return f"{order}, {counted(len(prompt.ids), 'token')}" + ("" if sent else ", for comparison")


def _facts(prompt: Prompt, other: Prompt | None, vocabulary: Vocabulary, *, skips: bool) -> Iterator[tuple[str, str]]:
    yield "tokens", _totals(prompt)
    yield "order", _order(prompt)
    if prompt.order:
        missing = "SPM" if prompt.order == "psm" else "PSM"
        if other is None:
            yield missing, "the vendor documents none, and answers would be worse"
        else:
            yield missing, "the same text in the other order, for comparison; it was not sent"
    ends = [
        f"{counted(tokens, 'token')} at the {place}"
        for tokens, place in (
            (prompt.dropped_prefix_tokens, "start of the prefix"),
            (prompt.dropped_suffix_tokens, "end of the suffix"),
        )
        if tokens
    ]
    if ends:
        yield "cut off", f"{' and '.join(ends)}, to fit the model's context"
    if prompt.healed:
        why = "may be the beginning of a longer token, so it is not in the prompt and the answer has to begin with it"
        yield "taken back", f"{_marked(prompt.healed)} {why} (token healing)"
    yield "stop tokens", ", ".join(_stops(prompt, vocabulary)) or "none: the answer runs until a rule or its limit"
    if skips:
        yield "shown", "of a long piece only the two ends; the model gets all of it"


def _totals(prompt: Prompt) -> str:
    tokens: Counter[str] = Counter()
    for piece in prompt.pieces:
        tokens[piece.kind] += piece.tokens
    shares = (
        counted(tokens[kind], name) if kind == "sentinel" else f"{tokens[kind]:,} {name}"
        for kind, name in _NAMES.items()
        if tokens[kind]
    )
    return f"{len(prompt.ids):,}: {', '.join(shares)}"


def _order(prompt: Prompt) -> str:
    if not prompt.order:
        return "left to right: the model does not see what stands after the hole"
    order = f"{prompt.order.upper()} ({_ORDERS[prompt.order]})"
    return f"{order}: {prompt.order_reason}" if prompt.order_reason else f"{order}, as asked for"


def _stops(prompt: Prompt, vocabulary: Vocabulary) -> Iterator[str]:
    for token in sorted(prompt.stop_ids):
        yield f"{vocabulary.decode([token])} ({token})"


def _rows(prompt: Prompt, vocabulary: Vocabulary) -> Iterator[PromptRow]:
    longest = max(_SHORTEST, min(_LONGEST, _BUDGET // max(len(prompt.pieces), 1)))
    for piece in prompt.pieces:
        healed = prompt.healed if piece.kind == "prefix" else ""
        yield PromptRow(piece.kind, piece.tokens, tuple(_boxes(piece, longest, vocabulary)), healed)


def _boxes(piece: Piece, longest: int, vocabulary: Vocabulary) -> Iterator[Box | Skipped]:
    if piece.kind == "sentinel":
        yield Box(piece.text, piece.ids)
        return
    if piece.tokens <= longest:
        yield from _whole(piece.ids, vocabulary)
        return
    end = longest // 2
    yield from _whole(piece.ids[:end], vocabulary)
    yield Skipped(piece.tokens - 2 * end)
    yield from _whole(piece.ids[-end:], vocabulary)


def _whole(ids: Sequence[int], vocabulary: Vocabulary) -> Iterator[Box]:
    """Yield a box for each token, but one for all that a character is split over."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text, together = "", []
    for token in ids:
        text += decoder.decode(vocabulary.token_bytes(token))
        together.append(token)
        waiting, _ = decoder.getstate()
        if not waiting:
            yield Box(text, tuple(together))
            text, together = "", []
    if together:
        yield Box(text + decoder.decode(b"", final=True), tuple(together))


def _html_column(column: PromptColumn) -> str:
    return (
        f'<div class="fim-column"><p class="fim-heading"><b>{html_text(column.heading)}</b></p>'
        f"{''.join(map(_html_row, column.rows))}</div>"
    )


def _html_row(row: PromptRow) -> str:
    grounds = _GROUNDS[row.kind]
    boxes = "".join(_html_box(box, grounds[number % 2]) for number, box in enumerate(row.boxes))
    if row.taken_back:
        boxes += f'<del title="taken back for token healing">{_html_white(row.taken_back)}</del>'
    return (
        f'<div class="fim-piece fim-of-{row.kind}" style="border-left: 3px solid {grounds[1]}">'
        f'<div class="fim-kind">{"<br>".join(_label(row))}</div>'
        f"<div><pre>{boxes}</pre>{_html_ids(row)}</div></div>"
    )


def _html_box(box: Box | Skipped, ground: str) -> str:
    if isinstance(box, Skipped):
        return f"<i>{_skipped(box)}</i>"
    return f'<span title="{_ids(box)}" style="background-color: {ground}">{_html_white(box.text)}</span>'


def _html_white(text: str) -> str:
    """Return `text` as HTML whose white space the style can mark. It stays white space when it is copied."""
    return "".join(
        f'<span class="fim-{match.lastgroup}">{match.group()}</span>' if match.lastgroup else html_text(match.group())
        for match in _WHITE.finditer(text)
    )


def _html_ids(row: PromptRow) -> str:
    if not row.boxes:
        return ""
    ids = ", ".join(_skipped(box) if isinstance(box, Skipped) else _ids(box, ", ") for box in row.boxes)
    if row.kind == "sentinel":
        return f' <small class="fim-ids">{ids}</small>'
    return f'<details class="fim-ids"><summary><small>ids</small></summary><small>{ids}</small></details>'


def _lines(sheet: PromptSheet, width: int, *, plain: bool) -> Iterator[str]:
    bold, dim, reset = ("", "", "") if plain else (_BOLD, DIM, RESET)
    yield f"{bold}Prompt{reset} {plain_text(sheet.title)}"
    for label, text in sheet.facts:
        indent = " " * _GUTTER
        wrapped = textwrap.wrap(plain_text(text), max(width - _GUTTER, 1), break_long_words=False) or [""]
        yield f"{dim}{label:<{_GUTTER}}{reset}{wrapped[0]}"
        yield from (indent + line for line in wrapped[1:])
    for column in sheet.columns:
        yield from ("", f"{bold}{column.heading}{reset}")
        for row in column.rows:
            yield ""
            yield from _text_row(row, width, plain=plain)


def _text_row(row: PromptRow, width: int, *, plain: bool) -> Iterator[str]:
    """Yield a piece's lines: what it is stands in the gutter, and beside it each token over its id."""
    dim, reset = ("", "") if plain else (DIM, RESET)
    gutter = iter(_label(row))
    for line in _lines_of(row.boxes, max(width - _GUTTER, 1)) or [[]]:
        texts, ids = "", ""
        for number, box in line:
            shown = _skipped(box) if isinstance(box, Skipped) else _marked(box.text)
            below = "" if isinstance(box, Skipped) else _ids(box, "+")
            room = _cell(box)
            shade = "" if plain or isinstance(box, Skipped) else _SHADES[row.kind][number % 2]
            texts += f"{shade}{shown}{reset if shade else ''}{' ' * (room - columns_of(shown))}"
            ids += f"{below:<{room}}"
        yield f"{next(gutter, ''):<{_GUTTER}}{texts}".rstrip(" ")
        yield f"{next(gutter, ''):<{_GUTTER}}{dim}{ids.rstrip(' ')}{reset}".rstrip(" ")


def _lines_of(boxes: Sequence[Box | Skipped], width: int) -> list[list[tuple[int, Box | Skipped]]]:
    """Break boxes into lines: where the text has a line end, and where the width does."""
    lines: list[list[tuple[int, Box | Skipped]]] = []
    used, ends = 0, True
    for number, box in enumerate(boxes):
        if ends or used + _cell(box) > width:
            lines.append([])
            used = 0
        lines[-1].append((number, box))
        used += _cell(box)
        ends = isinstance(box, Skipped) or box.text.endswith("\n")
    return lines


def _cell(box: Box | Skipped) -> int:
    """Return the columns that a box takes with its id under it and a blank beside it."""
    if isinstance(box, Skipped):
        return columns_of(_skipped(box)) + 1
    return max(columns_of(_marked(box.text)), len(_ids(box, "+"))) + 1


def _ids(box: Box, between: str = " ") -> str:
    return between.join(map(str, box.ids))


def _label(row: PromptRow) -> list[str]:
    """Say what a piece is. That a sentinel is one token goes without saying."""
    return [_NAMES[row.kind], *([] if row.kind == "sentinel" else [counted(row.tokens, "token")])]


def _skipped(box: Skipped) -> str:
    return f"… {counted(box.tokens, 'token')} …"


def _marked(text: str) -> str:
    """Return `text` for a terminal, with marks in the place of white space."""
    return plain_text(text.translate(_MARKS))
