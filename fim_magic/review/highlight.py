"""Which characters of a Python text are keywords, strings, comments...: colours for the diff."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

_MOST_BLANK = 50  # lines
_CLASSES = {
    "Token.Comment": "c",
    "Token.Keyword": "k",
    "Token.Operator.Word": "k",
    "Token.Literal.String": "s",
    "Token.Literal.Number": "n",
    "Token.Name.Function": "d",
    "Token.Name.Class": "d",
    "Token.Name.Decorator": "d",
    "Token.Name.Builtin": "b",
}


def python_spans(text: str) -> Iterator[tuple[str, int]]:
    """Cut `text` into spans of one class each.

    Yields:
        The class ("" for plain text) and where the span ends. The last span ends at the end of `text`.
    """
    from pygments.lexers.python import PythonLexer

    lexer, start = PythonLexer(), 0
    for piece, is_blank in _pieces(text):
        if is_blank:
            yield "", start + len(piece)
        else:
            for begin, token, value in lexer.get_tokens_unprocessed(piece):
                yield _class_of(str(token)), start + begin + len(value)
        start += len(piece)


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Cut a text at many blank lines in a row, over which the lexer goes once for each of them."""
    for is_blank, run in groupby(_runs(text), key=lambda run: run[1]):
        yield "".join(lines for lines, _ in run), is_blank


def _runs(text: str) -> Iterator[tuple[str, bool]]:
    for is_blank, run in groupby(text.splitlines(keepends=True), key=lambda line: not line.strip()):
        lines = list(run)
        yield "".join(lines), is_blank and len(lines) > _MOST_BLANK


def _class_of(token: str) -> str:
    while token:
        if token in _CLASSES:
            return _CLASSES[token]
        token = token.rpartition(".")[0]
    return ""
