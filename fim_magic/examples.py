"""The examples that docstrings hold: doctests, and the ways in which people write them when no program reads them."""

from __future__ import annotations

import ast
import doctest
import re
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet

from fim_magic.quiet import without_warnings

_PROMPT = re.compile(r"^([ \t]*)(>>>|\.\.\.)(?=[^\s.])", re.MULTILINE)
_BULLET = re.compile(r"^[\s*\-•#>\d.)]*(?=[^\W\d])")
# Between a call and what comes of it. The longer ones first, since they hold the shorter ones.
_GIVES = re.compile(r"(?:==>|===|=>|->|➞|→|==|=|\breturns?\b|\bshould (?:return|be|equal)\b|\bequals\b|\bis\b):?\s*")
_END = re.compile(r"[\s.,;:#`)]")
_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
_LONGEST_LINE = 500  # characters: an example is shorter, and each of its signs is tried
_OPERATORS = tuple("+-*/%=<>")
_OWNERS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def examples_in(tree: ast.Module, written_rows: AbstractSet[int] = frozenset()) -> list[list[doctest.Example]]:
    """Return the examples of each docstring that has any, and that the user wrote.

    Doctests go first; only a docstring without any is searched for `mean([1, 3]) == 2`, `mean([1, 3]) -> 2` and the
    like, where the call is one of a function of this text, and its value is a literal.

    Args:
        tree: The text.
        written_rows: The rows, from 1, of which a model wrote something. Examples that stand there are left out.
    """
    functions = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
    found = []
    for node in ast.walk(tree):
        docstring = ast.get_docstring(node, clean=True) if isinstance(node, _OWNERS) else None
        if docstring:
            is_users = _by_user(node.body[0].value, written_rows)  # type: ignore[attr-defined]  # it has a docstring
            found.append(_doctests(docstring, is_users) or [*_informal(docstring, functions, is_users)])
    return [examples for examples in found if examples]


def _by_user(literal: ast.Constant, written_rows: AbstractSet[int]) -> Callable[[int, int], bool]:
    """Return what says whether the user wrote lines of a docstring: from which one on, and how many."""
    if not written_rows:
        return lambda first, count: True
    rows = range(literal.lineno, (literal.end_lineno or literal.lineno) + 1)
    if written_rows.isdisjoint(rows):
        return lambda first, count: True
    lines = str(literal.value).split("\n")
    if len(lines) != len(rows):  # line ends that are written as escapes: which row is whose cannot be told
        return lambda first, count: False
    above = next((index for index, line in enumerate(lines) if line.strip()), 0)  # blank ones, which are left out
    start = rows.start + above
    return lambda first, count: written_rows.isdisjoint(range(start + first, start + first + count))


def _doctests(docstring: str, is_users: Callable[[int, int], bool]) -> list[doctest.Example]:
    # `>>>f(x)`, as people write it when no program reads it.
    for text in (docstring, _PROMPT.sub(r"\1\2 ", docstring)):
        try:
            found = doctest.DocTestParser().get_examples(text)
        except ValueError:
            continue
        if found:
            wanted = (example for example in found if not example.options.get(doctest.SKIP))
            return [_completed(one) for one in wanted if is_users(one.lineno, (one.source + one.want).count("\n"))]
    return []


def _completed(example: doctest.Example) -> doctest.Example:
    """Return an example; one that compares and shows no result was meant to be true."""
    if not example.want and isinstance(_expression(example.source), ast.Compare):
        example.want = "True\n"
    return example


def _informal(
    docstring: str, functions: AbstractSet[str], is_users: Callable[[int, int], bool]
) -> Iterator[doctest.Example]:
    for number, line in enumerate(docstring.split("\n")):
        if len(line) > _LONGEST_LINE or not is_users(number, 1):
            continue
        text = _BULLET.sub("", line, count=1)
        for gives in _GIVES.finditer(text):
            call = _call(text[: gives.start()], functions)
            value = _literal(text[gives.end() :]) if call else ""
            if value:
                yield doctest.Example(f"{call} == {value}", "True\n")
                break


def _call(text: str, functions: AbstractSet[str]) -> str:
    """Return a text that is a call of one of these functions with arguments that are written out, or nothing."""
    call = _expression(text.strip().strip("` "))
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in functions):
        return ""
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    return ast.unparse(call) if all(map(_is_literal, values)) else ""


def _literal(text: str) -> str:
    """Return the literal that a text begins with, up to a blank or punctuation; nothing if an operator follows."""
    text = text.rstrip(" .;,")
    ends = [len(text), *(match.start() for match in _END.finditer(text))]
    for end in sorted(set(ends), reverse=True):
        value = _expression(text[:end].strip("` ").rstrip(",;:"))  # `2,` would be a tuple
        if value is not None and _is_literal(value):
            return "" if text[end:].lstrip()[:1] in _OPERATORS else ast.unparse(value)
    return ""


def _expression(text: str) -> ast.expr | None:
    try:
        with without_warnings():
            return ast.parse(text, mode="eval").body
    except _UNREADABLE:
        return None


def _is_literal(value: ast.expr) -> bool:
    try:
        ast.literal_eval(value)
    except (*_UNREADABLE, TypeError):
        return False
    return True
