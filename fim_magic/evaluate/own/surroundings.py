"""What is known around each hole of a notebook, built as the product builds it: with the cells above run, or not."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from fim_magic.context.cells import NotebookCell
from fim_magic.document import Document
from fim_magic.evaluate.notebooks.live import Kernel, KernelError
from fim_magic.evaluate.own.session import Known, known_at, shell_without_names
from fim_magic.evaluate.own.sources import OwnFile

SECONDS = 20.0
"""After how many seconds of the processor a cell is interrupted."""

_OURS = "fim_magic.evaluate.own.session"
_MOST_BYTES = 64 * 2**20  # of the files beside a notebook that are copied
_MOST_FILES = 2000

Hole = tuple[int, Document]
"""The index of a cell, and the cell with a hole in it."""


def look(file: OwnFile, holes: Sequence[Hole], run_cells: bool, seconds: float = SECONDS) -> Iterator[Known]:
    """Yield what is known at each hole of a notebook, in order.

    With `run_cells`, the cells above run in a process of their own, in a copy of the notebook's folder, without
    network. A cell that fails, takes more `seconds` of the processor, or would download, install or ask something is
    passed over: of what it would have defined, the model sees the code and no names. Where nothing runs, it sees so
    much of every cell.
    """
    if run_cells:
        with _Session(file, seconds) as session:
            for index, document in holes:
                yield session.known_at(index, document)
        return
    with tempfile.TemporaryDirectory() as folder:
        for index, document in holes:
            shell = shell_without_names(file.cells[:index])
            yield known_at(shell, document, _saved(file.cells, index, document), folder)


class _Session:
    """A kernel that goes through a notebook from the top, as a context manager."""

    def __init__(self, file: OwnFile, seconds: float) -> None:
        self._file = file
        self._seconds = seconds
        self._done = 0  # cells
        self._alive = True
        self._stack = ExitStack()

    def __enter__(self) -> _Session:  # typing.Self is not in Python 3.10
        folder = self._stack.enter_context(tempfile.TemporaryDirectory())
        self._own = self._stack.enter_context(tempfile.TemporaryDirectory())
        copy_small_files(self._file.path.parent, Path(folder))
        self._kernel = self._stack.enter_context(Kernel())
        self._kernel.ask(f"{_OURS}:enter", folder)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def known_at(self, index: int, document: Document) -> Known:
        saved = _saved(self._file.cells, index, document)
        try:
            self._advance(index)
            known: Known = self._kernel.ask(f"{_OURS}:known_at", document, saved, self._own)
        except KernelError:  # it has crashed, or does not let itself be interrupted
            self._alive = False
            return known_at(shell_without_names(self._file.cells[:index]), document, saved, self._own)
        return known

    def _advance(self, index: int) -> None:
        if not self._alive:
            raise KernelError("The notebook's kernel has ended.")
        while self._done < index:
            cell = self._file.cells[self._done]
            self._done += 1
            if not cell.markdown:
                self._kernel.ask(f"{_OURS}:run_cell", cell.source, self._seconds)


def _saved(cells: Sequence[NotebookCell], index: int, document: Document) -> list[NotebookCell]:
    own = NotebookCell(document.prefix + document.suffix, markdown=False)
    return [*cells[:index], own, *cells[index + 1 :]]


def copy_small_files(folder: Path, into: Path, most_bytes: int = _MOST_BYTES) -> None:
    """Copy what lies in a folder and below it, as long as all of it is small. What cannot be read is left out.

    Cells may read what lies beside their notebook, and must not change it.
    """
    for path in small_files(folder, most_bytes):
        target = into / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):
            shutil.copyfile(path, target)


def small_files(folder: Path, most_bytes: int = _MOST_BYTES) -> list[Path]:
    """Return the files in a folder and below it that fit into `most_bytes` together, the nearest first, none hidden."""
    found: list[Path] = []
    left = most_bytes
    folders = [folder]
    while folders and len(found) < _MOST_FILES:
        here = folders.pop(0)
        try:
            there = [path for path in sorted(here.iterdir()) if not path.name.startswith(".") and not path.is_symlink()]
        except OSError:
            continue
        folders += [path for path in there if path.is_dir()]
        for path in there:
            if path.is_file() and (size := path.stat().st_size) <= left and len(found) < _MOST_FILES:
                found.append(path)
                left -= size
    return found
