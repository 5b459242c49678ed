"""Which characters of a Python text are keywords, strings, comments...: colours for the diff."""

from __future__ import annotations

from collections.abc import Iterator

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

    for begin, token, value in PythonLexer().get_tokens_unprocessed(text):
        yield _class_of(str(token)), begin + len(value)


def _class_of(token: str) -> str:
    while token:
        if token in _CLASSES:
            return _CLASSES[token]
        token = token.rpartition(".")[0]
    return ""
