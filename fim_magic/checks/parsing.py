"""Whether a cell is Python."""

from __future__ import annotations

from functools import partial

from fim_magic.candidate import Check
from fim_magic.cell_text import LONGEST, compiled, python_of

OTHER_LANGUAGE = "not Python"
"""So it is said of a cell that cannot be judged."""

_SHOWN = 120  # characters of what was found


def parses(text: str) -> Check:
    """Tell whether a cell is Python, or what IPython makes into Python. Nothing is run.

    Args:
        text: The whole cell. One in another language (`%%bash`) cannot be judged.
    """
    check = partial(Check, "parses")
    if len(text) > LONGEST:
        return check(None, "too long to look at")
    source = python_of(text)
    if source is None:
        return check(None, OTHER_LANGUAGE)
    try:
        compiled(source)
    except SyntaxError as error:
        line = f" in line {error.lineno}" if error.lineno else ""
        return check(False, short(f"{type(error).__name__}: {error.msg}{line}"))
    except (RecursionError, MemoryError):
        return check(None, "nested too deep to look at")
    except (ValueError, OverflowError) as error:  # null bytes, a lone surrogate
        return check(False, short(f"not Python source: {error}"))
    return check(True)


def short(text: str) -> str:
    """Return a text for the user, cut where it is long."""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
