"""Measuring on the user's own notebooks and source files: which model, which context is good for this work?

Holes are punched where the author's code is known, so that an answer can be compared with it. From Python:

    from fim_magic.evaluate.own import tasks_of

    for task in tasks_of("notebooks", per_file=8, run_cells=True):
        request = Request(task.document, candidates=0, context=task.context("auto"), known=task.known)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from fim_magic.context import Context, gather
from fim_magic.context.cells import NotebookCell
from fim_magic.context.gathering import TOKENS
from fim_magic.document import Document
from fim_magic.evaluate.own.closeness import Closeness, closeness
from fim_magic.evaluate.own.layout import layout_holes
from fim_magic.evaluate.own.punching import KINDS, Punched, python_holes
from fim_magic.evaluate.own.remembered import Surroundings
from fim_magic.evaluate.own.sampling import SampledHole, sample
from fim_magic.evaluate.own.sources import OwnFile, Unread, files_of, read
from fim_magic.languages import PYTHON, of_cell

__all__ = ["KINDS", "OwnTask", "tasks_of"]

PER_FILE = 8


@dataclass(frozen=True)
class OwnTask:
    """A hole in one of the user's files."""

    # "file#cell:kind:line": the cell's index in the notebook from 0, and the line of the cell from 1. Of a source
    # file, whose only cell is 0, the line of the file.
    task_id: str
    document: Document  # the cell with the hole, or the whole source file
    canonical: str  # what the author wrote there
    kind: str  # one of `KINDS`
    language: str  # such as "python"
    statements: int  # how many statements the author wrote there, those inside blocks not counted
    above: tuple[NotebookCell, ...] = ()  # the notebook's cells before the hole's, from the top
    below: tuple[NotebookCell, ...] = ()  # those after it
    known: frozenset[str] = frozenset()  # the names that the session and the notebook's other cells define
    # all that a model may be told beside the document; `context` takes of it what a mode shows
    everything: Context = field(default_factory=Context)

    @property
    def file(self) -> str:
        return self.task_id.rpartition("#")[0]

    @property
    def group(self) -> str:
        """The cell, or the file, whose holes stand or fall together."""
        return self.task_id.rsplit(":", 2)[0]

    def context(self, mode: str = "auto", tokens: int | None = TOKENS) -> Context:
        """Return what a mode shows to the model, as `%%fim` would have it in this cell, of at most so many tokens."""
        there = self.everything
        return gather(
            self.document,
            above=there.cells,
            below=there.below,
            described=there.described,
            mode=mode,
            tokens=tokens,
        )

    def compare(self, answer: str, shown: str = "") -> Closeness:
        """Say how close an answer is to what the author wrote; `shown` is what the model saw beside the document."""
        return closeness(
            self.document,
            self.canonical,
            answer,
            kind=self.kind,
            statements=self.statements,
            context=shown,
            language=self.language,
        )


def tasks_of(
    path: str | Path,
    *,
    every: int = 1,
    offset: int = 0,
    per_file: int = PER_FILE,
    seed: int = 0,
    run_cells: bool = False,
    kinds: Sequence[str] = KINDS,
    remember: Path | None = None,
) -> list[OwnTask]:
    """Return holes in the files of a folder and those below it, or in one file, each file's in its order.

    Args:
        path: The folder or file.
        every: Only every so many of the files, by name.
        offset: The index of the first of them, from 0.
        per_file: The most holes of a file.
        seed: Another one gives other holes.
        run_cells: Whether the cells above a hole are run, so that the model sees the kernel's names. A script that asks
            for it has to be importable: what it does stands below `if __name__ == "__main__":`.
        kinds: The kinds of holes.
        remember: A file in which what was found out around the holes is kept for the next time, or None.

    Raises:
        OptionError: There are no files.
    """
    found: list[OwnTask] = []
    with closing(Surroundings(remember)) as around:
        for file in read_files(Path(path), every, offset):
            if isinstance(file, OwnFile):
                bare = bare_tasks(file, per_file=per_file, seed=seed, kinds=kinds)
                found += with_surroundings(file, bare, around, run_cells=run_cells)
    return found


def read_files(path: Path, every: int = 1, offset: int = 0) -> Iterator[OwnFile | Unread]:
    """Read every so many of the files below a path, by name.

    Raises:
        OptionError: There are no files.
    """
    for file in files_of(path)[offset::every]:
        yield read(file, file.relative_to(path).as_posix() if path.is_dir() else file.name)


def bare_tasks(file: OwnFile, *, per_file: int, seed: int, kinds: Sequence[str]) -> list[OwnTask]:
    """Return the holes of one file, without what is known around them."""
    holes: dict[int, list[Punched]] = {}
    for index, cell in enumerate(file.cells):
        language = _language(file, cell)
        if not cell.markdown:
            holes[index] = python_holes(cell.source) if language == PYTHON else layout_holes(cell.source, language)
    sampled = sample(file.name, holes, kinds, per_file, seed, by_statement=not file.is_notebook)
    return [_task(file, hole) for hole in sampled]


def with_surroundings(
    file: OwnFile, tasks: Sequence[OwnTask], around: Surroundings, *, run_cells: bool
) -> list[OwnTask]:
    """Return the holes of one file, or some, with what is known around them where the cells above have run or not."""
    if not file.is_notebook:
        return list(tasks)
    holes = [(len(task.above), task.document) for task in tasks]
    known = around.around(file, holes, run_cells=run_cells)
    return [
        replace(task, known=facts.names, everything=facts.everything) for task, facts in zip(tasks, known, strict=True)
    ]


def _language(file: OwnFile, cell: NotebookCell) -> str:
    """What a cell is in: its magic says it, or else the notebook's kernel; of a source file, its name."""
    own = of_cell(cell.source) if file.is_notebook else PYTHON
    return file.language if own == PYTHON else own


def _task(file: OwnFile, sampled: SampledHole) -> OwnTask:
    cell, hole = file.cells[sampled.cell], sampled.hole
    text, language = cell.source, _language(file, cell)
    shown = "" if file.is_notebook and file.language == PYTHON else language  # as a front end would say it
    line = text.count("\n", 0, hole.start) + 1
    return OwnTask(
        task_id=f"{file.name}#{sampled.cell}:{hole.kind}:{line}",
        document=Document(text[: hole.start], text[hole.end :], language=shown),
        canonical=text[hole.start : hole.end],
        kind=hole.kind,
        language=language,
        statements=hole.statements,
        above=file.cells[: sampled.cell],
        below=file.cells[sampled.cell + 1 :],
    )
