"""Whether a middle leaves nothing wanting: the cell parses with it, and what follows the hole has what it needs.

That tells where an answer may end, so it is asked of each place where one could: it only reads, and remembers.
"""

from __future__ import annotations

import ast
from collections.abc import Set as AbstractSet
from functools import cached_property

from fim_magic.cell_text import nodes_run_with, tree_of
from fim_magic.checks.names import names_defined, names_in_text
from fim_magic.checks.parsing import parses
from fim_magic.checks.vain import ends_in_vain
from fim_magic.control_flow import never_ends
from fim_magic.document import Document

_LONGEST = 50_000  # characters of a cell; reading a longer one takes too long to be done for every statement
_FILLERS = ("pass", "if 1:", "None", "()", "0")
_NEED_NO_VALUE = frozenset({"NoReturn", "Never", "Optional"})


class Sufficiency:
    """Knows of a document whether a middle is enough for it."""

    def __init__(self, document: Document, known: AbstractSet[str] = frozenset()) -> None:
        """Take the cell with the hole, with LF line ends, and the names that the notebook defines."""
        self._document = document
        self._known = known
        self._answers: dict[str, bool] = {}

    def __call__(self, middle: str) -> bool:
        if middle not in self._answers:
            self._answers[middle] = self._suffices(middle)
        return self._answers[middle]

    def _suffices(self, middle: str) -> bool:
        text = self._document.rebuild(middle)
        if len(text) > _LONGEST:
            return True
        if parses(text).passed is False:
            return not self._can_parse
        if self._wanted and self._wanted.intersection(names_defined(text, self._known).names):
            return False
        return self._returns(text)

    @cached_property
    def _wanted(self) -> frozenset[str]:
        """The names that only what follows the hole has: what it uses of them, and nothing else defines, is to come."""
        return frozenset(names_in_text(self._document.suffix) - names_in_text(self._document.prefix) - self._known)

    @cached_property
    def _can_parse(self) -> bool:
        """Whether the cell parses with something in the hole, so that a middle with which it does not is to blame."""
        head = self._document.prefix.rpartition("\n")[2]
        line = self._document.prefix[: len(self._document.prefix) - len(head)]
        indentation = head[: len(head) - len(head.lstrip())]
        above = line.rstrip().rpartition("\n")[2]
        if not head:
            indentation = above[: len(above) - len(above.lstrip())] + ("    " if above.endswith(":") else "")
        after = self._document.suffix.partition("\n")
        rests = {self._document.suffix, after[1] + after[2]}
        return any(
            parses(f"{line}{indentation}{filler}{rest}").passed is not False for filler in _FILLERS for rest in rests
        ) or any(parses(self._document.rebuild(filler)).passed is not False for filler in _FILLERS)

    def _returns(self, text: str) -> bool:
        """Whether a function that ends with the hole, and has to return something, does; and does not end in nothing.

        What its last statement does to its own names alone, nothing can read.
        """
        line = self._document.prefix.count("\n") + 1
        last = text.count("\n") - self._document.suffix.count("\n") + 1
        tree = tree_of(text)
        if tree is None:
            return True
        around = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.body[0].lineno - 1 <= line
            and node.lineno < line
            and line <= (node.end_lineno or 0) <= last
        ]
        if not around:
            return True
        function = max(around, key=lambda node: node.lineno)
        own = [*nodes_run_with(function)]
        if ends_in_vain(function):
            return False
        if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in own):
            return True
        returned = (node for node in own if isinstance(node, ast.Return) and not _is_none(node.value))
        before = any(node.lineno < line for node in returned)
        return not (before or _is_annotated(function)) or never_ends(function.body, exhaustive=True)


def _is_annotated(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether the function says that it returns something."""
    note = function.returns
    if note is None or (isinstance(note, ast.Constant) and isinstance(note.value, str)):
        return False
    # `int | None` and `Optional[int]` may end without a value, and what never returns does not.
    parts = [*ast.walk(note)]
    words = {getattr(node, "attr", getattr(node, "id", "")) for node in parts}
    return not words & _NEED_NO_VALUE and not any(isinstance(node, ast.Constant) and _is_none(node) for node in parts)


def _is_none(value: ast.expr | None) -> bool:
    return value is None or (isinstance(value, ast.Constant) and value.value is None)
