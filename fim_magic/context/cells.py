"""Cells of a notebook as parts of a script: Python without IPython's own lines, texts as comments, no secrets."""

from __future__ import annotations

import ast
import difflib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fim_magic import lexing
from fim_magic.cell_text import IPYTHON_LINE
from fim_magic.context.beside import ContextCell
from fim_magic.context.redaction import redacted
from fim_magic.languages import PYTHON, magic_of, of_cell
from fim_magic.line_ends import lines_with_ends, with_lf
from fim_magic.markers import MARKERS, holds_hole
from fim_magic.regular_files import read_saved_notebook
from fim_magic.unicode_text import without_mark

_log = logging.getLogger(__name__)

LARGEST_FILE = 20 * 2**20
"""Bytes of a notebook that is read; one with more holds pictures, and takes long."""

_LONGEST_TEXT = 600  # characters of a markdown cell
_INSTALLS = re.compile(r"\s*(?:pip|conda)\s+(?:un)?install\b")
_BLANK_LINES = re.compile(r"\A(?:[ \t]*\n)+")
_TARGET = re.compile(r"^(?:async\s+def|def|class)\s+(\w+)|^(\w+)[ \t]*(?::[^=\n]+)?=(?!=)", re.MULTILINE)
_MOST_LINES = 1000  # of two cells that are compared line by line
_ALIKE = 0.75  # of 1: how like each other two versions of a cell are
_SURELY_THE_CELL = 0.6
_REMEMBERED = 512  # cells, of which the next request need not find out the same again


@dataclass(frozen=True)
class NotebookCell:
    """A cell of code, or of text, as the notebook's file has it; with its id, where the file has ids."""

    source: str
    markdown: bool
    id: str = ""


def language_of(source: str) -> str:
    """Return what else than the session's Python a cell is in (`bash`, `sql`), or "".

    Python that does not run in the session is called by its magic: it has none of the session's names.
    """
    language = of_cell(source)
    return magic_of(source) if language == PYTHON else language


def code_cell(
    source: str, number: int = 0, *, markers: Sequence[str] = MARKERS, language: str = ""
) -> ContextCell | None:
    """Return a code cell as a script has it, or None if nothing of it is of use.

    Args:
        source: As it was typed. A cell with a marker holds a hole and no code.
        number: Its number in the session.
        markers: What marks a hole.
        language: Of the cell with the hole, as `language_of` has it: a cell in another language is of no use to it.
    """
    text = None if holds_hole(source, markers) else _script_of(source, language)
    return None if text is None else ContextCell(text, number)


@lru_cache(maxsize=_REMEMBERED)
def _script_of(source: str, language: str) -> str | None:
    """Return the text that a code cell has in a script, or None if nothing of it is of use."""
    source = with_lf(without_mark(source))
    if language_of(source) != language:
        return None
    if language:
        return redacted(source.strip(), python=of_cell(source) == PYTHON)
    first, _, rest = source.lstrip().partition("\n")
    if first.startswith("%%"):
        source = rest
    text = _BLANK_LINES.sub("", _python_lines(source)).rstrip()
    try:
        has_code = bool(ast.parse(text).body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # it cannot have run
    # Comments alone are about a magic that stood below them: a small model takes them for what the cell is about.
    return redacted(text, python=True) if has_code else None


@lru_cache(maxsize=_REMEMBERED)
def text_cell(source: str) -> ContextCell | None:
    """Return a markdown cell as comments, or None if it is empty."""
    # First without its secrets: what is cut short is known as none.
    text = redacted(source.strip()[: 4 * _LONGEST_TEXT], python=False)
    if len(text) > _LONGEST_TEXT:
        text = text[:_LONGEST_TEXT].rpartition("\n")[0] or text[:_LONGEST_TEXT]
    comment = "\n".join(f"# {line}".rstrip() for line in with_lf(text).split("\n"))
    return ContextCell(comment, markdown=True) if text else None


def last_versions(cells: Sequence[ContextCell]) -> tuple[ContextCell, ...]:
    """Leave out cells that were run again later, changed or not. The last version keeps its place.

    A kernel does not know which cell of the page a text is from, so two count as one that define the same names and
    whose texts are much alike.
    """
    kept: list[ContextCell] = []
    for cell in reversed(cells):
        if not any(_same_cell(cell.source, later.source) for later in kept):
            kept.append(cell)
    return tuple(reversed(kept))


def of_notebook(path: Path | None, *, largest: int = LARGEST_FILE) -> tuple[NotebookCell, ...]:
    """Return the cells of a notebook's file, in order; none if it is not known, cannot be read or is too large."""
    try:
        if path is None or path.stat().st_size > largest:
            return ()
        cells = read_saved_notebook(path)["cells"]
        return tuple(
            NotebookCell("".join(cell["source"]), cell["cell_type"] == "markdown", str(cell.get("id") or ""))
            for cell in cells
            if cell["cell_type"] in ("code", "markdown")
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        _log.info("The notebook's file could not be read, so its cells are no context.", exc_info=True)
        return ()


def find_cell(cells: Sequence[NotebookCell], source: str) -> int | None:
    """Return the index of the notebook's cell with this source, or None if that is not clear.

    The file may be older than what the user sees, so a cell that is much like it will do, if no other is as like.
    """
    wanted = normalized(source)
    code = [(index, normalized(cell.source)) for index, cell in enumerate(cells) if not cell.markdown]
    exact = [index for index, text in code if text == wanted]
    if exact:
        return exact[0] if len(exact) == 1 else None
    likeness = [(alike(text, wanted), index) for index, text in code if cells[index].source.strip()]
    (best, index), *others = sorted(likeness, reverse=True) or [(0.0, 0)]
    is_clear = best >= _SURELY_THE_CELL and not (others and others[0][0] == best)
    return index if is_clear else None


def same_text(one: str, other: str) -> bool:
    """Whether two cells have the same text, but for white space at ends of lines and magic lines above."""
    return normalized(one) == normalized(other)


def _python_lines(source: str) -> str:
    kept, state = [], lexing.State()
    for line in lines_with_ends(source):
        begins_statement = not state.depth and not state.string
        if not (begins_statement and (IPYTHON_LINE.match(line.rstrip()) or _INSTALLS.match(line))):
            kept.append(line)
            state = lexing.state_after(line, state)
    return "".join(kept)


def _same_cell(one: str, other: str) -> bool:
    if one == other:
        return True
    names = _targets(one)
    return bool(names) and names == _targets(other) and alike(one, other) >= _ALIKE


@lru_cache(maxsize=_REMEMBERED)
def _targets(source: str) -> frozenset[str]:
    return frozenset(match[1] or match[2] for match in _TARGET.finditer(source))


@lru_cache(maxsize=_REMEMBERED)
def alike(one: str, other: str) -> float:
    """How like each other two texts are, from 0 to 1; 0 for all that are too unlike to be versions of one cell."""
    matcher = difflib.SequenceMatcher(None, one, other, autojunk=False)
    if matcher.real_quick_ratio() < _SURELY_THE_CELL or matcher.quick_ratio() < _SURELY_THE_CELL:
        return 0.0
    # Exact comparison takes time that grows with the square: long cells are compared by lines, those of very many lines
    # by which they have, in any order.
    if len(one) + len(other) > 4000:
        lines = one.split("\n"), other.split("\n")
        matcher = difflib.SequenceMatcher(None, *lines, autojunk=False)
        if sum(map(len, lines)) > _MOST_LINES:
            return matcher.quick_ratio()
    return matcher.ratio()


@lru_cache(maxsize=2 * _REMEMBERED)
def normalized(source: str) -> str:
    """Return a cell's text without white space at ends of lines and without the magic of ours above it."""
    lines = with_lf(source.strip()).split("\n")
    if lines and lines[0].lstrip().startswith(("%%fim", "%%complete")):
        lines = lines[1:]
    return "\n".join(line.rstrip() for line in lines).strip()
