"""Lines, statements and indentation, as the rules look at them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from fim_magic import lexing

INSIDE = lexing.State(("(",) * 64)
"""Inside more brackets than any code has open."""

CLAUSES = ("elif", "else", "except", "finally")
"""What goes on with the compound statement above it."""

JUMPS = frozenset({"break", "continue", "raise", "return"})
"""After these, nothing of the same block runs."""

_STRONG_CHARACTERS = 4  # letters and digits that a line needs to be recognised on its own
_TAB_WIDTH = 8  # Python's own: tabs go to the next multiple of 8
_WORD = re.compile(r"\A\w+")
_WEAK_LINES = frozenset({"break", "continue", "finally:", "return", "return none", "pass", "else:"})


def lines_of(text: str) -> list[tuple[int, str, bool]]:
    """Return the lines of `text` as (start, line, whether it is complete)."""
    found, start = [], 0
    for line in text.split("\n"):
        end = start + len(line)
        found.append((start, line, end < len(text)))
        start = end + 1
    return found


def first_line(text: str) -> str:
    """Return the first line of `text` that is not blank, or ""."""
    return next((line for line in text.split("\n") if line.strip()), "")


def blanks_of(line: str) -> str:
    """Return a line's indentation as it is written."""
    return line[: len(line) - len(line.lstrip(" \t\f"))]


def indent(line: str) -> int:
    """Return the width of a line's leading white space, in columns. After a form feed, Python counts anew."""
    return len(blanks_of(line).rpartition("\f")[2].expandtabs(_TAB_WIDTH))


def statements(text: str, found: Iterable[lexing.Event], *, unfinished: bool = False) -> list[tuple[int, int]]:
    """Return where the statements of `text` begin and end; one over several lines is one."""
    ends = [event.position for event in found if event.ends_statement]
    if unfinished:
        ends.append(len(text))
    starts = [0, *(end + 1 for end in ends[:-1])]
    return list(zip(starts, ends, strict=False))  # without an end there is no statement yet


def code_of(line: str) -> str:
    """Return a line without a comment at its end."""
    for event in lexing.events(line):
        if event.kind == "comment":
            return line[: event.position].rstrip()
    return line.rstrip()


def first_word(line: str) -> str:
    return next(iter(_WORD.findall(line.strip())), "")


def normalized(line: str) -> str:
    """Return a line without white space, a comment or a comma at its end, and with one kind of quotes.

    Models add comments and commas when they repeat, and write the quotes that they are used to.
    """
    code = "".join((code_of(line).strip() or line).split())
    return (code.rstrip(",") or code).replace("'", '"')


def joins_words(before: str, after: str) -> bool:
    """Whether one word would go over from `before` to `after`."""
    return all(char.isalnum() or char == "_" for char in (before[-1:], after[:1]))


def is_strong(line: str) -> bool:
    """Whether a line has enough text to be recognised when it comes again."""
    words = " ".join(line.split()).lower()
    return sum(map(str.isalnum, words)) >= _STRONG_CHARACTERS and words not in _WEAK_LINES


def unmatched(found: Iterable[lexing.Event]) -> list[int]:
    """Return where brackets are closed that were opened outside; the scan began `INSIDE` them."""
    closed: list[int] = []
    for event in found:
        if event.kind == "close" and event.state.depth < INSIDE.depth - len(closed):
            closed.append(event.position)
    return closed


def fields(text: str, depth: int) -> Iterator[tuple[int, int]]:
    """Yield where an f-string's replacement fields open and close, each with how many are open after it.

    Args:
        text: A part of what stands between the quotes. Outside fields, `{{` and `}}` are plain text.
        depth: How many are open where it begins; a format may have fields of its own.
    """
    position = 0
    while position < len(text):
        if not depth and text[position : position + 2] in ("{{", "}}"):
            position += 1
        elif text[position] == "{" or (text[position] == "}" and depth):
            depth += 1 if text[position] == "{" else -1
            yield position, depth
        position += 1


def end_of_string(found: Iterable[lexing.Event], state: lexing.State) -> int | None:
    """Return where the string of `state` ends, or None; a line end breaks any but a triple-quoted one."""
    for event in found:
        if event.kind == "end of string":
            return event.position
        if event.kind == "newline" and len(state.string) == 1:
            return None
    return None


def may_be_clause(line: str, clauses: Sequence[str] = CLAUSES) -> bool:
    """Whether `line` begins with one of `clauses`, or may do so when the rest of it has come."""
    written = first_word(line)
    if written == line.strip():
        return any(clause.startswith(written) for clause in clauses if written)
    return written in clauses
