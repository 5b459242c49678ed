"""Holes in cells of notebooks, where what is missing depends on the cells around and on what lives in the kernel.

The notebooks in `data` are written for this benchmark. They are text in the percent format, with the extension .txt
since a file with holes is no Python:

    # %%                        a code cell
    # %% [markdown]             a text cell, as it is
    # %% [topic pandas]         what the notebook is about; once, at the top
    # %% [check 3 cells]        runs after the cell with hole 3, in the kernel, and raises if the answer is wrong;
                                "cells" is what one has to know to fill the hole, one of `NEEDS`
    # %% [wrong 3]              a plausible middle that the check has to reject
    # %% [also 3]               another right middle, which it has to accept

A hole stands in a code cell as `⟦3|the canonical middle⟧`. For each hole there is one task: the cells above have run
with their canonical middles, other holes of the same cell are filled, and the cells below have not run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from fim_magic.checks import bound_names
from fim_magic.context.cells import NotebookCell
from fim_magic.document import Document

NEEDS: tuple[str, ...] = ("cells", "names", "below", "markdown", "nothing")
"""What one has to know beside the cell itself: the code above, what the kernel holds (names of columns and keys that
no source spells out, shapes), the code below, the text cells, or nothing."""

# One thread for each library: their pools reserve address space, of which a sandbox gives little.
_PROLOGUE = """\
import os

os.environ.update(MPLBACKEND="Agg", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
"""

_HEADER = re.compile(r"^# %%(?: \[(?P<words>[^\]\n]+)\])?[ \t]*$", re.MULTILINE)
_HOLE = re.compile(r"⟦(?P<name>\w+)\|(?P<middle>[^⟦⟧]*)⟧")


@dataclass(frozen=True)
class NotebookTask:
    """One hole of a notebook."""

    task_id: str  # the notebook's name and the hole's, such as "corner_shop/3"
    document: Document  # the hole's cell
    canonical: str  # the middle that the notebook was written with
    above: tuple[NotebookCell, ...]  # the cells before it, oldest first; those with code have run
    under: tuple[NotebookCell, ...]  # the cells after it, the nearest first; none has run
    check: str  # code that raises in the kernel if the cell that ran was wrong
    needs: str  # what one has to know to fill the hole, one of `NEEDS`
    topic: str  # what the notebook is about
    wrong: tuple[str, ...] = ()  # plausible middles that the check rejects
    also: tuple[str, ...] = ()  # other middles that it accepts

    @property
    def notebook(self) -> str:
        return self.task_id.partition("/")[0]

    @property
    def cells(self) -> tuple[str, ...]:
        """The code that has run before the hole's cell, oldest first."""
        return tuple(cell.source for cell in self.above if not cell.markdown)

    @property
    def below(self) -> tuple[str, ...]:
        """The code in the cells after the hole's, the nearest first."""
        return tuple(cell.source for cell in self.under if not cell.markdown)

    @property
    def saved(self) -> tuple[NotebookCell, ...]:
        """The notebook's cells, with nothing in the hole."""
        own = NotebookCell(self.document.prefix + self.document.suffix, markdown=False)
        return (*self.above, own, *self.under)

    @property
    def known(self) -> frozenset[str]:
        """The names that the notebook's other cells define, also those that have yet to run."""
        return frozenset[str]().union(*map(bound_names, (*self.cells, *self.below)))

    def program(self, middle: str) -> str:
        """Return a standalone program that raises if `middle` is wrong: the cells, the rebuilt one, and its check."""
        return "\n\n".join((_PROLOGUE, *self.cells, self.document.rebuild(middle), self.check)) + "\n"


@dataclass(frozen=True)
class _Section:
    """A piece of a notebook's file: the words of its header, and what stands below it."""

    words: tuple[str, ...]
    text: str

    @property
    def kind(self) -> str:
        return self.words[0] if self.words else "code"


@lru_cache(maxsize=1)
def read() -> tuple[NotebookTask, ...]:
    """Read every task, notebook after notebook in alphabetical order, in each from the top."""
    folder = files(__name__).joinpath("data")
    names = sorted(path.name for path in folder.iterdir() if path.name.endswith(".txt"))
    return tuple(
        task
        for name in names
        for task in parse(name.removesuffix(".txt"), folder.joinpath(name).read_text(encoding="utf-8"))
    )


def parse(name: str, text: str) -> tuple[NotebookTask, ...]:
    """Read the tasks of one notebook, in the format that this package describes.

    Raises:
        ValueError: The text is not in that format; the message says where.
    """
    sections = _sections(name, text)
    cells = [section for section in sections if section.kind in {"code", "markdown"}]
    filled = [NotebookCell(_fill(cell.text), cell.kind == "markdown") for cell in cells]
    tasks = []
    for index, cell in enumerate(cells):
        for hole in _HOLE.finditer(cell.text):
            label = hole["name"]
            check = _check_of(name, label, sections)
            tasks.append(
                NotebookTask(
                    task_id=f"{name}/{label}",
                    document=Document(_fill(cell.text[: hole.start()]), _fill(cell.text[hole.end() :])),
                    canonical=hole["middle"],
                    above=tuple(filled[:index]),
                    under=tuple(filled[index + 1 :]),
                    check=check.text,
                    needs=check.words[2],
                    topic=_topic(name, sections),
                    wrong=_of_hole("wrong", label, sections),
                    also=_of_hole("also", label, sections),
                )
            )
    labels = {task.task_id.partition("/")[2] for task in tasks}
    for section in sections:
        if section.kind in {"check", "wrong", "also"} and section.words[1] not in labels:
            raise ValueError(f"{name}: there is no hole {section.words[1]}")
    return tuple(tasks)


def _fill(text: str) -> str:
    return _HOLE.sub(lambda hole: hole["middle"], text)


_WORDS = {"code": 0, "markdown": 1, "topic": 2, "check": 3, "wrong": 2, "also": 2}  # of a header, by its first


def _sections(name: str, text: str) -> list[_Section]:
    headers = list(_HEADER.finditer(text))
    ends = [header.start() for header in headers[1:]] + [len(text)]
    sections = []
    for header, end in zip(headers, ends, strict=True):
        section = _Section(tuple((header["words"] or "").split()), text[header.end() : end].strip("\n"))
        if len(section.words) != _WORDS.get(section.kind):
            raise ValueError(f"{name}: no such block: {header.group()}")
        sections.append(section)
    return sections


def _check_of(name: str, label: str, sections: Sequence[_Section]) -> _Section:
    found = [section for section in sections if section.kind == "check" and section.words[1] == label]
    if len(found) != 1 or found[0].words[2] not in NEEDS:
        raise ValueError(f"{name}: hole {label} needs one check that says what it needs: {', '.join(NEEDS)}")
    return found[0]


def _topic(name: str, sections: Sequence[_Section]) -> str:
    topics = [section.words[1] for section in sections if section.kind == "topic"]
    if len(topics) != 1:
        raise ValueError(f"{name}: it has {len(topics)} topics, and needs one")
    return topics[0]


def _of_hole(kind: str, label: str, sections: Sequence[_Section]) -> tuple[str, ...]:
    return tuple(section.text for section in sections if section.kind == kind and section.words[1] == label)
