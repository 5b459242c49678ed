"""The places of a text that its language's grammar does not know, with their lines."""

from __future__ import annotations

from collections.abc import Iterator
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
        at: Where it begins, in characters.
        line: Its line, from 1.
        said: What is wrong, in a few words: "'}' is missing", "'else' is not expected", "'(' is not closed".
    """

    at: int
    line: int
    said: str


def problems(tree: Tree) -> list[Problem]:
    """Return the places that do not parse, in order; one for each run of text that the parser had to leave out."""
    found = list(_errors(tree)) if tree.root.has_error else []
    if tree.grammar.tags:
        found += [
            _problem(tree, tree.start(node), f"{tree.text_of(node.children[0]).split()[0].rstrip('>')}> is not closed")
            for node in within(tree, 0, tree.byte(len(tree.text)))
            if stays_open(tree, node)
        ]
    return sorted(found, key=lambda problem: problem.at)


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
            at = next((n for n in reversed(range(len(opened))) if opened[n].closer == mark.closer), None)
            if at is None:
                outer.append(mark)
            else:
                del opened[at:]
        elif opened:
            opened.pop()
        else:
            outer.append(mark)
    return opened, outer


def _errors(tree: Tree) -> Iterator[Problem]:
    waiting = [tree.root]
    while waiting:
        node = waiting.pop()
        if node.is_missing:
            name = node.type.replace("_", " ")
            at = len(tree.text[: tree.start(node)].rstrip())  # at the end of the line that it is missing in
            yield _problem(tree, at, f"a {name} is missing" if node.is_named else f"{name!r} is missing")
        elif node.is_error:
            yield _unexpected(tree, node)
        elif node.has_error:
            waiting.extend(reversed(node.children))


def _unexpected(tree: Tree, node: Node) -> Problem:
    at, end = tree.start(node), tree.end(node)
    opened, _ = unclosed(marks(tree, at, end))
    if opened:
        token = opened[-1]
        return _problem(tree, token.at, f"{tree.text[token.at : token.end]!r} is not closed")
    text = tree.text[at:end].strip().partition("\n")[0]
    return _problem(tree, at, f"{text if len(text) <= _SHOWN else text[: _SHOWN - 1] + '…'!r} is not expected")


def _problem(tree: Tree, at: int, said: str) -> Problem:
    return Problem(at, tree.text.count("\n", 0, at) + 1, said)
