"""What can be said about a rebuilt cell: does it parse, are its names defined, do the user's examples and tests pass?

Nothing here knows models or IPython's shell. `parses`, `names_defined` and `needed_cells` only read; `tried` runs the
cell in `sandbox`.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from fim_magic.candidate import Check
from fim_magic.checks.columns import NO_FRAMES, Frames, columns_there
from fim_magic.checks.names import bound_names, names_defined
from fim_magic.checks.needed import needed_cells
from fim_magic.checks.parsing import OTHER_LANGUAGE, language_elsewhere, parses
from fim_magic.checks.trying import NO_CHECKS, CheckSpec, docstring_examples, in_cells, tried, wanted_of
from fim_magic.document import Document
from fim_magic.sandbox import Limits

__all__ = [
    "NO_CHECKS",
    "NO_FRAMES",
    "CheckSpec",
    "Frames",
    "bound_names",
    "columns_there",
    "docstring_examples",
    "in_cells",
    "look",
    "names_defined",
    "needed_cells",
    "parses",
    "tried",
]


def look(
    text: str,
    *,
    known: AbstractSet[str] = frozenset(),
    frames: Frames = NO_FRAMES,
    check_spec: CheckSpec = NO_CHECKS,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    document: Document | None = None,
    written: Sequence[tuple[int, int]] = (),
) -> tuple[Check, ...]:
    """Check a rebuilt cell: that it parses, its names and columns, then what the user wants tried; else nothing is run.

    Args:
        text: The whole cell. Of one in another language, what was to be tried is unknown.
        known: The names in the notebook's namespace.
        frames: The columns of its DataFrames.
        check_spec: What is to be tried in the sandbox.
        limits: What that may use.
        document: As for `parses`.
        written: As for `tried`.
    """
    first = parses(text, document)
    if first.detail == OTHER_LANGUAGE:
        return tried(text, check_spec, limits)
    if language_elsewhere(text, document):
        return (first, *(Check(one.name, None, OTHER_LANGUAGE) for one in wanted_of(check_spec)))
    if not first.passed:
        return (first,)
    columns = columns_there(text, frames)
    found = (first, names_defined(text, known), *(() if columns is None else (columns,)))
    return (*found, *tried(text, check_spec, limits, written=written))
