"""What an IPython session knows that a model may be told. The only module that reads it for that."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from fim_magic.checks import bound_names
from fim_magic.context.beside import EMPTY_CONTEXT, Context, ContextCell
from fim_magic.context.cells import (
    NotebookCell,
    code_cell,
    language_of,
    last_versions,
    of_notebook,
    position,
    same_text,
    text_cell,
)
from fim_magic.context.gathering import TOKENS, gather, names_near
from fim_magic.context.namespace import NameDescription, describe
from fim_magic.context.redaction import asked_for
from fim_magic.context.safe_reading import entries_of
from fim_magic.document import MARKERS, Document
from fim_magic.frontends import notebook_path

_MOST_CELLS = 100  # of the last that ran
_MOST_BELOW = 3
_MOST_NAMES = 24  # that stand near the hole
_MOST_OTHERS = 64  # of the last, that are looked at
_MOST_DATA = 8  # that do not, but hold data which the code may be about
_OWN = frozenset({"In", "Out", "exit", "quit", "get_ipython", "open", "display"})


def known_names(shell: Any) -> frozenset[str]:
    """Return the names that the user has defined or imported in this session.

    Args:
        shell: IPython's.
    """
    hidden = entries_of(getattr(shell, "user_ns_hidden", None))
    # A name of IPython's own that the user has given a new meaning is the user's.
    return frozenset(
        name
        for name, value in entries_of(getattr(shell, "user_ns", None)).items()
        if not name.startswith("_") and name not in _OWN and not (name in hidden and hidden[name] is value)
    )


def defined_names(shell: Any, markers: Sequence[str] = MARKERS) -> frozenset[str]:
    """Return the names of the session, and those that any cell of the notebook defines, also one that has yet to run.

    Args:
        shell: IPython's.
        markers: What marks a hole: a cell with one is not whole.
    """
    stored = of_notebook(notebook_path(shell))
    cells = (code_cell(each.source, markers=markers) for each in stored if not each.markdown)
    return known_names(shell).union(*(bound_names(cell.source) for cell in cells if cell is not None))


def executed_cells(shell: Any) -> tuple[str, ...]:
    """Return the cells that ran in this session, oldest first, as they were typed; also those that hold a hole.

    Args:
        shell: IPython's.
    """
    return tuple(source for _, source in _history(shell))


def context_for(
    shell: Any,
    document: Document,
    mode: str = "auto",
    *,
    tokens: int | None = TOKENS,
    values: bool = False,
    markers: Sequence[str] = MARKERS,
) -> Context:
    """Return what a model may be told of the session beside a cell with a hole. It runs none of the user's code.

    Args:
        shell: IPython's.
        document: The cell.
        mode: One of `fim_magic.context.MODES`.
        tokens: The most that it may take of a prompt; None for all that is left.
        values: Tell also the values of numbers and short strings.
        markers: What marks a hole, in this session.

    Raises:
        OptionError: There is no such mode.
    """
    if mode == "none":
        return EMPTY_CONTEXT
    above, below = _cells(shell, document, markers) if mode != "names" else ((), ())
    tells_names = mode != "cells" and not language_of(document.prefix)
    described = _described(shell, document, values) if tells_names else ()
    return gather(document, above=above, below=below, described=described, mode=mode, tokens=tokens)


def _described(shell: Any, document: Document, values: bool) -> tuple[NameDescription, ...]:
    """What is known of the names near the hole, then of the data that came last."""
    known = known_names(shell)
    entries = entries_of(getattr(shell, "user_ns", None))
    near = [name for name in names_near(document) if name in known]
    others = [name for name in reversed(entries) if name in known and name not in set(near)]
    asked = frozenset(name for source in executed_cells(shell) for name in asked_for(source))
    near, others = ([name for name in names if name not in asked] for names in (near, others))
    found = describe(
        [*near[:_MOST_NAMES], *others[:_MOST_OTHERS]], {name: entries[name] for name in known}, values=values
    )
    beside = set(near)
    told = [each for each in found if each.name in beside]
    return (*told, *[each for each in found if each.name not in beside and not each.by_source][:_MOST_DATA])


def _cells(
    shell: Any, document: Document, markers: Sequence[str]
) -> tuple[tuple[ContextCell, ...], tuple[ContextCell, ...]]:
    """The cells that ran, with the texts above them, and the cells below."""
    stored = of_notebook(notebook_path(shell))
    current = document.prefix + document.marker + document.suffix
    as_script = partial(code_cell, markers=markers, language=language_of(document.prefix))
    at = position(stored, current)
    following = [cell for cell in stored[at + 1 :] if not cell.markdown] if at is not None else []
    own = (current, document.prefix + document.suffix)
    failed = _failed(shell)
    ran = [
        (number, source)
        for number, source in _history(shell)[-_MOST_CELLS:]
        if number not in failed and not any(same_text(source, each) for each in (*own, *(c.source for c in following)))
    ]
    cells = [(source, cell) for number, source in ran if (cell := as_script(source, number)) is not None]
    last = last_versions([cell for _, cell in cells])
    above = _with_texts([(source, cell) for source, cell in cells if cell in last], stored, at)
    below = [cell for each in following if (cell := as_script(each.source)) is not None]
    return tuple(above), tuple(below[:_MOST_BELOW])


def _with_texts(
    cells: Sequence[tuple[str, ContextCell]], stored: Sequence[NotebookCell], at: int | None
) -> list[ContextCell]:
    """Put the notebook's texts before the cells that they stand above, and those above the hole last."""
    found: list[ContextCell] = []
    for source, cell in cells:
        places = [n for n, each in enumerate(stored) if not each.markdown and same_text(each.source, source)]
        found += [*(_texts_above(stored, places[0]) if len(places) == 1 else []), cell]
    return found if at is None else [*found, *_texts_above(stored, at)]


def _texts_above(stored: Sequence[NotebookCell], at: int) -> list[ContextCell]:
    found: list[ContextCell] = []
    while at > 0 and stored[at - 1].markdown:
        at -= 1
        text = text_cell(stored[at].source)
        found[:0] = [] if text is None else [text]
    return found


def _history(shell: Any) -> list[tuple[int, str]]:
    """The cells with their numbers. A shell that keeps no history file keeps them nevertheless, or else `In`."""
    inputs = getattr(getattr(shell, "history_manager", None), "input_hist_raw", None)
    if type(inputs) is not list:
        inputs = entries_of(getattr(shell, "user_ns", None)).get("In")
    if type(inputs) is not list:
        return []
    return [(number, source) for number, source in enumerate(inputs) if type(source) is str and source.strip()]


def _failed(shell: Any) -> frozenset[int]:
    """The numbers of the cells that ended in an error, where IPython keeps them (from version 9 on)."""
    raised = getattr(getattr(shell, "history_manager", None), "exceptions", None)
    return frozenset(raised) if isinstance(raised, dict) else frozenset()
