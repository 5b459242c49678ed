"""What was found out around the holes of a file, kept in a file: cells that have run need not run again."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from fim_magic.context import Context, ContextCell, NameDescription
from fim_magic.evaluate.code import code_hash
from fim_magic.evaluate.journal import Journal
from fim_magic.evaluate.own import surroundings
from fim_magic.evaluate.own.session import Known
from fim_magic.evaluate.own.sources import Sheet
from fim_magic.evaluate.own.surroundings import Hole
from fim_magic.languages import PYTHON

_DEPENDS_ON = (
    "session",
    "frontends",
    "document",
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


class Surroundings:
    """Finds out what is known around holes, or remembers it.

    A notebook is looked at anew where its cells, the files beside it or the installed libraries have changed.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Read what is known.

        Args:
            path: Of the journal, in a folder that exists; None to remember nothing.

        Raises:
            OptionError: The file cannot be used.
        """
        self._journal = None if path is None else Journal(path)
        rows = () if self._journal is None else self._journal.rows
        self._known: dict[str, Sequence[Mapping[str, Any]]] = {row["key"]: row["known"] for row in rows if "key" in row}

    def around(self, sheet: Sheet, holes: Sequence[Hole], *, run_cells: bool) -> list[Known]:
        """Return what is known at each hole of a notebook.

        Args:
            sheet: The notebook.
            holes: In its order.
            run_cells: Whether the cells above are to have run; those of other languages than Python do not.
        """
        runs = run_cells and sheet.language == PYTHON and bool(holes)
        key = _key(sheet, holes, runs)
        if key in self._known:
            return [_from_json(each) for each in self._known[key]]
        found = list((surroundings.run if runs else surroundings.unrun)(sheet, holes))
        if self._journal is not None:
            self._journal.add({"key": key, "file": sheet.name, "known": [_to_json(each) for each in found]})
        return found

    def close(self) -> None:
        """Close the file."""
        if self._journal is not None:
            self._journal.close()


def _key(sheet: Sheet, holes: Sequence[Hole], runs: bool) -> str:
    told: list[object] = [code_hash(*_DEPENDS_ON), sheet.cells, [(at, document) for at, document in holes], runs]
    if runs:
        told += [platform.python_version(), surroundings.SECONDS, sorted(map(_installed, distributions()))]
        told += [(path.name, about.st_size, about.st_mtime_ns) for path, about in _beside(sheet.path)]
    return hashlib.sha256(repr(told).encode("utf-8", "surrogatepass")).hexdigest()


def _installed(distribution: Any) -> str:
    return f"{distribution.metadata['Name']} {distribution.version}"


def _beside(path: Path) -> list[tuple[Path, Any]]:
    return [(each, each.stat()) for each in surroundings.small_files(path.parent) if each != path]


def _to_json(known: Known) -> dict[str, Any]:
    seen = known.everything
    return {
        "names": sorted(known.names),
        "cells": [asdict(cell) for cell in seen.cells],
        "below": [asdict(cell) for cell in seen.below],
        "described": [asdict(each) for each in seen.described],
    }


def _described(told: Mapping[str, Any]) -> NameDescription:
    columns = told["columns"]
    return NameDescription(**{**told, "columns": None if columns is None else tuple(columns)})


def _from_json(told: Mapping[str, Any]) -> Known:
    seen = Context(
        cells=tuple(ContextCell(**each) for each in told["cells"]),
        below=tuple(ContextCell(**each) for each in told["below"]),
        described=tuple(_described(each) for each in told["described"]),
    )
    return Known(seen, frozenset(told["names"]))
