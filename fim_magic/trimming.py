"""Where the user's hole ends.

A model rarely stops where the hole does: it goes on to write the suffix again, the next function, or the same line for
ever. Each rule here is one reason to end a candidate. It gets the hole and the text so far, and answers how many
characters to keep, or None. A rule decides only on evidence that more text cannot take back, so that the same rules
stop the model token by token while it streams.

The rules are cut-only: what they keep is byte for byte what the model wrote.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

from fim_magic import lexing
from fim_magic.candidate import Cut
from fim_magic.document import Document

Rule = Callable[["Hole", str, bool], "int | None"]
"""`rule(hole, text, final)`: `text` is what the model wrote so far, `final` says that nothing more will come."""

_STRONG_CHARACTERS = 4  # letters and digits that a line needs to be recognised on its own
_TAB_WIDTH = 8  # Python's own: tabs go to the next multiple of 8
_LONGEST_BLOCK = 8  # lines in a repeated block that we look for
_BLOCK_REPEATS = 3
_LINE_REPEATS = 4
_BRACKET_LINE_REPEATS = 16  # a table of equal rows is data, not a loop
_RUN = re.compile(r"(.{1,40}?)\1{11,}", re.DOTALL)
_RUN_CHARACTERS = 120
_CLOSING = ")]}'\" \t"
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
        """Whether the cell is Python. A cell that begins with `%%bash` or `%%html` is not."""
        return not self.prefix.lstrip().startswith("%%")

    @cached_property
    def state(self) -> lexing.State:
        """What is open at the hole."""
        return lexing.state_after(self.prefix)

    @cached_property
    def _scan_start(self) -> tuple[str, lexing.State]:
        at = lexing.safe_split(self.prefix)
        return self.prefix[at:], lexing.state_after(self.prefix[:at])

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
    if hole.is_python and not tail.strip(_CLOSING):
        return None  # what only closes something is for `closes_outer`, which counts
    strong = _strong(tail)
    at = text.find(tail)
    while at >= 0:
        after = text[at + len(tail) :]
        line, newline, _ = after.partition("\n")
        at_line_end = not line.strip() and (bool(newline) or final)
        if (strong or at_line_end) and _balanced(hole, text[:at]):
            return at
        at = text.find(tail, at + 1)
    return None


def _balanced(hole: Hole, text: str) -> bool:
    if not hole.is_python:
        return True
    found = hole.events(text)
    state = found[-1].state if found else hole.state
    return state.brackets == hole.state.brackets and state.string == hole.state.string


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
        enough = index > 0 and _strong(line)
        if not enough and not _goes_on_alike(hole, lines[index + 1 :], final):
            continue
        return _end_before(hole, text, max(at, 0))
    return None


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
    same_indent = _indent(line) == _indent(wanted)
    ours, theirs = _essence(line), _essence(wanted)
    if complete:
        return same_indent and ours == theirs
    return same_indent and _strong(line) and theirs.startswith(ours)


def _essence(line: str) -> str:
    """A line without white space and without a comment at its end: models add comments when they repeat."""
    for event in lexing.events(line):
        if event.kind == "comment" and line[: event.at].strip():
            line = line[: event.at]
            break
    return "".join(line.split())


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
        opens_block = hole.state.in_code and line.endswith(":") and "\n" not in line
        return None if opens_block else event.at
    return None


def dedent(hole: Hole, text: str, final: bool) -> int | None:  # noqa: ARG001 - a Rule
    """For a hole inside an indented block: end with the block, where a line stands further left than the hole."""
    if not hole.is_python or hole.state.string or hole.state.brackets:
        return None
    floor = _floor(hole, text)
    for event in hole.events(text):
        if event.kind != "newline" or event.state.depth or event.state.string:
            continue
        line = text[event.at + 1 :].partition("\n")[0]
        continued = text[: event.at].endswith("\\")
        if line.strip() and not continued and _indent(line) < floor:
            return _end_before(hole, text, event.at + 1)
    return None


def _floor(hole: Hole, text: str) -> int:
    """The least indentation that a line of the candidate may have."""
    if hole.head.strip():
        line = (hole.head + text.partition("\n")[0]).rstrip()
        opens_block = line.endswith(":") and not hole.state.comment
        return _indent(hole.head) + int(opens_block)
    if hole.head:
        return _indent(hole.head)
    # The marker stands in column 0: the model's first line says how deep the block is.
    first = next((line for line in text.split("\n") if line.strip()), "")
    return _indent(first)


def closes_outer(hole: Hole, text: str, final: bool) -> int | None:  # noqa: ARG001 - a Rule
    """End before a bracket or quote that closes what was opened before the hole, if the suffix closes it too."""
    if not hole.is_python or hole.state.comment:
        return None
    if hole.state.string:
        return _closes_string(hole, text)
    lowest = hole.state.depth
    for event in lexing.events(hole.suffix, hole.state):
        lowest = min(lowest, event.state.depth)
    for event in hole.events(text):
        # Of the brackets that are open at the hole, the suffix leaves `lowest`: those are the candidate's to close.
        if event.kind == "close" and event.state.depth < hole.state.depth - lowest:
            return _end_before(hole, text, event.at)
    return None


def _closes_string(hole: Hole, text: str) -> int | None:
    def end_of_string(found: Sequence[lexing.Event]) -> int | None:
        ends = (event.at for event in found if event.kind == "end of string")
        first = next((e for e in found if e.kind in ("end of string", "newline")), None)
        if first is not None and first.kind == "newline" and len(hole.state.string) == 1:
            return None
        return next(ends, None)

    if end_of_string(list(lexing.events(hole.suffix, hole.state))) is None:
        return None
    at = end_of_string(hole.events(text))
    return None if at is None else _end_before(hole, text, at)


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
            if size == 1 and lines[end - 1][1].rstrip().endswith(","):
                repeats = _BRACKET_LINE_REPEATS
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
        says_something = any(c.isalnum() for c in match.group(1))
        if says_something and len(match.group()) >= _RUN_CHARACTERS:
            return match.end(1)
    return None


RULES: dict[str, Rule] = {
    "repeats-suffix": repeats_suffix,
    "closes-outer": closes_outer,
    "end-of-line": end_of_line,
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
