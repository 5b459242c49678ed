"""For teachers: whether a notebook's holes may be filled, and hints in the place of answers.

A switch, not a lock: code in a kernel can run any model there. It keeps a class from filling by habit what it is to
think about, and says so.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from pathlib import Path

from fim_magic.errors import FimError
from fim_magic.line_ends import with_lf
from fim_magic.regular_files import read_saved_notebook

_log = logging.getLogger(__name__)

FILLING = ("on", "hints", "off")
"""What a notebook may allow, most first."""

HINTS = ("line", "outline")
"""What `--hint` shows: the first line of the answer, where there are others, or the kind of statement on every line."""

_NAMES = ("fimmagic", "fimmagics")
_KEY = "filling"
_KEPT = "k"  # keywords say what kind of statement it is; builtins such as `sum` may be what a beginner is to find
_GAP = "…"


class FillingOffError(FimError):
    """The notebook does not allow this."""


def strictest(*allowed: str) -> str:
    """Return the one of several values of `FILLING` that allows least."""
    return max(allowed, key=FILLING.index)


def of_notebook(path: Path | None) -> str:
    """Return which of `FILLING` a notebook's metadata allow, as in `{"fim_magic": {"filling": "hints"}}`.

    "on" where there is no file, or it says nothing of it; "off" where it says something that is none of them.

    Raises:
        FillingOffError: The file is there, and what it says cannot be read.
    """
    try:
        if path is None or not path.stat().st_size:
            return "on"  # no notebook is saved yet: front ends make an empty file first
    except (OSError, ValueError):
        _log.info("The notebook's file is not there, so it says nothing of what it allows.", exc_info=True)
        return "on"
    try:
        return allowed_by(read_saved_notebook(path).get("metadata", {}))
    except (OSError, ValueError, TypeError) as error:
        _log.info("What the notebook allows cannot be read.", exc_info=True)
        raise FillingOffError(
            "What this notebook allows to be filled is said in its file, and that cannot be read "
            f"({getattr(error, 'strerror', None) or error}). Save the notebook, and run the cell again."
        ) from error


def allowed_by(metadata: object) -> str:
    """Return which of `FILLING` a notebook's metadata allow, as of [`of_notebook`][].

    Raises:
        TypeError: They are none.
    """
    if not isinstance(metadata, dict):
        raise TypeError("it is no notebook")
    said = [(_letters(key), value) for key, value in metadata.items()]
    under_name = (_filling(value) for key, value in said if key in _NAMES)
    in_one = (_word(value) for key, value in said if key.removesuffix(_KEY) in _NAMES and key.endswith(_KEY))
    return strictest("on", *under_name, *in_one)


def _filling(said: object) -> str:
    """Read what stands under our name. A teacher who has mistyped it, or put it in a wrong place, did not mean "on"."""
    if said is None:
        return "on"
    if isinstance(said, dict):
        # All of it may be pasted below our name, with our name once more.
        inner = [value for key, value in said.items() if _letters(key) in _NAMES and isinstance(value, dict)]
        pairs = [pair for part in (said, *inner) for pair in part.items()]
        is_meant = ((value, _letters(key) == _KEY or value is False or _is_word(value)) for key, value in pairs)
        return strictest("on", *(_word(value) for value, meant in is_meant if meant))
    return _word(said)


def _word(said: object) -> str:
    return str(said).strip().lower() if _is_word(said) else "off"


def _is_word(said: object) -> bool:
    return isinstance(said, str) and said.strip().lower() in FILLING


def _letters(key: str) -> str:
    """Return a key in the one spelling of all that somebody may have given it: fim-magic, "FIM Magic", fimMagic."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", key).casefold()))


def check(allowed: str, *, hint: bool) -> None:
    """Raise if a cell may not be filled.

    Raises:
        FillingOffError: The notebook allows hints only, or nothing.
    """
    if allowed == "off":
        raise FillingOffError(
            "Filling is switched off in this notebook: its cells are meant to be written by hand. "
            "The switch is fim_magic.filling in the notebook's metadata, or FimMagics.filling in the configuration."
        )
    if allowed == "hints" and not hint:
        raise FillingOffError(
            "This notebook gives hints, not answers: its cells are meant to be written by hand. Begin the cell with "
            "%%fim --hint line to see the first line, or with %%fim --hint outline to see what kind of lines they are."
        )


def hint_kind(middle: str, kind: str) -> str:
    """Return which of `HINTS` an answer gets where `kind` is asked for: no line of it that is all of it."""
    lines = [line.strip() for line in with_lf(middle).split("\n")]
    telling = [line for line in lines if any(map(str.isalnum, line)) and not line.startswith("#")]
    return kind if len(telling) > 1 else "outline"


def hint(middle: str, kind: str) -> str:
    """Return what a hint shows of an answer; `kind` is as of `hint_kind`."""
    lines = [line for line in with_lf(middle).split("\n") if line.strip()]
    if not lines:
        return ""
    return lines[0] if kind == "line" else "\n".join(map(_outline, lines, _with_gaps("\n".join(lines))))


def _with_gaps(text: str) -> list[str]:
    """Return the lines of a text with a gap for each run of names, numbers, strings and comments.

    They are read as one text: a string may go on in the next line, and its words are no keywords there.
    """
    from fim_magic.review.highlight import python_spans

    found, start = [""], 0
    for name, end in python_spans(text):
        first, *others = (_shown(part, name) for part in text[start:end].split("\n"))
        found[-1] += first
        found += others
        start = max(start, end)
    return found


def _shown(piece: str, name: str) -> str:
    is_word = any(character.isalnum() or character == "_" for character in piece)
    return _GAP if piece and (name in ("s", "c", "n") or (is_word and name != _KEPT)) else piece


def _outline(line: str, kept: str) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    while _GAP * 2 in kept or f"{_GAP}.{_GAP}" in kept:
        kept = kept.replace(f"{_GAP}.{_GAP}", _GAP).replace(_GAP * 2, _GAP)
    return indent + re.sub(r"\s+", " ", kept.strip())
