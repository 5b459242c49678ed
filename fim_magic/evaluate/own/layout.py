"""Holes in languages other than Python, found by their tokens and the layout of their lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fim_magic.evaluate.own.punching import Punched

_LEAST = 3  # word characters
_LONGEST = 200  # characters of a line: a longer one was written by a program
_GOES_ON_AFTER = re.compile(r"(?:[-,(=+*/&|<?.\[\\]|=>)$")
_GOES_ON_BEFORE = re.compile(r"[-.)\]?:+*/&|=]|</")
_ASSIGNS = re.compile(r"(?:[-+*/%&|^:.]|<<|>>|\*\*|\?\?)?=|<-")
_COLON_ASSIGNS = frozenset({"css", "yaml"})
_Token = tuple[int, str, str]  # where it begins, its kind, its text
_LEXERS = {"tsx": "typescript", "svg": "xml"}  # where Pygments calls it otherwise
_PAIRS = {")": "(", "]": "[", "}": "{"}


def layout_holes(text: str, language: str) -> list[Punched]:
    """Return the rests of lines and whole lines that can be punched out; none in a language that Pygments lacks.

    A line is used where it holds its brackets itself, begins and ends a statement, and has no comment; a rest may end
    with the brace that opens a block.
    """
    found: list[Punched] = []
    lines = list(_lines(text, language))
    for index, line in enumerate(lines):
        before, after = lines[index - 1] if index else None, lines[index + 1] if index + 1 < len(lines) else None
        if not line.usable or not _stands_alone(line, before, after):
            continue
        found += _of_line(text, line, language)
    return found


@dataclass(frozen=True)
class _Line:
    """A line with something in it."""

    start: int  # where its first character that is no blank is
    end: int  # behind its last
    text: str  # what is between
    tokens: tuple[_Token, ...]  # those that are in code, as (start, kind, text); up to the first place inside a string
    usable: bool  # whether there is no comment in it, and neither a string nor a bracket is open from another line
    unit: int  # how many empty lines are before it

    @property
    def is_comment(self) -> bool:
        return bool(self.tokens) and self.tokens[0][1] == "comment"


def _lines(text: str, language: str) -> Iterator[_Line]:
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        lexer = get_lexer_by_name(_LEXERS.get(language, language))
    except ClassNotFound:
        return
    tokens = [(begin, _kind(kind), value) for begin, kind, value in lexer.get_tokens_unprocessed(text)]
    start, unit, first, depth = 0, 0, 0, 0
    for raw in text.split("\n"):
        end = start + len(raw)
        bare = raw.strip()
        while first < len(tokens) and tokens[first][0] + len(tokens[first][2]) <= start:
            first += 1
        if bare:
            begins = start + raw.index(bare)
            own = list(_between(tokens, first, begins, begins + len(bare)))
            whole = all(
                begin >= start and begin + len(value.rstrip()) <= end for begin, kind, value in own if kind != "blank"
            )
            commented = any(kind == "comment" for _, kind, _ in own) or bare.startswith("%%")
            usable = whole and not commented and not depth and len(bare) <= _LONGEST
            depth = max(0, depth + sum(map(_opened, own)))
            yield _Line(begins, begins + len(bare), bare, tuple(_in_code(own)), usable, unit)
        else:
            unit += 1
        start = end + 1


def _opened(token: _Token) -> int:
    """How many round and square brackets it opens, less those that it closes."""
    _, kind, text = token
    return sum((character in "([") - (character in ")]") for character in text) if kind == "operator" else 0


def _kind(kind: Any) -> str:
    from pygments.token import Comment, Keyword, Operator, Punctuation, String, Text

    if kind in Comment:
        return "comment"
    if kind in String.Interpol:
        return "inside"
    for name, found in (("string", String), ("keyword", Keyword), ("operator", Operator), ("operator", Punctuation)):
        if kind in found:
            return name
    return "blank" if kind in Text else "other"


def _between(tokens: Sequence[_Token], first: int, start: int, end: int) -> Iterator[_Token]:
    for index in range(first, len(tokens)):
        if tokens[index][0] >= end:
            return
        if tokens[index][0] + len(tokens[index][2]) > start:
            yield tokens[index]


def _in_code(tokens: Sequence[_Token]) -> Iterator[_Token]:
    for token in tokens:
        if token[1] == "inside":
            return
        if token[2].strip():
            yield token


def _stands_alone(line: _Line, before: _Line | None, after: _Line | None) -> bool:
    if before is not None and before.usable and _GOES_ON_AFTER.search(before.text):
        return False
    if after is not None and not after.is_comment and _GOES_ON_BEFORE.match(after.text):
        return False
    return not (_GOES_ON_BEFORE.match(line.text) or _GOES_ON_AFTER.search(line.text))


def _of_line(text: str, line: _Line, language: str) -> Iterator[Punched]:
    left = _open_at_end(line.tokens)
    if left is None or left not in ([], ["{"]) or (left and not line.text.endswith("{")):
        return
    if not left and _says_enough(text[line.start : line.end]):
        yield Punched("line", line.start, line.end, 1, line.unit)
    for (start, kind, value), (following, _, _) in zip(line.tokens, line.tokens[1:], strict=False):
        place = _place(kind, value, language)
        if place and following >= start + len(value) + (kind == "keyword") and _says_enough(text[following : line.end]):
            yield Punched("rest", following, line.end, 1, line.unit, place)


def _says_enough(missing: str) -> bool:
    return len(re.findall(r"\w", missing)) >= _LEAST


def _open_at_end(tokens: Sequence[_Token]) -> list[str] | None:
    """The brackets that a line leaves open, or None where it closes one that it has not opened."""
    left: list[str] = []
    for _, kind, value in tokens:
        for character in value if kind == "operator" else "":
            if character in _PAIRS.values():
                left.append(character)
            elif character in _PAIRS and (not left or left.pop() != _PAIRS[character]):
                return None
    return left


def _place(kind: str, value: str, language: str) -> str:
    if kind == "keyword":
        return kind
    if kind != "operator":
        return ""
    if _ASSIGNS.fullmatch(value) or (value == ":" and language in _COLON_ASSIGNS):
        return "="
    return {"(": "bracket", "[": "bracket", ".": ".", ",": "operator"}.get(value[-1:], "")
