"""A cell as Python: what IPython would make of it. Nothing is run."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Iterable, Iterator

from fim_magic.languages import PYTHON_MAGICS
from fim_magic.quiet import without_warnings

_log = logging.getLogger(__name__)

LONGEST = 1_000_000
"""Characters of a text that is looked at."""

UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)
"""What reading a text as Python may raise."""

CELL_MAGIC = re.compile(r"\s*%%(\w+)([^\n]*)\n?")
"""A cell magic at the start of a text: its name, and the rest of its line."""

IPYTHON_LINE = re.compile(r"^([ \t]*)(?![ \t])(?:[%!?].*|[^\n#'\"]*=[ \t]*[%!](?!=).*|[\w.%* \t]+\?{1,2}[ \t]*)$")
"""A line of IPython's own: `%time f()`, `files = !ls`, `print?`."""

RUN_LATER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
"""What has a scope of its own: functions run when they are called."""

_MOST_TO_TRANSFORM = 50_000
"""Lines of IPython's own times characters: it reads a cell anew for each of them."""

_IPYTHON_MAY_CHANGE = re.compile(
    r"%|!(?!=)|\?|^[ \t\f]*[,;/]|>>>|In \[|^[ \t\f]*\.{3,}:|\A(?:[ \t\f]*\n)*[ \t\f]", re.MULTILINE
)
"""Of all that IPython knows, one stands in a text that it changes: its signs, a prompt, indentation of the whole."""

_ASSIGNED = re.compile(r"^([ \t]*\w[\w, \t]*=)[ \t]*[%!](?!=).*$")
_TIMED = re.compile(r"^([ \t]*)%time[ \t]+(?=\S)")


def compiled(source: str, mode: str = "exec") -> object:
    """Compile what may await at its top, as a cell may. Python's warnings are not shown.

    Raises:
        SyntaxError: It does not parse; other errors are in `UNREADABLE`.
    """
    with without_warnings():
        return compile(source, "<cell>", mode, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


def tree_of(source: str) -> ast.Module | None:
    """Return the tree of a text that Python can read, or None."""
    try:
        with without_warnings():
            return ast.parse(source)
    except UNREADABLE:
        return None


def nodes_run_with(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes below one, without functions and classes that are defined there."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, RUN_LATER):
            yield child
            yield from nodes_run_with(child)


def _without_cell_magics(text: str) -> str | None:
    """The text with comments for its cell magics, or None if one of them is not about Python."""
    end = 0
    while match := CELL_MAGIC.match(text, end):
        if match.group(1) not in PYTHON_MAGICS:
            return None
        end = match.end()
    return "#\n" * text.count("\n", 0, end) + text[end:]  # IPython would take empty lines away, and errors name lines


def python_of(text: str) -> str | None:
    """Return what IPython would compile of a cell, or None for one in another language."""
    source = _without_cell_magics(text)
    if source is None or not _IPYTHON_MAY_CHANGE.search(source) or tree_of(source) is not None:
        return source
    source = _timed_lines(source)
    lines = source.split("\n")
    own = sum(IPYTHON_LINE.match(line) is not None for line in lines)
    if own * len(source) > _MOST_TO_TRANSFORM:
        return _without_ipython_lines(_ASSIGNED.sub(r"\1 None", line) for line in lines)
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        with without_warnings():  # it warns of U+2028 and others, which it takes for line ends
            return str(TransformerManager().transform_cell(source))
    except Exception:  # a cell that IPython cannot transform is one that does not parse
        _log.info("IPython cannot transform a cell.", exc_info=True)
        return source


def without_magics(text: str) -> str | None:
    """Return a cell as plain Python, or None: `%time x = 1` is `x = 1`, other lines of IPython's are left out."""
    source = _without_cell_magics(text)
    if source is None or tree_of(source) is not None:
        return source
    return _without_ipython_lines(_timed_lines(source).split("\n"))


def _without_ipython_lines(lines: Iterable[str]) -> str:
    return "\n".join(IPYTHON_LINE.sub(r"\1pass", line) for line in lines)


def _timed_lines(source: str) -> str:
    """`%time x = 1` binds a name of the notebook: it stands for its statement."""
    return "\n".join(_TIMED.sub(r"\1", line) for line in source.split("\n"))
