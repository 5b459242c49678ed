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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from fim_magic.checks import bound_names
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
_HOLE = re.compile(r"⟦(?P<name>\w+)\|(?P<middle>[^⟧]*)⟧")


@dataclass(frozen=True)
class Cell:
    """A cell without a hole.

    Attributes:
        kind: "code" or "markdown".
        source: Its text.
    """

    kind: str
    source: str


@dataclass(frozen=True)
class NotebookTask:
    """One hole of a notebook.

    Attributes:
        task_id: The notebook's name and the hole's, such as "corner_shop/3".
        document: The hole's cell.
        canonical: The middle that the notebook was written with.
        above: The cells before it, oldest first. Those with code have run.
        under: The cells after it, the nearest first. None has run.
        check: Code that raises in the kernel if the cell that ran was wrong.
        needs: What one has to know to fill the hole, one of `NEEDS`.
        topic: What the notebook is about.
        wrong: Plausible middles that the check rejects.
        also: Other middles that it accepts.
    """

    task_id: str
    document: Document
    canonical: str
    above: tuple[Cell, ...]
    under: tuple[Cell, ...]
    check: str
    needs: str
    topic: str
    wrong: tuple[str, ...] = ()
    also: tuple[str, ...] = ()

    @property
    def notebook(self) -> str:
        """The name of the notebook that the hole is in."""
        return self.task_id.partition("/")[0]

    @property
    def cells(self) -> tuple[str, ...]:
        """The code that has run before the hole's cell, oldest first."""
        return tuple(cell.source for cell in self.above if cell.kind == "code")

    @property
    def below(self) -> tuple[str, ...]:
        """The code in the cells after the hole's, the nearest first."""
        return tuple(cell.source for cell in self.under if cell.kind == "code")

    @property
    def order(self) -> tuple[tuple[str, str], ...]:
        """All cells as (kind, source) in the notebook's order. The one of kind "hole" has no source."""
        above = [(cell.kind, cell.source) for cell in self.above]
        under = [(cell.kind, cell.source) for cell in self.under]
        return (*above, ("hole", ""), *under)

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
    """Read every task, notebook after notebook in alphabetical order, in each from the top.

    Raises:
        ValueError: A notebook's file is not as the format says.
    """
    found = sorted(
        (path for path in files(__name__).joinpath("data").iterdir() if path.name.endswith(".txt")),
        key=lambda path: path.name,
    )
    return tuple(
        task for path in found for task in parse(path.name.removesuffix(".txt"), path.read_text(encoding="utf-8"))
    )


def parse(name: str, text: str) -> tuple[NotebookTask, ...]:
    """Read the tasks of one notebook.

    Args:
        name: What the notebook is called.
        text: The notebook, in the format that this package describes.

    Raises:
        ValueError: The text is not in that format; the message says where.
    """
    blocks = _blocks(name, text)
    cells = [block for block in blocks if block.kind in {"code", "markdown"}]
    filled = [Cell(cell.kind, _HOLE.sub(_canonical, cell.text)) for cell in cells]
    tasks = []
    for at, cell in enumerate(cells):
        for hole in _HOLE.finditer(cell.text):
            label = hole["name"]
            check = _the_check(name, label, blocks)
            tasks.append(
                NotebookTask(
                    task_id=f"{name}/{label}",
                    document=Document(
                        _HOLE.sub(_canonical, cell.text[: hole.start()]),
                        _HOLE.sub(_canonical, cell.text[hole.end() :]),
                    ),
                    canonical=hole["middle"],
                    above=tuple(filled[:at]),
                    under=tuple(filled[at + 1 :]),
                    check=check.text,
                    needs=check.words[2],
                    topic=_topic(name, blocks),
                    wrong=_of_hole("wrong", label, blocks),
                    also=_of_hole("also", label, blocks),
                )
            )
    _refuse_strays(name, blocks, {task.task_id.partition("/")[2] for task in tasks})
    return tuple(tasks)


def _canonical(hole: re.Match[str]) -> str:
    return hole["middle"]


_WORDS = {"code": 0, "markdown": 1, "topic": 2, "check": 3, "wrong": 2, "also": 2}  # of a header, by its first


def _blocks(name: str, text: str) -> list[_Section]:
    headers = list(_HEADER.finditer(text))
    ends = [header.start() for header in headers[1:]] + [len(text)]
    blocks = []
    for header, end in zip(headers, ends, strict=True):
        block = _Section(tuple((header["words"] or "").split()), text[header.end() : end].strip("\n"))
        if len(block.words) != _WORDS.get(block.kind):
            raise ValueError(f"{name}: no such block: {header.group()}")
        blocks.append(block)
    return blocks


def _the_check(name: str, label: str, blocks: Sequence[_Section]) -> _Section:
    found = [block for block in blocks if block.kind == "check" and block.words[1] == label]
    if len(found) != 1 or found[0].words[2] not in NEEDS:
        raise ValueError(f"{name}: hole {label} needs one check that says what it needs: {', '.join(NEEDS)}")
    return found[0]


def _topic(name: str, blocks: Sequence[_Section]) -> str:
    topics = [block.words[1] for block in blocks if block.kind == "topic"]
    if len(topics) != 1:
        raise ValueError(f"{name}: it has {len(topics)} topics, and needs one")
    return topics[0]


def _of_hole(kind: str, label: str, blocks: Sequence[_Section]) -> tuple[str, ...]:
    return tuple(block.text for block in blocks if block.kind == kind and block.words[1] == label)


def _refuse_strays(name: str, blocks: Sequence[_Section], labels: set[str]) -> None:
    for label in _labels(blocks):
        if label not in labels:
            raise ValueError(f"{name}: there is no hole {label}")


def _labels(blocks: Sequence[_Section]) -> Iterator[str]:
    return (block.words[1] for block in blocks if block.kind in {"check", "wrong", "also"})
