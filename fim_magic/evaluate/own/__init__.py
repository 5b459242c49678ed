"""Measuring on anybody's own notebooks and source files: which model, which context is good for this work?

Holes are punched where the author's code is known, so that an answer can be compared with it. From Python:

    from fim_magic.evaluate.own import tasks_of

    for task in tasks_of("notebooks", per_file=8, run_cells=True):
        request = Request(task.document, candidates=0, context=task.context("auto"), known=task.known)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fim_magic.context import Context, gather
from fim_magic.context.cells import Stored
from fim_magic.context.gathering import TOKENS
from fim_magic.document import Document
from fim_magic.evaluate.own import surroundings
from fim_magic.evaluate.own.closeness import Closeness, closeness
from fim_magic.evaluate.own.drawing import Drawn, draw
from fim_magic.evaluate.own.punching import KINDS, Punched, python_holes
from fim_magic.evaluate.own.session import Known
from fim_magic.evaluate.own.sources import PYTHON, Sheet, Unread, files_of, read

__all__ = ["KINDS", "OwnTask", "tasks_of"]

PER_FILE = 8


@dataclass(frozen=True)
class OwnTask:
    """A hole in somebody's file.

    Attributes:
        task_id: "file#cell:kind:line": the cell's index in the notebook from 0, and the line of the cell from 1. Of a
            source file, whose only cell is 0, the line of the file.
        document: The cell with the hole, or the whole source file.
        canonical: What the author wrote there.
        kind: One of `KINDS`.
        language: Such as "python".
        statements: How many statements the author wrote there, those inside blocks not counted.
        above: The notebook's cells before the hole's, from the top.
        below: Those after it.
        known: The names that the session and the notebook's other cells define.
        everything: All that a model may be told beside the document; `context` takes of it what a mode shows.
    """

    task_id: str
    document: Document
    canonical: str
    kind: str
    language: str
    statements: int
    above: tuple[Stored, ...] = ()
    below: tuple[Stored, ...] = ()
    known: frozenset[str] = frozenset()
    everything: Context = field(default_factory=Context)

    @property
    def group(self) -> str:
        """The cell, or the file, whose holes stand or fall together."""
        return self.task_id.partition(":")[0]

    def context(self, mode: str = "auto", tokens: int | None = TOKENS) -> Context:
        """Return what a mode shows to the model, as `%%fim` would have it in this cell.

        Args:
            mode: One of `fim_magic.context.MODES`.
            tokens: The most that it may take of a prompt.
        """
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
        """Say how close an answer is to what the author wrote.

        Args:
            answer: The text for the hole.
            shown: What the model saw beside the document.
        """
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
) -> list[OwnTask]:
    """Return holes in the files of a folder, or in one file, each file's in its order.

    Args:
        path: A folder, also what is below it, or a file.
        every: Only every so many of the files, by name.
        offset: The index of the first of them, from 0.
        per_file: The most holes of a file.
        seed: Another one gives other holes.
        run_cells: Whether the cells above a hole are run, so that the model can be told of the kernel's names. A script
            that asks for it has to be importable: what it does stands below `if __name__ == "__main__":`.
        kinds: The kinds of holes.

    Raises:
        OptionError: There are no files.
    """
    found: list[OwnTask] = []
    for sheet in sheets_of(Path(path), every, offset):
        if isinstance(sheet, Sheet):
            found += known_tasks(sheet, per_file=per_file, seed=seed, run_cells=run_cells, kinds=kinds)
    return found


def sheets_of(path: Path, every: int = 1, offset: int = 0) -> Iterator[Sheet | Unread]:
    """Read every so many of the files below a path, by name.

    Raises:
        OptionError: There are no files.
    """
    for file in files_of(path)[offset::every]:
        yield read(file, file.relative_to(path).as_posix() if path.is_dir() else file.name)


def known_tasks(sheet: Sheet, *, per_file: int, seed: int, run_cells: bool, kinds: Sequence[str]) -> list[OwnTask]:
    """Return the holes of one file, each with what is known around it."""
    drawn = drawn_of(sheet, per_file=per_file, seed=seed, kinds=kinds)
    tasks = [_task(sheet, each) for each in drawn]
    if not sheet.is_notebook:
        return tasks
    holes = [(each.cell, task.document) for each, task in zip(drawn, tasks, strict=True)]
    around = surroundings.run if run_cells and holes and sheet.language == PYTHON else surroundings.unrun
    return [_with(task, known) for task, known in zip(tasks, around(sheet, holes), strict=True)]


def drawn_of(sheet: Sheet, *, per_file: int, seed: int, kinds: Sequence[str]) -> list[Drawn]:
    """Return where the holes of one file are."""
    holes: dict[int, list[Punched]] = {}
    if sheet.language == PYTHON:
        holes = {at: python_holes(cell.source) for at, cell in enumerate(sheet.cells) if not cell.markdown}
    return draw(sheet.name, holes, kinds, per_file, seed, by_statement=not sheet.is_notebook)


def _task(sheet: Sheet, drawn: Drawn) -> OwnTask:
    text, hole = sheet.cells[drawn.cell].source, drawn.hole
    line = text.count("\n", 0, hole.start) + 1
    return OwnTask(
        task_id=f"{sheet.name}#{drawn.cell}:{hole.kind}:{line}",
        document=Document(text[: hole.start], text[hole.end :]),
        canonical=text[hole.start : hole.end],
        kind=hole.kind,
        language=sheet.language,
        statements=hole.statements,
        above=sheet.cells[: drawn.cell],
        below=sheet.cells[drawn.cell + 1 :],
    )


def _with(task: OwnTask, known: Known) -> OwnTask:
    return replace(task, known=known.names, everything=known.everything)
