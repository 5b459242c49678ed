"""The places of a text that its language's grammar does not know, with their lines."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fim_magic.languages.parsing import Tree
from fim_magic.languages.structure import Mark, marks, stays_open, within

if TYPE_CHECKING:
    from tree_sitter import Node

_SHOWN = 24  # characters of what is wrong
_BLANKS = re.compile(r"\s+")


@dataclass(frozen=True)
class Problem:
    """A place that the grammar does not know.

    Attributes:
        position: Where it begins, in characters.
        line: Its line, from 1.
        message: What is wrong, in a few words: "'}' is missing", "'else' is not expected", "'(' is not closed".
    """

    position: int
    line: int
    message: str


def problems(tree: Tree) -> list[Problem]:
    """Return the places that do not parse, in order; one for each run of text that the parser had to leave out."""
    found = list(_errors(tree)) if tree.root.has_error else []
    if tree.grammar.tags:
        found += [
            _problem(tree, tree.start(node), f"{tree.text_of(node.children[0]).split()[0].rstrip('>')}> is not closed")
            for node in within(tree, 0, tree.byte(len(tree.text)))
            if stays_open(tree, node)
        ]
    return sorted(found, key=lambda problem: problem.position)


def unclosed(found: list[Mark]) -> tuple[list[Mark], list[Mark]]:
    """Return those of some tokens that open what none of them closes, and those that close what none of them opened.

    Both in order. A token that closes something else than what is open innermost closes it all the same, but for tags:
    of those that are open, it closes the one with its name.
    """
    opened = Opened()
    outer: list[Mark] = []
    for mark in found:
        if mark.opens:
            opened.add(mark)
        elif not (opened.close(mark.closer) if mark.closer.startswith("</") else opened.close_innermost()):
            outer.append(mark)
    return opened.marks, outer


class Opened:
    """What is open at a place of a text, outermost first. Each token is looked at once, however many are open."""

    def __init__(self, marks: Iterable[Mark] = ()) -> None:
        self.marks: list[Mark] = []
        self._count: Counter[str] = Counter()
        for mark in marks:
            self.add(mark)

    def add(self, mark: Mark) -> None:
        self.marks.append(mark)
        self._count[mark.closer] += 1

    def close(self, closer: str) -> list[Mark]:
        """Close what a token closes, with all inside of it. Return what was open, innermost first; nothing if none."""
        closed: list[Mark] = []
        while self._count[closer] and not (closed and closed[-1].closer == closer):
            closed += self.close_innermost()
        return closed

    def close_innermost(self) -> list[Mark]:
        """As `close`, for a token that closes whatever is open innermost."""
        closed = [self.marks.pop()] if self.marks else []
        for mark in closed:
            self._count[mark.closer] -= 1
        return closed


def _errors(tree: Tree) -> Iterator[Problem]:
    waiting = [tree.root]
    blanks = [match.span() for match in _BLANKS.finditer(tree.text)]
    while waiting:
        node = waiting.pop()
        if node.is_missing:
            name = node.type.replace("_", " ")
            end = _without_blanks(blanks, tree.start(node))  # of the line that it is missing in
            yield _problem(tree, end, f"a {name} is missing" if node.is_named else f"{name!r} is missing")
        elif node.is_error:
            yield _unexpected(tree, node)
        elif node.has_error:
            waiting.extend(reversed(node.children))


def _without_blanks(blanks: list[tuple[int, int]], position: int) -> int:
    """Where the blanks begin that end at a position or hold it; else the position."""
    index = bisect_left(blanks, (position, 0)) - 1
    return blanks[index][0] if index >= 0 and blanks[index][1] >= position else position


def _unexpected(tree: Tree, node: Node) -> Problem:
    start, end = tree.start(node), tree.end(node)
    opened, _ = unclosed(marks(tree, start, end, node))
    if opened:
        token = opened[-1]
        return _problem(tree, token.start, f"{tree.text[token.start : token.end]!r} is not closed")
    text = tree.text[start:end].strip().partition("\n")[0]
    return _problem(tree, start, f"{text if len(text) <= _SHOWN else text[: _SHOWN - 1] + '…'!r} is not expected")


def _problem(tree: Tree, position: int, message: str) -> Problem:
    return Problem(position, tree.line(position), message)
