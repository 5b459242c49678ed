"""What an IPython session knows that a model may be shown. The only module that reads it for that."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from fim_magic.checks import bound_names
from fim_magic.context.beside import EMPTY_CONTEXT, Context, ContextCell
from fim_magic.context.cells import (
    NotebookCell,
    code_cell,
    language_of,
    last_versions,
    same_text,
    text_cell,
)
from fim_magic.context.gathering import TOKENS, gather, names_near
from fim_magic.context.namespace import NameDescription, describe
from fim_magic.context.redaction import requested_names
from fim_magic.context.safe_reading import entries_of
from fim_magic.document import Document
from fim_magic.frontends.interface import KernelMessage
from fim_magic.markers import MARKERS
from fim_magic.session_notebook import SessionNotebook, find_notebook

_MOST_CELLS = 100  # of the last that ran
_MOST_BELOW = 3
_MOST_NAMES = 24  # that stand near the hole
_MOST_OTHERS = 64  # of the last, that are looked at
_MOST_DATA = 8  # that do not, but hold data which the code may be about
_OWN = frozenset({"In", "Out", "exit", "quit", "get_ipython", "open", "display"})


def magics_of(shell: Any) -> Any:
    """Return the magics of the extension in a shell; None where it is not loaded, or `shell` is None."""
    return None if shell is None else shell.magics_manager.registry.get("FimMagics")


def known_names(shell: Any) -> frozenset[str]:
    """Return the names that the user has defined or imported in this session."""
    hidden = entries_of(getattr(shell, "user_ns_hidden", None))
    # A name of IPython's own that the user has given a new meaning is the user's.
    return frozenset(
        name
        for name, value in entries_of(getattr(shell, "user_ns", None)).items()
        if name.isidentifier()  # `globals()` takes any text
        and not (name.startswith("_") or name in _OWN or (name in hidden and hidden[name] is value))
    )


def notebook_of(
    shell: Any, current: str = "", cell_ids: Collection[str] = (), markers: Sequence[str] = MARKERS
) -> SessionNotebook:
    """Find the file of the session's notebook, and see whether it is that: it has to hold cells of this session.

    Args:
        shell: IPython's.
        current: The cell that is filled.
        cell_ids: Those of cells that ran, beside the running one.
        markers: What marks a hole.
    """
    ids = {*cell_ids, KernelMessage.of(shell).cell_id} - {""}
    return find_notebook(shell, executed_cells(shell)[-_MOST_CELLS:], current, ids, markers)


def defined_names(
    shell: Any, markers: Sequence[str] = MARKERS, notebook: SessionNotebook | None = None
) -> frozenset[str]:
    """Return the names of the session, and those that any cell of the notebook defines, whether it ran or not.

    Without `notebook` it is looked for, as of `notebook_of`.
    """
    stored = (notebook or notebook_of(shell, markers=markers)).cells
    cells = (code_cell(cell.source, markers=markers) for cell in stored if not cell.markdown)
    return known_names(shell).union(*(bound_names(cell.source) for cell in cells if cell is not None))


def executed_cells(shell: Any) -> tuple[str, ...]:
    """Return the cells that ran in this session, oldest first, as they were typed; also those that hold a hole."""
    return tuple(source for _, source in _history(shell))


def context_for(
    shell: Any,
    document: Document,
    mode: str = "auto",
    *,
    tokens: int | None = TOKENS,
    values: bool = False,
    markers: Sequence[str] = MARKERS,
    notebook: SessionNotebook | None = None,
) -> Context:
    """Return what a model may be shown of the session beside a cell with a hole. It runs none of the user's code.

    Args:
        shell: IPython's.
        document: The cell.
        mode: One of `fim_magic.context.MODES`.
        tokens: The most that it may take of a prompt; None for all that is left.
        values: Show also the values of numbers and short strings.
        markers: What marks a hole, in this session.
        notebook: The session's; without it, it is looked for.

    Raises:
        OptionError: There is no such mode.
    """
    if mode == "none":
        return EMPTY_CONTEXT
    notebook = notebook or notebook_of(shell, document.as_typed, markers=markers)
    above, below = _cells(shell, document, markers, notebook) if mode != "names" else ((), ())
    shows_names = mode != "cells" and not language_of(document.prefix)
    described = _described(shell, document, values) if shows_names else ()
    return gather(document, above=above, below=below, described=described, mode=mode, tokens=tokens)


def _described(shell: Any, document: Document, values: bool) -> tuple[NameDescription, ...]:
    """What is known of the names near the hole, then of the data that came last."""
    entries = entries_of(getattr(shell, "user_ns", None))
    requested = frozenset(name for source in executed_cells(shell) for name in requested_names(source))
    known = known_names(shell) - requested
    near = [name for name in names_near(document) if name in known]
    others = [name for name in reversed(entries) if name in known and name not in set(near)]
    found = describe([*near[:_MOST_NAMES], *others[:_MOST_OTHERS]], entries, values=values)
    beside = [item for item in found if item.name in set(near)]
    data = [item for item in found if item not in beside and not item.by_source]
    return (*beside, *data[:_MOST_DATA])


def _cells(
    shell: Any, document: Document, markers: Sequence[str], notebook: SessionNotebook
) -> tuple[tuple[ContextCell, ...], tuple[ContextCell, ...]]:
    """The cells that ran, with the texts above them, and the cells below."""
    stored = notebook.cells
    current = document.as_typed
    as_script = partial(code_cell, markers=markers, language=language_of(document.prefix))
    index = notebook.index_of_hole(current)
    following = [] if index is None else [cell.source for cell in stored[index + 1 :] if not cell.markdown]
    elsewhere = (current, document.prefix + document.suffix, *following)
    failed, running = _failed(shell), _running(shell)
    ran = [
        (number, source)
        for number, source in _history(shell)[-_MOST_CELLS:]
        if number not in failed and number != running and not any(same_text(source, other) for other in elsewhere)
    ]
    cells = [(source, cell) for number, source in ran if (cell := as_script(source, number)) is not None]
    last = last_versions([cell for _, cell in cells])
    above = _with_texts([(source, cell) for source, cell in cells if cell in last], stored, index)
    below = [cell for source in following if (cell := as_script(source)) is not None]
    return tuple(above), tuple(below[:_MOST_BELOW])


def _with_texts(
    cells: Sequence[tuple[str, ContextCell]], stored: Sequence[NotebookCell], hole: int | None
) -> list[ContextCell]:
    """Put the notebook's texts before the cells that they stand above, and those above the cell `hole` last."""
    found: list[ContextCell] = []
    for source, cell in cells:
        same = [n for n, other in enumerate(stored) if not other.markdown and same_text(other.source, source)]
        found += [*(_texts_above(stored, same[0]) if len(same) == 1 else []), cell]
    return found if hole is None else [*found, *_texts_above(stored, hole)]


def _texts_above(stored: Sequence[NotebookCell], index: int) -> list[ContextCell]:
    texts = itertools.takewhile(lambda cell: cell.markdown, reversed(stored[:index]))
    found = [cell for text in texts if (cell := text_cell(text.source)) is not None]
    return found[::-1]


def _history(shell: Any) -> list[tuple[int, str]]:
    """The cells with their numbers. A shell that keeps no history file keeps them nevertheless, or else `In`."""
    inputs = getattr(getattr(shell, "history_manager", None), "input_hist_raw", None)
    if type(inputs) is not list:
        inputs = entries_of(getattr(shell, "user_ns", None)).get("In")
    if type(inputs) is not list:
        return []
    return [(number, source) for number, source in enumerate(inputs) if type(source) is str and source.strip()]


def _running(shell: Any) -> int | None:
    """The number of the cell that runs now, or None. Its count may be one further already: that differs by version."""
    result = getattr(getattr(shell, "displayhook", None), "exec_result", None)
    number = getattr(result, "execution_count", None)
    return number if type(number) is int else None


def _failed(shell: Any) -> frozenset[int]:
    """The numbers of the cells that ended in an error, where IPython keeps them (from version 9 on)."""
    raised = getattr(getattr(shell, "history_manager", None), "exceptions", None)
    return frozenset(raised) if isinstance(raised, dict) else frozenset()
