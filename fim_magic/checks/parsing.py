"""Whether a cell parses: as Python, or as the language that it is in."""

from __future__ import annotations

from functools import partial

from fim_magic.candidate import Check
from fim_magic.cell_text import LONGEST, compiled, python_of
from fim_magic.document import Document
from fim_magic.languages import PYTHON, of_cell, verdict

OTHER_LANGUAGE = "not Python"
"""The detail of a check that could not be made."""

_SHOWN = 120  # characters of what was found


def parses(text: str, document: Document | None = None) -> Check:
    """Tell whether a cell is Python, or what IPython makes into Python; or what its language's parser knows.

    Of another language, only faults count that the text in the hole of `document` has made. Nothing is run.
    """
    if language := language_elsewhere(text, document):
        return _parses_elsewhere(text, document, language)
    return _parses_as_python(text)


def _parses_as_python(text: str) -> Check:
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


def _parses_elsewhere(text: str, document: Document | None, language: str) -> Check:
    hole = Document("", "") if document is None else document.for_model()
    if hole is not document:
        text = text.replace("\r\n", "\n")
    middle = text[len(hole.prefix) : len(text) - len(hole.suffix)]
    passed, detail = verdict(language, hole.prefix, middle, hole.suffix)
    return Check("parses", passed, "" if passed else short(detail or OTHER_LANGUAGE))


def language_elsewhere(text: str, document: Document | None = None) -> str:
    """Return the language of a cell that is not Python, as its document or its text says; else ""."""
    language = of_cell(text) if document is None or not document.language else document.language
    return "" if language == PYTHON else language


def short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
