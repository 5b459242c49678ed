"""Just enough of Python's lexical structure to know where a hole stands.

A cell with a hole in it does not tokenize, so Python's own `tokenize` cannot be asked. This scanner knows strings,
comments, brackets and line ends, forgives everything else, and never fails. IPython's `%` and `!` lines are taken as
comments: an apostrophe in `!echo don't` opens no string.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

_OPENERS = {"(": ")", "[": "]", "{": "}"}
_CLOSERS = frozenset(_OPENERS.values())
_QUOTES = frozenset("'\"")
_IPYTHON_LINE = frozenset("%!?")


@dataclass(frozen=True)
class State:
    """What is open at a position.

    Attributes:
        brackets: The open brackets, innermost last.
        string: The delimiter of the string that the position is in, or "".
        comment: Whether the position is in a comment.
        blank_line: Whether only white space stands before the position on its line.
    """

    brackets: tuple[str, ...] = ()
    string: str = ""
    comment: bool = False
    blank_line: bool = True

    @property
    def depth(self) -> int:
        """How many brackets are open."""
        return len(self.brackets)

    @property
    def in_code(self) -> bool:
        """Whether the position is neither in a string nor in a comment."""
        return not self.string and not self.comment


@dataclass(frozen=True)
class Event:
    """Something that changes what is open.

    Attributes:
        at: Where it begins in the scanned text.
        kind: "open", "close", "string", "end of string", "comment" or "newline".
        state: What is open after it.
    """

    at: int
    kind: str
    state: State


def state_after(text: str, state: State = State()) -> State:
    """Return what is open at the end of `text`, which begins in `state`."""
    blank = state.blank_line
    for event in events(text, state):
        state = event.state
    last_line = text[text.rfind("\n") + 1 :]
    blank = (blank or "\n" in text) and not last_line.strip()
    return replace(state, blank_line=blank)


def events(text: str, state: State = State()) -> Iterator[Event]:
    """Yield every event in `text`, which begins in `state`.

    A text that is scanned in two parts must not be parted inside a run of quotes or after a backslash: `safe_split`
    finds a place where it may.
    """
    at = 0
    while at < len(text):
        kind, width, state = _step(text, at, state)
        if kind:
            yield Event(at, kind, state)
        at += width


def safe_split(text: str) -> int:
    """Return the last position at which a scan of `text` may be parted from what follows it."""
    return len(text.rstrip("'\"\\"))


def _step(text: str, at: int, state: State) -> tuple[str, int, State]:  # noqa: PLR0911 - one a kind of character
    """Take one step at `text[at]`: the kind of event or "", how many characters it took, and the state after it."""
    char = text[at]
    if char == "\n":
        return _newline(state)
    if state.comment:
        return "", 1, state
    if state.string:
        return _inside_string(text, at, state)
    if state.blank_line and char in _IPYTHON_LINE and not state.brackets:
        return "comment", 1, replace(state, comment=True, blank_line=False)
    inked = replace(state, blank_line=state.blank_line and char in " \t")
    if char == "#":
        return "comment", 1, replace(inked, comment=True)
    if char in _QUOTES:
        delimiter = char * 3 if text.startswith(char * 3, at) else char
        return "string", len(delimiter), replace(inked, string=delimiter)
    if char in _OPENERS:
        return "open", 1, replace(inked, brackets=(*state.brackets, char))
    if char in _CLOSERS:
        return "close", 1, replace(inked, brackets=state.brackets[:-1])
    if char == "\\":
        return "", 2, inked
    return "", 1, inked


def _newline(state: State) -> tuple[str, int, State]:
    # Only a triple-quoted string goes over a line end; any other was left open by mistake and ends here.
    string = state.string if len(state.string) > 1 else ""
    return "newline", 1, State(state.brackets, string)


def _inside_string(text: str, at: int, state: State) -> tuple[str, int, State]:
    if text[at] == "\\":
        return "", 2, state
    if text.startswith(state.string, at):
        return "end of string", len(state.string), replace(state, string="", blank_line=False)
    return "", 1, state
