"""What was found out around the holes of a file, kept in a file: cells that have run need not run again."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from fim_magic.context import Context, ContextCell, NameDescription
from fim_magic.evaluate.answers.code import code_hash
from fim_magic.evaluate.answers.journal import Journal
from fim_magic.evaluate.own import surroundings
from fim_magic.evaluate.own.session import Known
from fim_magic.evaluate.own.sources import OwnFile
from fim_magic.evaluate.own.surroundings import Hole
from fim_magic.languages import PYTHON

_DEPENDS_ON = (
    "kernel",
    "session",
    "frontends",
    "document",
    "markers",
    "lexing",
    "cell_text",
    "checks/",
    "context/",
    "languages/",
    "evaluate/notebooks/",
    "evaluate/own/session",
    "evaluate/own/surroundings",
)
"""The code that finds it out."""


Look = Callable[[OwnFile, Sequence[Hole], bool], Iterable[Known]]
"""Finds out what is known at the holes of a notebook, where the cells above have run or not."""


class Surroundings:
    """Finds out what is known around holes, or remembers it.

    A notebook is looked at anew where its cells, the files beside it or the installed libraries have changed.
    """

    def __init__(self, path: Path | None = None, look: Look = surroundings.look) -> None:
        self._look = look
        self._journal = None if path is None else Journal(path)
        rows = () if self._journal is None else self._journal.rows
        self._known: dict[str, Sequence[Mapping[str, Any]]] = {row["key"]: row["known"] for row in rows if "key" in row}

    def around(self, file: OwnFile, holes: Sequence[Hole], *, run_cells: bool) -> list[Known]:
        """Return what is known at each hole of a notebook. Cells of other languages than Python do not run."""
        runs = run_cells and file.language == PYTHON and bool(holes)
        key = _key(file, holes, runs)
        if key in self._known:
            return [_from_json(row) for row in self._known[key]]
        found = list(self._look(file, holes, runs))
        if self._journal is not None:
            self._journal.add({"key": key, "file": file.name, "known": [_to_json(known) for known in found]})
        return found

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()


def _key(file: OwnFile, holes: Sequence[Hole], runs: bool) -> str:
    facts: list[object] = [code_hash(*_DEPENDS_ON), file.cells, list(holes), runs]
    if runs:
        facts += [platform.python_version(), surroundings.SECONDS, sorted(map(_installed, distributions()))]
        beside = [path for path in surroundings.small_files(file.path.parent) if path != file.path]
        facts += [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in beside]
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogatepass")).hexdigest()


def _installed(distribution: Any) -> str:
    return f"{distribution.metadata['Name']} {distribution.version}"


def _to_json(known: Known) -> dict[str, Any]:
    seen = known.everything
    return {
        "names": sorted(known.names),
        "cells": [asdict(cell) for cell in seen.cells],
        "below": [asdict(cell) for cell in seen.below],
        "described": [asdict(variable) for variable in seen.described],
    }


def _from_json(row: Mapping[str, Any]) -> Known:
    seen = Context(
        cells=tuple(ContextCell(**cell) for cell in row["cells"]),
        below=tuple(ContextCell(**cell) for cell in row["below"]),
        described=tuple(_described(variable) for variable in row["described"]),
    )
    return Known(seen, frozenset(row["names"]))


def _described(row: Mapping[str, Any]) -> NameDescription:
    columns = row["columns"]
    return NameDescription(**{**row, "columns": None if columns is None else tuple(columns)})
