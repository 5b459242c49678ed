"""The place that a candidate has to fit into."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import takewhile

from fim_magic import languages, lexing
from fim_magic.document import Document
from fim_magic.trimming.layout import (
    INSIDE,
    code_of,
    end_of_string,
    fields,
    first_line,
    indent,
    may_be_clause,
    statements,
    unmatched,
)

Rule = Callable[["Hole", str, bool], "int | None"]
"""`rule(hole, text, final)`: `text` is what the model wrote so far, `final` says that nothing more will come."""

_USUAL_STEP = 4  # columns by which Python code is indented
_DOCSTRING = ('"', "'", 'r"', "r'")
_TRIPLE = ('"""', "'''")
_FUNCTION = re.compile(r"[ \t\f]*(async[ \t]+)?(def|class)\b")
_FORMATTED = re.compile(r"(?:^|\W)(?:[rR]?[fFtT]|[fFtT][rR])\Z")  # what stands before the quotes of an f-string
_SHOWING = re.compile(r"test|example|demo|usage|print|assert|__main__|show|try it", re.IGNORECASE)
_IN_BRACES = frozenset({"c", "cpp", "css", "go", "java", "javascript", "r", "rust", "tsx", "typescript"})


@dataclass(frozen=True)
class Hole:
    """The place that a candidate has to fit into, in a document as models know it (LF line ends).

    Attributes:
        document: The text with the hole.
        least_statements: How many statements an answer has at least; it ends where it has them and leaves nothing
            wanting. None where it may go on as long as no other rule ends it.
        suffices: Whether a middle leaves nothing wanting.
        shown: What the model is shown beside the document, as text.
        is_short: Whether an answer is at most one statement, or a block, and one line where something follows on it.
    """

    document: Document
    least_statements: int | None = None
    suffices: Callable[[str], bool] = field(default=lambda _middle: True, compare=False)
    shown: str = ""
    is_short: bool = False

    @property
    def prefix(self) -> str:
        return self.document.prefix

    @property
    def suffix(self) -> str:
        return self.document.suffix

    @cached_property
    def head(self) -> str:
        """What stands before the hole on its line."""
        return self.prefix[self.prefix.rfind("\n") + 1 :]

    @cached_property
    def tail(self) -> str:
        """What stands after the hole on its line."""
        return self.suffix.partition("\n")[0]

    @property
    def within_line(self) -> bool:
        """Whether there is text on both sides of the hole on its line."""
        return bool(self.head.strip() and self.tail.strip())

    @property
    def ends_line(self) -> bool:
        """Whether nothing stands after the hole on its line."""
        return not self.tail.strip()

    @cached_property
    def asks_to_show(self) -> bool:
        """Whether the text before the hole speaks of tests, examples or printing."""
        return _SHOWING.search(self.prefix) is not None

    @cached_property
    def language(self) -> str:
        """What the text is in: as its file's ending says, else the cell's magic, else Python."""
        return self.document.language or languages.of_cell(self.prefix)

    @property
    def brace_language(self) -> str:
        """The language, if it has its blocks in braces, or ""."""
        return self.language if self.language in _IN_BRACES else ""

    @cached_property
    def braces(self) -> tuple[int, int]:
        """How many braces are open at the hole, and how many of those the suffix closes."""
        hash_comments = self.brace_language == "r"
        opened, _ = lexing.braces(self.prefix, hash_comments=hash_comments)
        _, closed = lexing.braces(self.suffix, hash_comments=hash_comments)
        return opened, len(closed)

    @cached_property
    def is_python(self) -> bool:
        """Whether the cell is Python. One with `%%time` or `%%writefile mean.py` is, one with `%%bash` is not."""
        return self.language == languages.PYTHON

    @cached_property
    def state(self) -> lexing.State:
        """What is open at the hole."""
        return lexing.state_after(self.prefix)

    @cached_property
    def statements_above(self) -> list[str]:
        """The statements before the hole's own, without those that are only comments."""
        found = (self.prefix[start:end] for start, end in statements(self.prefix, lexing.events(self.prefix)))
        return [statement for statement in found if code_of(statement).strip()]

    @cached_property
    def is_whole_body(self) -> bool:
        """Whether the hole is all of a block's body, but for a docstring at its beginning."""
        above = self.statements_above
        if len(above) > 1 and above[-1].lstrip().startswith(_DOCSTRING):
            above = above[:-1]
        if self.head.strip() or not above or not code_of(above[-1]).endswith(":"):
            return False
        return not self.following or indent(self.following[0]) <= indent(above[-1])

    @cached_property
    def statement_indent(self) -> int:
        """The indentation of the statement that the hole is in; of its first line, where it has several."""
        ends = (event.position for event in lexing.events(self.prefix) if event.ends_statement)
        return indent(self.prefix[max(ends, default=-1) + 1 :].partition("\n")[0])

    @cached_property
    def suffix_string(self) -> str:
        """The delimiter of the string that the suffix begins in, or "".

        A candidate may have to end the docstring that the hole is in, or to begin the one that the suffix ends: it is
        so where the suffix's own strings end well only then.
        """
        likely = (self.state.string, *(string for string in ("", *_TRIPLE) if string != self.state.string))
        if len(self.state.string) == 1 or not any(string in self.suffix for string in _TRIPLE):
            return self.state.string
        ends = (string for string in likely if not lexing.state_after(self.suffix, lexing.State(string=string)).string)
        return next(ends, self.state.string)

    @cached_property
    def open_fields(self) -> int:
        """How many replacement fields of an f-string (PEP 498; of a t-string, PEP 750) are open at the hole."""
        if not self.state.string:
            return 0
        *_, opening = (event.position for event in lexing.events(self.prefix) if event.kind == "string")
        if not _FORMATTED.search(self.prefix[:opening]):
            return 0
        text = self.prefix[opening + len(self.state.string) :]
        return [0, *(depth for _, depth in fields(text, 0))][-1]

    @cached_property
    def field_ends(self) -> tuple[int, ...]:
        """Where the suffix closes replacement fields that are open at the hole, innermost first."""
        if not self.open_fields or self.closed_at is None:
            return ()
        found, least = [], self.open_fields
        for position, depth in fields(self.suffix[: self.closed_at], self.open_fields):
            if depth < least:
                found.append(position)
                least = depth
        return tuple(found)

    @property
    def in_indentation(self) -> bool:
        """Whether the marker stands in the indentation of a line that has nothing else."""
        return bool(self.head) and not self.head.strip()

    @cached_property
    def functions(self) -> tuple[int, ...]:
        """The indentation of every function and class that the hole may be in, outermost first."""
        found: list[int] = []
        for start, end in statements(self.prefix, lexing.events(self.prefix), unfinished=True):
            line = self.prefix[start:end]
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            found = [depth for depth in found if depth < indent(line)]
            if _FUNCTION.match(line):
                found.append(indent(line))
        return tuple(found)

    @cached_property
    def function_above(self) -> str:
        """The text before the hole from the innermost function around it on; of a cell's top level, from a statement.

        A clause goes on with the statement above it, so that one that stands furthest left begins nothing.
        """
        around = [depth for depth in self.functions if not self.in_indentation or depth < indent(self.head)]
        begin, depth = 0, around[-1] if around else 0
        for start, end in statements(self.prefix, lexing.events(self.prefix), unfinished=True):
            line = self.prefix[start:end]
            is_top = indent(line) == 0 and bool(code_of(line).strip()) and not may_be_clause(line)
            if is_top or (around and indent(line) == depth and _FUNCTION.match(line)):
                begin = start
        return self.prefix[begin:]

    @property
    def above_code(self) -> bool:
        """Whether the hole is one for whole lines of Python, with a line of code somewhere below it."""
        open_here = self.state.depth or self.state.string or self.suffix_string
        return self.is_python and not self.within_line and not open_here and bool(self.following)

    @cached_property
    def deepest_indent(self) -> int:
        """The deepest indentation that a line below the hole may have if the candidate opens no block."""
        if self.head.strip():
            opens_block = code_of(self.head).endswith(":")
            return self.statement_indent + (self.indent_step if opens_block else 0)
        if self.head and self.ends_line:
            return indent(self.head)
        last = self.statements_above[-1] if self.statements_above else ""
        return indent(last) + (self.indent_step if code_of(last).endswith(":") else 0)

    @cached_property
    def indent_step(self) -> int:
        """How far this text indents a block: the smallest indentation that it has."""
        lines = (self.prefix + "|" + self.suffix).split("\n")  # the hole's own line counts, whatever is on it
        return min({indent(line) for line in lines if line.strip()} - {0}, default=_USUAL_STEP)

    @cached_property
    def outer(self) -> list[int]:
        """Where the suffix closes brackets that it did not open."""
        return unmatched(lexing.events(self.suffix, INSIDE))

    @cached_property
    def closed_at(self) -> int | None:
        """Where the suffix closes the innermost bracket or the string that is open at the hole, if it does."""
        if self.state.string and self.state.string != self.suffix_string:
            return None
        if self.state.string:
            return end_of_string(lexing.events(self.suffix, self.state), self.state)
        # More than are open at the hole: the candidate has to open the brackets that come first.
        from_candidate = max(len(self.outer) - self.state.depth, 0)
        return self.outer[from_candidate] if from_candidate < len(self.outer) else None

    @cached_property
    def _scan_start(self) -> tuple[str, lexing.State]:
        split = lexing.safe_split(self.prefix)
        return self.prefix[split:], lexing.state_after(self.prefix[:split])

    def state_after(self, text: str) -> lexing.State:
        """Return what is open after `text` in the hole."""
        lead, state = self._scan_start
        return lexing.state_after(lead + text, state)

    def events(self, text: str) -> list[lexing.Event]:
        """Return the lexical events of `text` in the hole, with positions in `text`."""
        if text not in self._scanned:
            lead, state = self._scan_start
            found = lexing.events(lead + text, state)
            self._scanned.clear()  # the rules ask one after the other about the same text
            self._scanned[text] = [
                replace(event, position=event.position - len(lead)) for event in found if event.position >= len(lead)
            ]
        return self._scanned[text]

    @cached_property
    def _scanned(self) -> dict[str, list[lexing.Event]]:
        return {}

    def block_indent(self, text: str) -> int:
        """Return the indentation of the block of the hole's lines, with `text` in it."""
        return indent(self.head or first_line(text))

    def statements(self, text: str, *, unfinished: bool) -> Iterator[tuple[int, int, str]]:
        """Yield where each statement of `text` begins and ends, and all its lines: the first has the hole's `head`."""
        for start, end in statements(text, self.events(text), unfinished=unfinished):
            yield start, end, (self.head if start == 0 else "") + text[start:end]

    @cached_property
    def following(self) -> tuple[str, ...]:
        """The lines with text on them that a model that repeats the suffix would write, whole lines only."""
        rest = self.suffix if self.ends_line else self.head + self.suffix
        if self.within_line:
            rest = self.suffix.partition("\n")[2]
        return tuple(line for line in rest.split("\n") if line.strip())


def end_before(hole: Hole, text: str, position: int) -> int:
    """Return where to cut so that what comes after the hole follows well on `text[:position]`.

    Where nothing follows on the hole's line, the suffix brings its own line end, so the candidate's goes; where a
    whole line follows, the candidate keeps one, and the indentation that the user wrote before the marker.
    """
    kept = len(text[:position].rstrip())
    if hole.ends_line:
        return kept
    line_start = text.rfind("\n", 0, position) + 1
    if hole.within_line or text[line_start:position].strip():
        return position
    if not hole.head:
        return text.find("\n", kept) + 1
    shared = takewhile(lambda pair: pair[0] == pair[1], zip(hole.head, text[line_start:], strict=False))
    return line_start + sum(1 for _ in shared)
