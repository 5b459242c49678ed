"""A hole in a text of a language that is parsed: what is open there, and what a middle makes of the text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

from fim_magic.languages.detection import begins_at
from fim_magic.languages.grammars import GRAMMARS, Grammar
from fim_magic.languages.parsing import LONGEST, Patience, SlowTextError, Tree, available, parse, to_install
from fim_magic.languages.problems import Opened, Problem, problems, unclosed
from fim_magic.languages.structure import Boundary, Mark, boundary_at, marks, text_at

_MOST_KEPT = 256  # fillings of one hole
_FILLERS = ("", "x", "x;", "x,", "x: x,", "x = x", "x()", "{}", "x {}", "x; then", "x in x; do", "x>")
"""One of these makes nearly every text with a hole one that parses."""

_IN_TEXT = ("x", '"', "'", "`", '";', "';", "`;", "*/", "-->")
_OPENS = {"}": "{", ")": "x(", "]": "x[", "]]": "x[[", "end": "begin", "fi": "if x; then", "done": "while x; do"}
_WRITTEN = {"keyword_end": "END"}
_CLAUSE = re.compile(r"(?:catch|do|elif|else|elseif|elsif|end|esac|done|fi|finally|rescue|then)\b")
_SEPARATORS = frozenset(",;")


@dataclass(frozen=True, eq=False)
class FilledHole:
    """A text with a middle in its hole, from `start` to `end`, parsed."""

    tree: Tree
    start: int
    end: int

    @cached_property
    def problems(self) -> list[Problem]:
        return problems(self.tree)

    @cached_property
    def closes(self) -> list[int]:
        """Where the middle closes what it has not opened, in characters of the middle."""
        _, outer = unclosed(marks(self.tree, self.start, self.end))
        return [mark.start - self.start for mark in outer]

    def leaves(self, debt: int, start: int) -> tuple[int | None, int]:
        """Return where the middle leaves the block that it may not leave, and how deep it is at its end.

        Args:
            debt: How many blocks and brackets it may close that it has not opened.
            start: Only if it does so there or behind it, in characters of the middle.

        Returns:
            None where it does not; and how many more it has opened than closed, from the hole on.
        """
        if self.tree.grammar.tags:
            found = self.closes[debt:]
            return next((position for position in found if position >= start), None), -len(self.closes)
        depth, left = 0, None
        for mark in marks(self.tree, self.start, self.end):
            depth += 1 if mark.opens else -1
            position = mark.start - self.start
            if not mark.opens and depth == -debt - 1 and position >= start and left is None:
                left = position
        return left, depth

    @cached_property
    def boundary(self) -> Boundary:
        """Where the middle and what follows it meet."""
        return boundary_at(self.tree, self.end)


@dataclass(frozen=True, eq=False)
class ParsedHole:
    """A hole in a text whose language has a parser, without the magics of a cell.

    Attributes:
        lines_above: How many lines of magics stand above the text.
    """

    language: str
    prefix: str
    suffix: str
    lines_above: int = 0

    @property
    def grammar(self) -> Grammar:
        return GRAMMARS[self.language]

    def fill(self, middle: str) -> FilledHole:
        """Parse the text with a middle in the hole; of the same middle, once.

        Raises:
            SlowTextError: It takes too long: from now on, the hole `is_too_slow`.
        """
        if middle not in self._filled:
            if len(self._filled) >= _MOST_KEPT:
                self._filled.clear()
            tree = parse(self.language, self.prefix + middle + self.suffix, self.patience)
            assert tree is not None  # `parse_hole` has looked
            self._filled[middle] = FilledHole(tree, len(self.prefix), len(self.prefix) + len(middle))
        return self._filled[middle]

    def is_sound(self, middle: str) -> bool:
        """Whether a middle adds nothing that does not parse to what does not parse anyway."""
        return len(self.fill(middle).problems) <= self.own_problems

    @cached_property
    def own_problems(self) -> int:
        """How many problems the text has, whatever is in the hole: the user's own, or what the grammar does not know.

        A hole leaves most texts broken, so this is the least that any of some plain fillers leaves. Each also closes
        what the text after the hole leaves open, and opens what it closes too many.
        """
        closing = "\n".join(_WRITTEN.get(mark.closer, mark.closer) for mark in reversed(self._unpaid))
        closed = self._outer[: max(len(self._outer) - len(self.open_here), 0)]
        opening = "\n".join(_OPENS.get(mark.closer, mark.closer.replace("</", "<")) for mark in reversed(closed))
        least = LONGEST
        for filler in (*(_IN_TEXT if self.inside else ()), *_FILLERS):
            text = filler + (f"\n{closing}" if closing else "") + opening
            tree = parse(self.language, self.prefix + text + self.suffix, self.patience)
            least = least if tree is None else min(least, len(problems(tree)))
            if not least:
                break
        return least

    @cached_property
    def inside(self) -> str:
        """Whether the hole is inside a "comment" or a "string", or ""."""
        return text_at(self.fill("").tree, len(self.prefix))

    @cached_property
    def open_here(self) -> list[Mark]:
        """The blocks and brackets that are open at the hole, outermost first."""
        return unclosed(marks(self.fill("").tree, 0, len(self.prefix)))[0]

    @property
    def debt(self) -> int:
        """How many of those the text after the hole leaves open, so that they are for the middle to close.

        Negative where it closes more than are open: then the middle has to open them.
        """
        return len(self._unpaid) or min(len(self.open_here) - len(self._outer), 0)

    @cached_property
    def _unpaid(self) -> list[Mark]:
        if not self.grammar.tags:
            return self.open_here[len(self._outer) :]
        left = Opened(self.open_here)
        unpaid: list[Mark] = []  # innermost first, of the first token that closes any
        for mark in self._outer:
            unpaid += left.close(mark.closer)[:-1]
        return [*left.marks, *reversed(unpaid)]

    @cached_property
    def _outer(self) -> list[Mark]:
        """What the text after the hole closes that it has not opened."""
        return unclosed(marks(self.fill("").tree, len(self.prefix)))[1]

    def is_apart(self, middle: str) -> bool:
        """Whether a middle and what follows it are two: two statements, two arguments, a block and what is in it.

        Else what follows has become a part of the middle's last statement. That is as it should be only where it goes
        on with one, as its first sign or its indentation says.
        """
        grammar, boundary = self.grammar, self.fill(middle).boundary
        between = boundary.between
        if middle.rstrip().endswith(",") and grammar.goes_on and re.match(grammar.goes_on, self.suffix.lstrip()):
            return False
        if between is None or grammar.tags or grammar.by_indent or not grammar.pairs or between.is_error:
            return True
        if between.type in grammar.blocks or between.type in grammar.lists:
            return True
        assert boundary.before is not None and boundary.after is not None  # between them is a node
        before, after = boundary.before.type, boundary.after.type
        if before in _SEPARATORS or after in _SEPARATORS or before in grammar.pairs or after in grammar.pairs.values():
            return True
        return self.suffix_goes_on

    @cached_property
    def suffix_goes_on(self) -> bool:
        """Whether what follows the hole goes on with a statement, as its beginning says."""
        following = self.suffix.lstrip()
        if _CLAUSE.match(following) or (self.grammar.goes_on and re.match(self.grammar.goes_on, following)):
            return True
        own = self.prefix.rpartition("\n")[2]
        line = next((line for line in self.suffix.split("\n")[1:] if line.strip()), "")
        return _indent(line) > _indent(own)

    @property
    def is_too_slow(self) -> bool:
        """Whether parsing what was put into it has taken too long."""
        return self.patience.seconds <= 0

    @cached_property
    def patience(self) -> Patience:
        """How long the parser may go on, for all that is put into the hole."""
        return Patience()

    @cached_property
    def _filled(self) -> dict[str, FilledHole]:
        return {}


@lru_cache(maxsize=16)  # the rules ask at every token, of the candidates of one request
def parse_hole(language: str, prefix: str, suffix: str) -> ParsedHole | None:
    """Return the hole between a prefix, with the magics of a cell, and a suffix, as the language's parser sees it.

    None where the parser is not installed, or the text is too long.
    """
    if not available(language) or len(prefix) + len(suffix) > LONGEST // 2:
        return None
    start = begins_at(prefix)
    return ParsedHole(language, prefix[start:], suffix, prefix.count("\n", 0, start))


def verdict(language: str, prefix: str, middle: str, suffix: str) -> tuple[bool | None, str]:
    """Tell whether a text parses with a middle in its hole; the prefix has the magics of a cell.

    Returns:
        True; or False and what is wrong; or None and why nothing is known. A text that does not parse whatever is in
        its hole says nothing about the middle: then the user writes what the grammar does not know. Without a parser
        for the language, the reason is empty.
    """
    if not prefix and not suffix:  # no hole: all of it is judged
        start = begins_at(middle)
        prefix, middle = middle[:start], middle[start:]
    if (missing := to_install(language)) or language not in GRAMMARS:
        return None, f"not checked: pip install {missing}" if missing else ""
    hole = parse_hole(language, prefix, suffix)
    if hole is None or len(middle) > LONGEST // 2:
        return None, "too long to look at"
    try:
        return _verdict(hole, middle)
    except SlowTextError:
        return None, "it takes too long to parse"


def _verdict(hole: ParsedHole, middle: str) -> tuple[bool | None, str]:
    found = hole.fill(middle).problems
    if not found:
        return True, ""
    nearest = min(found, key=lambda problem: abs(problem.position - len(hole.prefix)))
    message = f"{nearest.message} in line {nearest.line + hole.lines_above}"
    if hole.is_sound(middle):
        return None, f"it cannot be parsed whatever is here: {message}"
    return False, message


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
