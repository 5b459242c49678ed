"""What the rules for other languages than Python share: the hole as the language's parser has it.

Without a parser (`fim_magic.languages`), the other rules go by the layout of lines. A line is judged when it is
complete: then the text with all lines up to it in the hole is parsed, once for each line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import ParamSpec, TypeVar

from fim_magic.languages import ParsedHole, SlowTextError, parse_hole
from fim_magic.trimming.hole import Hole

_P = ParamSpec("_P")
_T = TypeVar("_T")


def or_by_layout(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Call a function once more where parsing a hole takes too long: then `parsed_hole` returns None for it."""

    @wraps(function)
    def called(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return function(*args, **kwargs)
        except SlowTextError:
            return function(*args, **kwargs)

    return called


def parsed_hole(hole: Hole) -> ParsedHole | None:
    """Return the hole as the parser of its language sees it, or None if there is no parser, or it takes too long."""
    parsed = None if hole.is_python else parse_hole(hole.language, hole.prefix, hole.suffix)
    return None if parsed is None or parsed.is_too_slow else parsed


def line_ends(text: str, final: bool) -> Iterator[int]:
    """Yield where the complete lines of a text end."""
    end = text.find("\n")
    while end >= 0:
        yield end
        end = text.find("\n", end + 1)
    if final:
        yield len(text)


def asks_for_rest(hole: Hole, text: str) -> bool:
    """Whether the hole is the rest of a line, and not a body that begins on the next one."""
    return bool(hole.head.strip()) and (bool(hole.tail.strip()) or bool(text.partition("\n")[0].strip()))


def is_whole(parsed: ParsedHole, text: str) -> bool:
    """Whether a text could be the whole answer: what follows the hole goes well with it."""
    return bool(text.strip()) and parsed.is_sound(text) and parsed.is_apart(text)


def whole_ends(parsed: ParsedHole, text: str) -> list[int]:
    """Return the line ends of a text at which it could end."""
    return [end for end in line_ends(text, final=True) if is_whole(parsed, text[:end])]
