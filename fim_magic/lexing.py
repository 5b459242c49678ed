"""Just enough of Python's lexical structure to know where a hole stands.

A cell with a hole in it does not tokenize, so Python's own `tokenize` cannot be used. This scanner knows strings,
comments, brackets and line ends, forgives everything else, and never fails. IPython's `%` and `!` lines are taken as
comments: an apostrophe in `!echo don't` opens no string.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

DEEPEST = 100
"""How many open brackets are told apart, more than any code has; else a text of openers takes the square of its length.
"""

_OPENERS = {"(": ")", "[": "]", "{": "}"}
_CLOSERS = frozenset(_OPENERS.values())
_QUOTES = frozenset("'\"")
_IPYTHON_LINE = frozenset("%!?")
_PLAIN = re.compile(r"[^\n#'\"()\[\]{}\\%!?]+")
_OUTSIDE_PYTHON = (
    r"""//[^\n]*|/\*.*?(?:\*/|\Z)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?|`[^`]*`?|[{}]"""  # C, Java, JavaScript
)
_BRACED = re.compile(_OUTSIDE_PYTHON, re.DOTALL)
_BRACED_WITH_HASH = re.compile(r"#[^\n]*|" + _OUTSIDE_PYTHON, re.DOTALL)  # R, which has other comments
_NOT_IN_STRING = re.compile(r"[^\n'\"\\]+")


@dataclass(frozen=True)
class State:
    """What is open at a position.

    Attributes:
        brackets: The open brackets, innermost last. Beyond `DEEPEST`, they are only counted.
        string: The delimiter of the string that the position is in, or "".
        comment: Whether the position is in a comment.
        blank_line: Whether only white space stands before the position on its line.
        deeper: How many brackets are open beyond those.
    """

    brackets: tuple[str, ...] = ()
    string: str = ""
    comment: bool = False
    blank_line: bool = True
    deeper: int = 0

    @property
    def depth(self) -> int:
        return len(self.brackets) + self.deeper

    @property
    def in_code(self) -> bool:
        """Whether the position is neither in a string nor in a comment."""
        return not self.string and not self.comment


@dataclass(frozen=True)
class Event:
    """Something that changes what is open.

    Attributes:
        position: Where it begins in the scanned text.
        kind: "open", "close", "string", "end of string", "comment" or "newline".
        state: What is open after it.
    """

    position: int
    kind: str
    state: State

    @property
    def ends_statement(self) -> bool:
        """Whether it is a line end outside brackets and strings, where Python ends a statement."""
        return self.kind == "newline" and not self.state.depth and not self.state.string


def state_after(text: str, state: State = State()) -> State:
    """Return what is open at the end of `text`, which begins in `state`."""
    position = 0
    while position < len(text):
        _, width, state = _step(text, position, state)
        position += width
    return state


def events(text: str, state: State = State()) -> Iterator[Event]:
    """Yield every event in `text`, which begins in `state`.

    A text that is scanned in two parts must not be parted inside a run of quotes, after a backslash or inside `!=`:
    `safe_split` finds a place where it may.
    """
    position = 0
    while position < len(text):
        kind, width, state = _step(text, position, state)
        if kind:
            yield Event(position, kind, state)
        position += width


def safe_split(text: str) -> int:
    """Return the last position at which a scan of `text` may be parted from what follows it."""
    return len(text.rstrip("'\"\\!"))


def braces(text: str, *, hash_comments: bool = False) -> tuple[int, list[int]]:
    """Look at the braces of a language that has its blocks in them; strings and comments are left out.

    Args:
        text: Code in such a language.
        hash_comments: Whether `#` begins a comment.

    Returns:
        How many are open at the end of `text`, and where it closes those that it did not open.
    """
    depth = 0
    closed = []
    for match in (_BRACED_WITH_HASH if hash_comments else _BRACED).finditer(text):
        if match.group() == "{":
            depth += 1
        elif match.group() == "}" and depth:
            depth -= 1
        elif match.group() == "}":
            closed.append(match.start())
    return depth, closed


def _step(text: str, position: int, state: State) -> tuple[str, int, State]:
    """Take one step: return the kind of event or "", how many characters it took, and what is open after it."""
    if text[position] == "\n":
        # Only a triple-quoted string goes over a line end; any other was left open by mistake and ends here.
        string = state.string if len(state.string) > 1 else ""
        return "newline", 1, State(state.brackets, string, deeper=state.deeper)
    if state.comment:
        end = text.find("\n", position)
        return "", (len(text) if end < 0 else end) - position, state
    if state.string:
        return _inside_string(text, position, state)
    return _in_code(text, position, state)


def _in_code(text: str, position: int, state: State) -> tuple[str, int, State]:
    plain = _PLAIN.match(text, position)
    if plain:
        blank = state.blank_line and not plain.group().strip(" \t")
        return "", plain.end() - position, state if blank == state.blank_line else replace(state, blank_line=blank)
    char = text[position]
    inked = replace(state, blank_line=False) if state.blank_line else state
    if char == "#" or (char in _IPYTHON_LINE and _begins_ipython(text, position, state)):
        return "comment", 1, replace(inked, comment=True)
    if char in _QUOTES:
        delimiter = char * 3 if text.startswith(char * 3, position) else char
        return "string", len(delimiter), replace(inked, string=delimiter)
    if char in _OPENERS:
        return "open", 1, _opened(inked, char)
    if char in _CLOSERS:
        return "close", 1, _closed(inked)
    return "", 2 if char == "\\" else 1, inked


def _opened(state: State, bracket: str) -> State:
    if len(state.brackets) < DEEPEST:
        return replace(state, brackets=(*state.brackets, bracket))
    return replace(state, deeper=state.deeper + 1)


def _closed(state: State) -> State:
    return replace(state, deeper=state.deeper - 1) if state.deeper else replace(state, brackets=state.brackets[:-1])


def _begins_ipython(text: str, position: int, state: State) -> bool:
    """Whether a `%`, `!` or `?` hands the rest of its line to IPython, as in `files = !ls`."""
    if state.brackets:
        return False
    return state.blank_line or (text[position] == "!" and not text.startswith("!=", position))


def _inside_string(text: str, position: int, state: State) -> tuple[str, int, State]:
    inked = replace(state, blank_line=False) if state.blank_line and text[position] not in " \t" else state
    plain = _NOT_IN_STRING.match(text, position) if not inked.blank_line else None
    if plain:
        return "", plain.end() - position, inked
    if text[position] == "\\":
        return "", 2, inked
    if text.startswith(state.string, position):
        return "end of string", len(state.string), replace(inked, string="")
    return "", 1, inked
