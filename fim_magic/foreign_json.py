"""JSON that somebody else wrote: how deep it nests is seen before it is parsed.

Python's parser calls itself for each level. Near the limit of that, whatever else happens to run fails: finalizers of
objects that are not ours, too.
"""

from __future__ import annotations

import json
import re
from itertools import accumulate
from typing import Any

DEEPEST = 64
"""Levels to which JSON may nest. What reads it afterwards calls itself for each level, and configurations have six."""
DEEPEST_NOTEBOOK = 500
"""Levels to which a notebook may: a library may put a tree into an output. The rest of Python's 1000 is for callers."""

_ESCAPE = re.compile(r"\\.", re.DOTALL)
_STRING = re.compile(r'"[^"]*"?')  # without escapes; one that does not end goes on to the end of the text
_NO_BRACKETS = re.compile(r"[^\[\]{}]+")
_STEP = {"[": 1, "{": 1, "]": -1, "}": -1}


class TooDeepError(ValueError):
    """JSON nests deeper than it may. The message is half a sentence, whose subject is the text."""


def parsed(text: str | bytes, deepest: int = DEEPEST) -> Any:
    """Return the value of a text of JSON; bytes are read as `json.loads` does.

    Args:
        text: All of it.
        deepest: Levels to which it may nest.

    Raises:
        TooDeepError: It nests deeper.
        ValueError: It is no JSON.
    """
    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text), "surrogatepass")
    require_shallow(text, deepest)
    try:
        return json.loads(text)
    except RecursionError:  # the caller is as deep in the stack itself
        raise TooDeepError("nests deeper than Python can go here") from None


def require_shallow(text: str, deepest: int = DEEPEST) -> None:
    """Refuse a text of JSON that nests deeper than so many levels, in time that grows with its length.

    Of what is no JSON, only that counts which is in front of the first fault: that far a parser comes.

    Raises:
        TooDeepError: It does.
    """
    if text.count("[") + text.count("{") <= deepest:
        return
    # One after another: a pattern of whole strings, escapes and all, would keep a note of each escape.
    if "\\" in text:
        text = _ESCAPE.sub("", text)
    brackets = _NO_BRACKETS.sub("", _STRING.sub("", text))
    if next(filter(deepest.__lt__, accumulate(map(_STEP.__getitem__, brackets))), 0):
        raise TooDeepError(f"nests more than {deepest} levels deep")
