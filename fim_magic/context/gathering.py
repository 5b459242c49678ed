"""Which cells and names a model is shown, the nearest and most relevant first."""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from dataclasses import replace

from fim_magic.context.beside import EMPTY_CONTEXT, Context, ContextCell
from fim_magic.context.namespace import NameDescription
from fim_magic.document import Document
from fim_magic.errors import OptionError
from fim_magic.line_ends import with_lf
from fim_magic.unicode_text import made_whole

MODES = ("auto", "none", "cells", "names", "all")
"""What a model may see beside the cell: what helps and is short, nothing, only cells, only names, or all that fits.

Cells below are in "all" only: a small model fills fewer holes right with them (`.github/DECISIONS.md`).
"""

TOKENS = 512
"""How many tokens of a prompt cells and names may take by default."""

_NAME = re.compile(r"(?<![\w.])[^\W\d]\w*")
_DEFINED = re.compile(
    r"^[ \t]*(?:async[ \t]+def|def|class)[ \t]+(\w+)|^(\w+)[ \t]*(?::[^=\n]+)?=(?!=)"
    r"|^[ \t]*(?:from[ \t]+\S+[ \t]+)?import[ \t]+(.+)$",
    re.MULTILINE,
)
_IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+\S+[ \t]+)?import\s", re.MULTILINE)

_FOR_DEFINING = 4.0
_FOR_USING = 1.0
_MOST_FOR_USING = 4.0
_FOR_IMPORTS = 3.0
_FOR_NEARNESS = 2.0
_FOR_BELOW = 2.0


def names_in(text: str) -> list[str]:
    """Return the names that a text has, in order, each once. What stands behind a dot is no name."""
    return [name for name in dict.fromkeys(_NAME.findall(text)) if not keyword.iskeyword(name)]


def names_near(document: Document) -> list[str]:
    """Return the names around a hole, the nearest first."""
    places = [(len(document.prefix) - match.end(), match.group()) for match in _NAME.finditer(document.prefix)]
    places += [(match.start(), match.group()) for match in _NAME.finditer(document.suffix)]
    return [name for name in dict.fromkeys(name for _, name in sorted(places)) if not keyword.iskeyword(name)]


def gather(
    document: Document,
    *,
    above: Sequence[ContextCell] = (),
    below: Sequence[ContextCell] = (),
    described: Sequence[NameDescription] = (),
    mode: str = "auto",
    tokens: int | None = TOKENS,
) -> Context:
    """Return what a model may be shown beside `document`. How much of it fits is found where the prompt is made.

    Args:
        document: The cell with the hole.
        above: The cells before it with their texts, oldest first.
        below: The cells after it, nearest first.
        described: What is known of names, the most useful first.
        mode: One of `MODES`.
        tokens: The most that all this may take of the prompt; None for all that is left. "all" takes no note of it.

    Raises:
        OptionError: There is no such mode.
    """
    if mode not in MODES:
        raise OptionError(f"--context is one of {', '.join(MODES)}; {mode!r} is none of them.")
    if mode != "all":
        below = ()
    if mode == "names":
        above = ()
    if mode == "cells":
        described = ()
    if mode == "none" or not (above or below or described):
        return EMPTY_CONTEXT
    above, below = ([_clean(cell) for cell in cells] for cells in (above, below))
    ranks = _ranks(document, above, below)
    return Context(
        cells=tuple(replace(cell, rank=rank) for cell, rank in zip(above, ranks, strict=False)),
        below=tuple(replace(cell, rank=rank) for cell, rank in zip(below, ranks[len(above) :], strict=True)),
        described=tuple(replace(item, line=made_whole(item.line)) for item in described),
        tokens=None if mode == "all" else tokens,
    )


def _clean(cell: ContextCell) -> ContextCell:
    return replace(cell, source=made_whole(with_lf(cell.source)))


def _ranks(document: Document, above: Sequence[ContextCell], below: Sequence[ContextCell]) -> list[int]:
    wanted = set(names_near(document))
    scores = [_score(cell, wanted) + _FOR_NEARNESS * place / len(above) for place, cell in enumerate(above, 1)]
    scores += [_score(cell, wanted) + _FOR_BELOW / place for place, cell in enumerate(below, 1)]
    ranks = [0] * len(scores)
    for rank, index in enumerate(sorted(range(len(scores)), key=lambda index: -scores[index])):
        ranks[index] = rank
    return ranks


def _score(cell: ContextCell, wanted: set[str]) -> float:
    used = wanted & set(names_in(cell.source))
    score = min(_FOR_USING * len(used), _MOST_FOR_USING)
    if cell.markdown:
        return score
    score += _FOR_DEFINING * len(wanted & _defined(cell.source))
    return score + (_FOR_IMPORTS if _IMPORT.search(cell.source) else 0.0)


def _defined(source: str) -> set[str]:
    found: set[str] = set()
    for match in _DEFINED.finditer(source):
        found.update(names_in(match[1] or match[2] or match[3]))
    return found
