"""Every hole that can be punched into a text of Python, by kind. Nothing is run, and nothing is drawn at random here.

The text may hold IPython's own lines; holes are punched only where it is plain Python. What follows the hole on its
last line is nothing but white space, or for "arguments" the closing bracket.
"""

from __future__ import annotations

import ast
import io
import keyword
import re
import tokenize
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fim_magic.cell_text import without_magics
from fim_magic.quiet import without_warnings

KINDS = ("rest", "line", "arguments", "block", "lines")
"""The rest of a logical line; a statement on a line of its own; what stands between the brackets of a call; the body of
a compound statement; and two to five simple statements, one after the other."""

_LEAST = 3  # word characters of what is missing, and of what is left
_MOST_LINES = {"rest": 4, "line": 1, "arguments": 6, "block": 15, "lines": 10}
_MOST_STATEMENTS = 5
_AFTER = frozenset("and assert await elif except for from if import in is not or raise return while with yield".split())
_ASSIGNS = re.compile(r"(?:[-+*/%@&|^]|//|\*\*|<<|>>|:)?=")
_OPERATORS = frozenset({",", "+", "-", "*", "/", "//", "%", "**", "@", "==", "!=", "<", ">", "<=", ">=", "|", "&"})
_NOT_CODE = frozenset({tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER})
_ERRORS = (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError)
_SPACE = re.compile(r"\s*")
_BLOCKS = ("body", "orelse", "finalbody")


@dataclass(frozen=True)
class Punched:
    """A hole that could be punched."""

    kind: str  # one of `KINDS`
    start: int  # where it begins in the text
    end: int  # where it ends
    statements: int  # how many statements what is missing has, those inside blocks not counted
    unit: int  # which of the text's top-level statements it is in, from 0
    place: str = ""  # of a rest, what it stands behind: "=", ".", "bracket", "keyword" or "operator"; else ""


def python_holes(text: str) -> list[Punched]:
    """Return every hole that can be punched into a text with LF line ends, in order; none where it does not parse."""
    source = _read(text)
    if source is None or all(isinstance(node, ast.Import | ast.ImportFrom | ast.Pass) for node in source.tree.body):
        return []
    found = [*_rests(source), *_arguments(source)]
    for block in _blocks(source):
        found += [*_lines(source, block), *_runs(source, block), *_bodies(source, block)]
    words = _words(text)
    return sorted((hole for hole in found if _is_worth_it(text, hole, words)), key=lambda hole: (hole.start, hole.end))


def _is_worth_it(text: str, hole: Punched, words: int) -> bool:
    """Whether enough is missing and enough is left of a text with so many characters of words."""
    missing = text[hole.start : hole.end]
    taken = _words(missing)
    if min(taken, words - taken) < _LEAST:
        return False
    return missing.strip() != "pass" and missing.count("\n") < _MOST_LINES[hole.kind]


def _words(text: str) -> int:
    return len(re.findall(r"\w", text))


@dataclass(frozen=True)
class _Source:
    """A text beside what Python reads in it."""

    text: str
    plain: str
    tree: ast.Module
    starts: tuple[int, ...]  # of its lines
    same: tuple[bool, ...]  # whether a line is as Python reads it

    def position(self, line: int, column: int) -> int:
        """The position of a line, from 1, and a column in bytes of UTF-8, as `ast` has them."""
        start = self.starts[line - 1]
        end = self.text.find("\n", start)
        own = self.text[start : len(self.text) if end < 0 else end]
        return start + len(own.encode()[:column].decode(errors="replace"))

    def span(self, nodes: Sequence[ast.AST]) -> tuple[int, int]:
        first, last = nodes[0], nodes[-1]
        decorated = getattr(first, "decorator_list", [])
        line, column = min([(first.lineno, first.col_offset), *((d.lineno, d.col_offset - 1) for d in decorated)])  # type: ignore[attr-defined]
        return self.position(line, column), self.position(last.end_lineno, last.end_col_offset)  # type: ignore[attr-defined]

    def is_plain(self, start: int, end: int) -> bool:
        first = bisect_right(self.starts, start) - 1
        return all(self.same[first : first + self.text.count("\n", start, end) + 1])

    def stands_alone(self, start: int, end: int) -> bool:
        """Whether nothing else stands on the first and the last line, not even a comment."""
        before = self.text[self.text.rfind("\n", 0, start) + 1 : start]
        return not before.strip() and not self.rest_of_line(end).strip() and self.is_plain(start, end)

    def rest_of_line(self, start: int) -> str:
        end = self.text.find("\n", start)
        return self.text[start : len(self.text) if end < 0 else end]


def _read(text: str) -> _Source | None:
    plain = without_magics(text)
    if plain is None:
        return None
    try:
        with without_warnings():
            tree = ast.parse(plain)
    except _ERRORS:
        return None
    lines, read = text.split("\n"), plain.split("\n")
    if len(lines) != len(read) or "\f" in text:
        return None
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    return _Source(text, plain, tree, tuple(starts), tuple(a == b for a, b in zip(lines, read, strict=True)))


@dataclass(frozen=True)
class _Statements:
    """The statements of one block, with the number of the top-level statement that each is in."""

    owner: ast.AST
    body: list[ast.stmt]
    unit: int | None  # None for the text's own

    def unit_of(self, index: int) -> int:
        return index if self.unit is None else self.unit


def _blocks(source: _Source) -> Iterator[_Statements]:
    yield _Statements(source.tree, source.tree.body, None)
    for unit, statement in enumerate(source.tree.body):
        for node in ast.walk(statement):
            for name in _BLOCKS:
                body = getattr(node, name, None)
                if isinstance(body, list) and body and isinstance(body[0], ast.stmt):
                    yield _Statements(node, body, unit)


def _is_compound(statement: ast.stmt) -> bool:
    return any(isinstance(getattr(statement, name, None), list) for name in (*_BLOCKS, "cases"))


def _says_something(statement: ast.stmt) -> bool:
    """Whether it is neither a docstring, nor `...`, nor `pass`."""
    constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return not constant and not isinstance(statement, ast.Pass)


def _lines(source: _Source, block: _Statements) -> Iterator[Punched]:
    for index, statement in enumerate(block.body):
        start, end = source.span([statement])
        if _says_something(statement) and not _is_compound(statement) and source.stands_alone(start, end):
            yield Punched("line", start, end, 1, block.unit_of(index))


def _runs(source: _Source, block: _Statements) -> Iterator[Punched]:
    """Two to five simple statements with nothing between them but one empty line."""
    spans = [source.span([statement]) for statement in block.body]
    simple = [
        _says_something(statement) and not _is_compound(statement) and source.stands_alone(*span)
        for statement, span in zip(block.body, spans, strict=True)
    ]
    joined = [a and b for a, b in pairwise(simple)]
    for index, (one, other) in enumerate(pairwise(spans)):
        between = source.text[one[1] : other[0]]
        joined[index] = joined[index] and not between.strip() and between.count("\n") <= 2  # one empty line
    for first in range(len(block.body)):
        for last in range(first + 1, min(first + _MOST_STATEMENTS, len(block.body))):
            if not all(joined[first:last]):
                break
            if last - first + 1 < len(block.body):
                yield Punched("lines", spans[first][0], spans[last][1], last - first + 1, block.unit_of(first))


def _bodies(source: _Source, block: _Statements) -> Iterator[Punched]:
    if block.unit is None:
        return
    body = block.body
    documented = isinstance(block.owner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    if documented and ast.get_docstring(block.owner, clean=False) is not None:  # type: ignore[arg-type]
        body = body[1:]  # the docstring says what is missing
    if not body or not any(map(_says_something, body)):
        return
    start, end = source.span(body)
    if source.stands_alone(start, end) and not source.text.startswith("elif", start):
        yield Punched("block", start, end, len(body), block.unit)


def _arguments(source: _Source) -> Iterator[Punched]:
    for unit, statement in enumerate(source.tree.body):
        for call in _calls(statement):
            _, opened = source.span([call.func])
            _, closed = source.span([call])
            opened = _SPACE.match(source.text, opened).end()  # type: ignore[union-attr]
            inside = source.text[opened + 1 : closed - 1]
            if source.text[opened : opened + 1] != "(" or source.text[closed - 1 : closed] != ")":
                continue
            if not inside.strip() or _has_comment(inside) or not source.is_plain(opened, closed):
                continue
            start = opened + 1 + len(inside) - len(inside.lstrip())
            yield Punched("arguments", start, start + len(inside.strip()), 1, unit)


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    """The calls in it, those inside f-strings left out: before Python 3.12 they have no place of their own."""
    if isinstance(node, ast.JoinedStr):
        return
    if isinstance(node, ast.Call):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from _calls(child)


def _has_comment(inside: str) -> bool:
    try:
        return any(token.type == tokenize.COMMENT for token in _tokens(f"({inside}\n)"))
    except _ERRORS:
        return True


def _rests(source: _Source) -> Iterator[Punched]:
    units = [source.span([statement])[0] for statement in source.tree.body]
    for line in _logical_lines(source.plain):
        start, end = (source.starts[row - 1] + column for row, column in (line[0].start, line[-1].end))
        if not source.is_plain(start, end) or source.rest_of_line(end).strip():
            continue
        unit = max(bisect_right(units, start) - 1, 0)
        formatted = 0  # f-strings that are open: inside one is no place for a hole
        for token, following in pairwise(line):
            name = tokenize.tok_name[token.type]
            formatted += (name == "FSTRING_START") - (name == "FSTRING_END")
            place = _place(token)
            if place and not formatted and token.end[0] == following.start[0]:
                position = source.starts[following.start[0] - 1] + following.start[1]
                yield Punched("rest", position, end, 1, unit, place)


def _place(token: tokenize.TokenInfo) -> str:
    text = token.string
    if token.type == tokenize.NAME:
        return "keyword" if keyword.iskeyword(text) and text in _AFTER else ""
    if token.type != tokenize.OP:
        return ""
    if text in {"(", "[", "{"}:
        return "bracket"
    if text == ".":
        return text
    return "operator" if text in _OPERATORS else "=" if _ASSIGNS.fullmatch(text) else ""


def _logical_lines(plain: str) -> Iterator[list[tokenize.TokenInfo]]:
    """The tokens of each logical line that is one statement without a comment."""
    line: list[tokenize.TokenInfo] = []
    commented = False
    try:
        for token in _tokens(plain):
            if token.type == tokenize.NEWLINE:
                if line and not commented and all(token.string != ";" for token in line):
                    yield line
                line, commented = [], False
            elif token.type == tokenize.COMMENT:
                commented = bool(line)
            elif token.type not in _NOT_CODE:
                line.append(token)
    except _ERRORS:
        return


def _tokens(text: str) -> Iterator[tokenize.TokenInfo]:
    return tokenize.generate_tokens(io.StringIO(text).readline)
