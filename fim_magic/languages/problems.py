"""The places of a text that its language's grammar does not know, with their lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fim_magic.languages.parsing import Tree
from fim_magic.languages.structure import Mark, marks, stays_open, within

if TYPE_CHECKING:
    from tree_sitter import Node

_SHOWN = 24  # characters of what is wrong


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
    opened: list[Mark] = []
    outer: list[Mark] = []
    for mark in found:
        if mark.opens:
            opened.append(mark)
        elif mark.closer.startswith("</"):
            index = innermost(opened, mark.closer)
            if index is None:
                outer.append(mark)
            else:
                del opened[index:]
        elif opened:
            opened.pop()
        else:
            outer.append(mark)
    return opened, outer


def innermost(opened: Sequence[Mark], closer: str) -> int | None:
    """Return the index of the innermost of some open tokens that a token closes, or None."""
    return next((index for index in reversed(range(len(opened))) if opened[index].closer == closer), None)


def _errors(tree: Tree) -> Iterator[Problem]:
    waiting = [tree.root]
    while waiting:
        node = waiting.pop()
        if node.is_missing:
            name = node.type.replace("_", " ")
            end = len(tree.text[: tree.start(node)].rstrip())  # of the line that it is missing in
            yield _problem(tree, end, f"a {name} is missing" if node.is_named else f"{name!r} is missing")
        elif node.is_error:
            yield _unexpected(tree, node)
        elif node.has_error:
            waiting.extend(reversed(node.children))


def _unexpected(tree: Tree, node: Node) -> Problem:
    start, end = tree.start(node), tree.end(node)
    opened, _ = unclosed(marks(tree, start, end))
    if opened:
        token = opened[-1]
        return _problem(tree, token.start, f"{tree.text[token.start : token.end]!r} is not closed")
    text = tree.text[start:end].strip().partition("\n")[0]
    return _problem(tree, start, f"{text if len(text) <= _SHOWN else text[: _SHOWN - 1] + '…'!r} is not expected")


def _problem(tree: Tree, position: int, message: str) -> Problem:
    return Problem(position, tree.text.count("\n", 0, position) + 1, message)
