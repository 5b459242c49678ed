"""Where the user's hole ends.

A model rarely stops where the hole does: it goes on to write the suffix again, the next function, or the same line for
ever. Each rule here is one reason to end a candidate. It gets the hole and the text so far, and answers how many
characters to keep, or None. A rule decides only on evidence that more text cannot take back, so that the same rules
stop the model token by token while it streams.

The rules are cut-only: what they keep is byte for byte what the model wrote.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile

from fim_magic import lexing
from fim_magic.candidate import Cut
from fim_magic.document import Document

Rule = Callable[["Hole", str, bool], "int | None"]
"""`rule(hole, text, final)`: `text` is what the model wrote so far, `final` says that nothing more will come."""

_STRONG_CHARACTERS = 4  # letters and digits that a line needs to be recognised on its own
_INSIDE = lexing.State(("(",) * 64)  # of more brackets than any code has open
_TAB_WIDTH = 8  # Python's own: tabs go to the next multiple of 8
_LONGEST_BLOCK = 8  # lines in a repeated block that we look for
_BLOCK_REPEATS = 3
_LINE_REPEATS = 4
_BRACKET_LINE_REPEATS = 16  # a table of equal rows is data, not a loop
_RUN = re.compile(r"(.{1,40}?)\1{11,}", re.DOTALL)
_RUN_CHARACTERS = 120
_DATA_RUN_CHARACTERS = 480  # `0, 0, 0, ` may be a table
_CLOSING = ")]}'\" \t"
_WORD = re.compile(r"\w*")
_CLAUSES = ("elif", "else", "except", "finally")
_NEW_BRANCH = frozenset({*_CLAUSES, "case", "def", "class", "async", ""})  # "" is a decorator's or a bracket's
_JUMPS = frozenset({"break", "continue", "raise", "return"})
_USUAL_STEP = 4  # columns by which Python code is indented
_CELL_MAGIC = re.compile(r"\s*%%(\S*)")
_PYTHON_MAGICS = frozenset({"capture", "memit", "prun", "python", "python3", "time", "timeit"})
_WEAK_LINES = frozenset({"break", "continue", "finally:", "return", "return none", "pass", "else:"})


@dataclass(frozen=True)
class Hole:
    """The place that a candidate has to fit into, in a document as models know it (LF line ends)."""

    document: Document

    @property
    def prefix(self) -> str:
        """Everything before the hole."""
        return self.document.prefix

    @property
    def suffix(self) -> str:
        """Everything after the hole."""
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
    def is_python(self) -> bool:
        """Whether the cell is Python. One that begins with `%%bash` or `%%html` is not, one with `%%time` is."""
        magic = _CELL_MAGIC.match(self.prefix)
        return magic is None or magic.group(1) in _PYTHON_MAGICS

    @cached_property
    def state(self) -> lexing.State:
        """What is open at the hole."""
        return lexing.state_after(self.prefix)

    @cached_property
    def statement_indent(self) -> int:
        """The indentation of the statement that the hole is in; of its first line, where it has several."""
        start = 0
        for event in lexing.events(self.prefix):
            if event.ends_statement:
                start = event.at + 1
        return _indent(self.prefix[start:].partition("\n")[0])

    @property
    def above_code(self) -> bool:
        """Whether the hole is one for whole lines of Python, with a line of code somewhere below it."""
        open_here = self.state.depth or self.state.string
        return self.is_python and not self.within_line and not open_here and bool(self.following)

    @cached_property
    def deepest_indent(self) -> int:
        """The deepest indentation that a line below the hole may have if the candidate opens no block."""
        if self.head.strip():
            opens_block = _code_of(self.head).endswith(":")
            return self.statement_indent + (self.indent_step if opens_block else 0)
        if self.head and self.ends_line:
            return _indent(self.head)
        statements = (self.prefix[a:b] for a, b in _statements(self.prefix, lexing.events(self.prefix)))
        last = next((line for line in reversed([*statements]) if _code_of(line).strip()), "")
        return _indent(last) + (self.indent_step if _code_of(last).endswith(":") else 0)

    @cached_property
    def indent_step(self) -> int:
        """How far this text indents a block: the smallest indentation that it has."""
        lines = (self.prefix + "|" + self.suffix).split("\n")  # the hole's own line counts, whatever is on it
        return min({_indent(line) for line in lines if line.strip()} - {0}, default=_USUAL_STEP)

    @cached_property
    def outer(self) -> list[int]:
        """Where the suffix closes brackets that it did not open."""
        return _unmatched(lexing.events(self.suffix, _INSIDE))

    @cached_property
    def closed_at(self) -> int | None:
        """Where the suffix closes the innermost bracket or the string that is open at the hole, if it does."""
        if self.state.string:
            return _end_of_string(lexing.events(self.suffix, self.state), self.state)
        # More than are open at the hole: the candidate has to open the brackets that come first.
        from_candidate = max(len(self.outer) - self.state.depth, 0)
        return self.outer[from_candidate] if from_candidate < len(self.outer) else None

    @cached_property
    def _scan_start(self) -> tuple[str, lexing.State]:
        at = lexing.safe_split(self.prefix)
        return self.prefix[at:], lexing.state_after(self.prefix[:at])

    def state_after(self, text: str) -> lexing.State:
        """What is open after `text` in the hole."""
        lead, state = self._scan_start
        return lexing.state_after(lead + text, state)

    def events(self, text: str) -> list[lexing.Event]:
        """The lexical events of `text` in the hole, with positions in `text`."""
        lead, state = self._scan_start
        found = lexing.events(lead + text, state)
        return [lexing.Event(event.at - len(lead), event.kind, event.state) for event in found if event.at >= len(lead)]

    @cached_property
    def following(self) -> tuple[str, ...]:
        """The lines with text on them that a model that repeats the suffix would write, whole lines only."""
        rest = self.suffix if self.ends_line else self.head + self.suffix
        if self.within_line:
            rest = self.suffix.partition("\n")[2]
        return tuple(line for line in rest.split("\n") if line.strip())


def repeats_suffix(hole: Hole, text: str, final: bool) -> int | None:
    """End where the text begins to write again what stands after the hole.

    Within a line that is the rest of that line. Otherwise it is the next line that has text on it, with the same
    indentation; where that line says little (`else:`, a bracket), or it comes at once, the line after it as well.
    """
    if hole.within_line:
        at = _rest_of_line(hole, text, final)
        if at is not None:
            return at
    return _next_line(hole, text, final)


def _rest_of_line(hole: Hole, text: str, final: bool) -> int | None:
    tail = hole.tail.rstrip()
    only_closes_text = bool(hole.state.string) and not tail.strip(_CLOSING)
    at = text.find(tail)
    while at >= 0:
        rest, newline, _ = text[at + len(tail) :].partition("\n")
        if newline:
            ends_line = not rest.strip() or rest.lstrip().startswith("#")
        else:
            chance = only_closes_text or (not _strong(tail) and _joins_words(text[:at], tail))
            ends_line = final and not rest and not chance
        if ends_line and _fits(hole, text[:at], tail):
            return at
        at = text.find(tail, at + 1)
    return None


def _joins_words(before: str, after: str) -> bool:
    return _is_word(before[-1:]) and _is_word(after[:1])


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def _fits(hole: Hole, text: str, tail: str) -> bool:
    """Whether the hole's line closes what it should with `text` in the hole, so that `tail` is not part of `text`."""
    if not hole.is_python:
        return True
    before = hole.state_after(text)
    says_something = tail.strip(_CLOSING)
    if says_something and before.brackets == hole.state.brackets and before.string == hole.state.string:
        return True
    after = hole.state_after(text + tail)
    below = _unmatched(lexing.events(hole.suffix[len(hole.tail) :], replace(_INSIDE, string=after.string)))
    return len(after.string) != 1 and after.depth == len(below)


def _next_line(hole: Hole, text: str, final: bool) -> int | None:
    if not hole.following:
        return None
    lines = _lines(hole.head + text)
    for index, (start, line, complete) in enumerate(lines):
        at = start - len(hole.head)
        if (index == 0 and hole.within_line) or not line.strip():
            continue
        if not _same_line(line, hole.following[0], complete=complete, final=final):
            continue
        enough = index > 0 and (_strong(line) or _leaves_block(hole, text, lines[index + 1 :]))
        if not enough and not _goes_on_alike(hole, lines[index + 1 :], final):
            continue
        if hole.within_line:
            return len(text[:at].rstrip())  # what stands after the hole on its line follows
        return _end_before(hole, text, max(at, 0))
    return None


def _leaves_block(hole: Hole, text: str, lines: Sequence[tuple[int, str, bool]]) -> bool:
    """Whether the line after a weak match stands left of the hole's block, as the suffix's next one does."""
    line = next((line for _, line, _ in lines if line.strip()), None)
    if line is None or not hole.is_python:
        return False
    floor, opens_block = _floor(hole, text)
    as_suffix = len(hole.following) == 1 or _indent(line) == _indent(hole.following[1])
    return as_suffix and _indent(line) < floor + int(opens_block)


def _goes_on_alike(hole: Hole, lines: Sequence[tuple[int, str, bool]], final: bool) -> bool:
    """Whether the line after a weak match is the suffix's too."""
    if len(hole.following) == 1:
        return False
    for _, line, complete in lines:
        if line.strip():
            return _same_line(line, hole.following[1], complete=complete, final=final)
    return False


def _same_line(line: str, wanted: str, *, complete: bool, final: bool) -> bool:
    if not complete and not final:
        return False
    if _indent(line) != _indent(wanted):
        return False
    if _essence(line) == _essence(wanted):
        return True
    return not complete and _strong(line) and _breaks_off(line.strip(), wanted.strip())


def _breaks_off(line: str, wanted: str) -> bool:
    """Whether `line` is `wanted`, ended by the token limit. `import os` is not a broken `import os.path`."""
    if not wanted.startswith(line):
        return False
    inside_word = _joins_words(line, wanted[len(line) :])
    state = lexing.state_after(line)
    return inside_word or bool(state.brackets or state.string)


def _essence(line: str) -> str:
    """A line without white space and without a comment at its end: models add comments when they repeat."""
    return "".join((_code_of(line).strip() or line).split())


def end_of_line(hole: Hole, text: str, final: bool) -> int | None:  # noqa: ARG001 - a Rule
    """For a hole within a line: end with that line, unless the model opens a bracket or a block on it."""
    if not hole.within_line:
        return None
    if not hole.is_python:
        at = text.find("\n")
        return at if at >= 0 else None
    for event in hole.events(text):
        if event.kind != "newline":
            continue
        opened_string = event.state.string and event.state.string != hole.state.string
        opened = opened_string or event.state.depth > hole.state.depth
        line = text[: event.at].rstrip()
        if opened or line.endswith("\\"):
            continue
        opens_block = hole.state.in_code and not event.state.depth and line.endswith(":") and "\n" not in line
        return None if opens_block else event.at
    return None


def dedent(hole: Hole, text: str, final: bool) -> int | None:  # noqa: ARG001 - a Rule
    """For a hole inside an indented block: end with the block, where a line stands further left than the hole."""
    if not hole.is_python:
        return None
    floor, opens_block = _floor(hole, text)
    for event in hole.events(text):
        if not event.ends_statement:
            continue
        line = text[event.at + 1 :].partition("\n")[0]
        if not line.strip() or _indent(line) >= floor + int(opens_block):
            continue
        if opens_block and _indent(line) == floor and _may_be_clause(line):
            continue
        return _end_before(hole, text, event.at + 1)
    return None


def _floor(hole: Hole, text: str) -> tuple[int, bool]:
    """The indentation of the candidate's block, and whether the hole's line opens one that stands deeper."""
    if hole.head.strip() or hole.state.depth or hole.state.string:
        return hole.statement_indent, hole.state.in_code and _opens_block(hole, text)
    if hole.head:
        return _indent(hole.head), False
    # The marker stands in column 0: the model's first line says how deep the block is.
    first = next((line for line in text.split("\n") if line.strip()), "")
    # Nothing follows: then it is the outermost block that ends, the function that is being written.
    return (_indent(first) if hole.following else min(_indent(first), 1)), False


def opens_block(hole: Hole, text: str, final: bool) -> int | None:  # noqa: ARG001 - a Rule
    """For a hole above a line that stands deeper than anything open before it: end where that line's block opens."""
    if not hole.above_code or _indent(hole.following[0]) <= hole.deepest_indent:
        return None
    for start, end in _statements(text, hole.events(text)):
        line = hole.head + text[start:end] if start == 0 else text[start:end]
        opens_it = _indent(line) + hole.indent_step == _indent(hole.following[0])
        if opens_it and _code_of(line).endswith(":"):
            return _end_before(hole, text, end + 1)
    return None


def unreachable(hole: Hole, text: str, final: bool) -> int | None:
    """End before a `return` or the like after which what follows the hole, in the same block, could never run."""
    if not hole.above_code or _first_word(hole.following[0]) in _NEW_BRANCH:
        return None
    depth = _indent(hole.following[0])
    for start, end in _statements(text, hole.events(text), unfinished=final):
        line = hole.head + text[start:end] if start == 0 else text[start:end]
        if not line.strip():
            continue
        if _indent(line) < depth:
            return None  # what comes deeper from here on is in another block
        if _indent(line) == depth and _first_word(line) in _JUMPS and text[:start].strip():
            return _end_before(hole, text, start)
    return None


def _statements(text: str, found: Iterable[lexing.Event], *, unfinished: bool = False) -> list[tuple[int, int]]:
    """Where the statements of `text` begin and end; one over several lines is one."""
    ends = [event.at for event in found if event.ends_statement]
    if unfinished:
        ends.append(len(text))
    starts = [0, *(end + 1 for end in ends[:-1])]
    return list(zip(starts, ends, strict=False))  # without an end there is no statement yet


def _code_of(line: str) -> str:
    """A line without a comment at its end."""
    for event in lexing.events(line):
        if event.kind == "comment":
            return line[: event.at].rstrip()
    return line.rstrip()


def _first_word(line: str) -> str:
    word = _WORD.match(line.strip())
    return word.group() if word else ""


def _opens_block(hole: Hole, text: str) -> bool:
    """Whether the statement that the hole is in ends with a colon."""
    code_end = None
    for event in hole.events(text):
        if event.kind == "comment":
            code_end = event.at
        elif event.kind == "newline":
            if event.ends_statement:
                return (hole.head + text[: event.at if code_end is None else code_end]).rstrip().endswith(":")
            code_end = None
    return False


def _may_be_clause(line: str) -> bool:
    """Whether `line` goes on with the compound statement above it, or may do so when the rest of it has come."""
    written = _first_word(line)
    if written == line.strip():
        return any(clause.startswith(written) for clause in _CLAUSES if written)
    return written in _CLAUSES


def closes_outer(hole: Hole, text: str, final: bool) -> int | None:  # noqa: ARG001 - a Rule
    """End before a bracket or quote that closes what was opened before the hole, if the suffix closes it too.

    What the suffix has before that bracket or quote is not the candidate's either, if the text ends with it.
    """
    if not hole.is_python or hole.state.comment:
        return None
    found = hole.events(text)
    if hole.state.string:
        at = None if hole.closed_at is None else _end_of_string(found, hole.state)
    else:
        # Of the brackets that are open at the hole, the suffix leaves some: those are the candidate's to close.
        floor = min(len(hole.outer), hole.state.depth)
        at = next((event.at for event in found if event.kind == "close" and event.state.depth < floor), None)
    if at is None:
        return None
    repeated = hole.suffix[: hole.closed_at]
    return _end_before(hole, text, at - len(repeated) if text[:at].endswith(repeated) else at)


def _unmatched(found: Iterable[lexing.Event]) -> list[int]:
    """Where brackets are closed that were opened outside; the scan began `_INSIDE` them."""
    closed: list[int] = []
    for event in found:
        if event.kind == "close" and event.state.depth < _INSIDE.depth - len(closed):
            closed.append(event.at)
    return closed


def _end_of_string(found: Iterable[lexing.Event], state: lexing.State) -> int | None:
    """Where the string that `state` is in ends, or None if it does not; a line end breaks any but a triple-quoted."""
    for event in found:
        if event.kind == "end of string":
            return event.at
        if event.kind == "newline" and len(state.string) == 1:
            return None
    return None


def code_fence(hole: Hole, text: str, final: bool) -> int | None:  # noqa: ARG001 - a Rule
    """End before a Markdown fence: an instruct model that ends its code block goes on to explain it."""
    if not hole.is_python or hole.state.string:
        return None
    if text.startswith("```") and not hole.head.strip():
        return 0
    for event in hole.events(text):
        outside = event.kind == "newline" and not event.state.string
        if outside and text.startswith("```", event.at + 1):
            return _end_before(hole, text, event.at + 1)
    return None


def repetition(hole: Hole, text: str, final: bool) -> int | None:  # noqa: ARG001 - a Rule
    """End a loop: the same lines, or the same few characters, over and over. The first of them is kept."""
    cuts = [at for at in (_repeated_lines(hole, text), _repeated_run(text)) if at is not None]
    return min(cuts, default=None)


def _repeated_lines(hole: Hole, text: str) -> int | None:
    lines = [(start, line) for start, line, complete in _lines(text) if complete and line.strip()]
    for end in range(1, len(lines) + 1):
        for size in range(1, min(_LONGEST_BLOCK, end // 2) + 1):
            repeats = _LINE_REPEATS if size == 1 else _BLOCK_REPEATS
            if all(line.rstrip().endswith(",") for _, line in lines[end - size : end]):
                repeats = max(math.ceil(_BRACKET_LINE_REPEATS / size), _BLOCK_REPEATS)
            if _ends_in_repeats([line for _, line in lines[:end]], size, repeats):
                second = end - size * (repeats - 1)
                return _end_before(hole, text, lines[second][0])
    return None


def _ends_in_repeats(lines: Sequence[str], size: int, repeats: int) -> bool:
    if len(lines) < size * repeats:
        return False
    block = lines[-size:]
    return all(lines[len(lines) - size * (n + 1) : len(lines) - size * n] == block for n in range(1, repeats))


def _repeated_run(text: str) -> int | None:
    for match in _RUN.finditer(text):
        unit = match.group(1).strip()
        is_data = unit.startswith(",") or unit.endswith(",")
        least = _DATA_RUN_CHARACTERS if is_data else _RUN_CHARACTERS
        if any(c.isalnum() for c in unit) and len(match.group()) >= least:
            return match.end(1)
    return None


RULES: dict[str, Rule] = {
    "repeats-suffix": repeats_suffix,
    "closes-outer": closes_outer,
    "end-of-line": end_of_line,
    "opens-block": opens_block,
    "unreachable": unreachable,
    "dedent": dedent,
    "code-fence": code_fence,
    "repetition": repetition,
}
"""Every rule by the name that a result shows. Where two end a candidate at the same place, the first is named."""


def trim(hole: Hole, text: str, *, final: bool) -> Cut | None:
    """Return where the earliest rule ends `text`, or None if it may stand (or go on) as it is.

    Args:
        hole: Where the text goes.
        text: What the model wrote so far.
        final: Whether the model has ended, so that a line end or a bracket that is not there will not come.
    """
    cuts = [
        Cut(name, at) for name, rule in RULES.items() if (at := rule(hole, text, final)) is not None and at < len(text)
    ]
    return min(cuts, key=lambda cut: cut.at, default=None)


def _lines(text: str) -> list[tuple[int, str, bool]]:
    """The lines of `text` as (start, line, whether it is complete)."""
    lines = []
    start = 0
    for line in text.split("\n"):
        end = start + len(line)
        lines.append((start, line, end < len(text)))
        start = end + 1
    return lines


def _end_before(hole: Hole, text: str, at: int) -> int:
    """Where to cut so that what comes after the hole follows well on `text[:at]`.

    Where nothing follows on the hole's line, the suffix brings its own line end, so the candidate's goes; where a
    whole line follows, the candidate keeps one, and the indentation that the user wrote before the marker.
    """
    kept = len(text[:at].rstrip())
    if hole.ends_line:
        return kept
    line_start = text.rfind("\n", 0, at) + 1
    if hole.within_line or text[line_start:at].strip():
        return at
    if not hole.head:
        return text.find("\n", kept) + 1
    shared = takewhile(lambda pair: pair[0] == pair[1], zip(hole.head, text[line_start:]))  # noqa: B905
    return line_start + sum(1 for _ in shared)


def _indent(line: str) -> int:
    """The width of a line's leading white space, in columns."""
    expanded = line.expandtabs(_TAB_WIDTH)
    return len(expanded) - len(expanded.lstrip(" "))


def _strong(line: str) -> bool:
    """Whether a line says enough to be recognised when it comes again."""
    words = " ".join(line.split()).lower()
    return sum(c.isalnum() for c in words) >= _STRONG_CHARACTERS and words not in _WEAK_LINES
