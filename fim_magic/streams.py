"""Standard streams as they are found: None, closed, another program's logger, a terminal that is dumb.

What is written here for people may be lost; it never ends what it tells of.
"""

from __future__ import annotations

import codecs
import logging
import os
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

_log = logging.getLogger(__name__)

_failures: WeakKeyDictionary[Any, OSError] = WeakKeyDictionary()


def is_tty(stream: Any) -> bool:
    """Whether a stream ends at a terminal, a dumb one too."""
    try:
        return bool(stream.isatty())
    except Exception:  # None, closed, or a class of somebody's that has no such method
        return False


def is_terminal(stream: Any) -> bool:
    """Whether a stream is a terminal that can draw in place. One that calls itself dumb cannot."""
    return is_tty(stream) and os.environ.get("TERM") != "dumb"


def known_encoding(stream: Any) -> str:
    """Return a stream's encoding; "ascii" where it has none, or one that Python does not know."""
    try:
        return codecs.lookup(stream.encoding).name
    except Exception:
        return "ascii"


def can_encode(stream: Any, text: str) -> bool:
    """Whether a stream's encoding has every character of a text."""
    try:
        text.encode(known_encoding(stream))
    except UnicodeEncodeError:
        return False
    return True


def write(stream: Any, text: str) -> bool:
    """Write a text at once; see [`put`][]."""
    if not put(stream, text):
        return False
    try:
        stream.flush()
    except Exception:  # a class of somebody's that has no such method, or a full disk
        _log.debug("A stream cannot be flushed.", exc_info=True)
    return True


def put(stream: Any, text: str) -> bool:
    """Write a text, and say whether that went well. What its encoding lacks is written as escapes."""
    try:
        try:
            stream.write(text)
        except UnicodeEncodeError:
            encoding = known_encoding(stream)
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    except Exception as error:
        _log.debug("A stream does not take what is written for the user.", exc_info=True)
        if isinstance(error, OSError):
            with suppress(TypeError):  # a class of somebody's that no dictionary takes
                _failures[stream] = error.with_traceback(None)
        return False
    return True


def failure_of(stream: Any) -> OSError | None:
    """Return why the system did not take something that was [`put`][] into a stream, and forget it; else None."""
    with suppress(TypeError):
        return _failures.pop(stream, None)
    return None
