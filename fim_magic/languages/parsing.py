"""A text -> its syntax tree, by tree-sitter."""

from __future__ import annotations

import importlib
import logging
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING

from fim_magic.languages.grammars import GRAMMARS, Grammar

if TYPE_CHECKING:
    from tree_sitter import Language, Node
    from tree_sitter import Tree as SyntaxTree

_log = logging.getLogger(__name__)

LONGEST = 200_000
"""Characters of a text that is parsed; a longer one would make every line of an answer wait."""

_PIECE = 512
"""Bytes that a parser is given at once. It can be ended where it asks for more, and only there."""

_SECONDS_PER_CHARACTER = 3e-6
"""Of a processor. Parsers take a tenth of it for code, and the square of the length for some texts that are none."""


class SlowTextError(Exception):
    """A parser takes too long for a text."""


@dataclass
class Patience:
    """How long parsers may take for some texts together, in seconds of a processor.

    Attributes:
        seconds: What is left of it. What any code takes does not count.
    """

    seconds: float = 1.0

    @contextmanager
    def parsing(self, text: str) -> Iterator[Callable[[], bool]]:
        """Parse a text inside the block. It gets a function that tells whether that has taken too long.

        Raises:
            SlowTextError: It has.
        """
        began, usual = time.thread_time(), _SECONDS_PER_CHARACTER * len(text)

        def is_over() -> bool:
            return time.thread_time() - began > usual + self.seconds

        yield is_over
        if is_over():
            self.seconds = 0.0
            raise SlowTextError
        self.seconds -= max(time.thread_time() - began - usual, 0.0)


@dataclass(frozen=True, eq=False)
class Tree:
    """A parsed text. Positions are characters of the text, where tree-sitter has bytes."""

    text: str
    grammar: Grammar
    syntax: SyntaxTree

    @property
    def root(self) -> Node:
        return self.syntax.root_node

    def start(self, node: Node) -> int:
        return self.char(node.start_byte)

    def end(self, node: Node) -> int:
        return self.char(node.end_byte)

    def text_of(self, node: Node) -> str:
        return self.text[self.start(node) : self.end(node)]

    def char(self, byte: int) -> int:
        """The character that begins at a byte, or holds it."""
        index = byte if self._bytes is None else bisect_right(self._bytes, byte) - 1
        return min(index, len(self.text))

    def byte(self, char: int) -> int:
        """The byte at which a character begins."""
        return char if self._bytes is None else self._bytes[min(char, len(self.text))]

    def line(self, position: int) -> int:
        """The line, from 1, that a character stands in."""
        return bisect_left(self._line_ends, position) + 1

    @cached_property
    def _line_ends(self) -> list[int]:
        return [index for index, char in enumerate(self.text) if char == "\n"]

    @cached_property
    def _bytes(self) -> list[int] | None:
        """Where each character begins, for a text that has others than ASCII."""
        if self.text.isascii():
            return None
        return [0, *accumulate(len(_encoded(char)) for char in self.text)]


def available(language: str) -> bool:
    return _loaded(language) is not None


def to_install(language: str) -> str:
    """Return what has to be installed to parse a language, as pip takes it; "" if it is, or nothing would help."""
    grammar = GRAMMARS.get(language)
    return "" if grammar is None or available(language) else f"fim-magic[{grammar.extra}]"


def parse(language: str, text: str, patience: Patience | None = None) -> Tree | None:
    """Parse a text.

    Args:
        language: As `of_cell` and `of_file` call it.
        text: Without the magics of a cell.
        patience: How long that may take; by default, as long as for a text alone.

    Returns:
        Its tree, also where the text has errors; None where the language's parser is not installed, none is known,
        or the text is longer than `LONGEST`.

    Raises:
        SlowTextError: It takes longer.
    """
    known = _loaded(language)
    if known is None or len(text) > LONGEST:
        return None
    from tree_sitter import Parser

    data = _encoded(text) + b"\n"  # some grammars want a line end behind all lines
    with (patience or Patience()).parsing(text) as is_over:

        def read(byte: int, _point: object) -> bytes:
            return b"" if is_over() else data[byte : byte + _PIECE]

        # A parser is made for each text: several threads check candidates.
        tree = Parser(known).parse(read)
    return Tree(text, GRAMMARS[language], tree)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")  # a lone surrogate becomes one character as well


@lru_cache(maxsize=64)
def _loaded(language: str) -> Language | None:
    grammar = GRAMMARS.get(language)
    if grammar is None:
        return None
    try:
        from tree_sitter import Language

        return Language(getattr(importlib.import_module(grammar.module), grammar.function)())
    except (ImportError, AttributeError, OSError, ValueError):  # not here, or made for another release of tree-sitter
        _log.info("%s is not parsed: its grammar could not be loaded.", language, exc_info=True)
        return None
