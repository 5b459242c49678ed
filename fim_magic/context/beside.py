"""What is known beside the text with the hole, and which of it goes into a prompt."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from fim_magic.context.namespace import Described

Count = Callable[[str], int]
"""How many tokens a text has."""

_NAMES_SHARE = 0.2  # of the budget: descriptions are short, but must not push cells out, which tell more


@dataclass(frozen=True)
class File:
    """Another text that the model may see.

    Attributes:
        path: What it is called, in the repository's own terms.
        text: All of it.
    """

    path: str
    text: str


@dataclass(frozen=True)
class Cell:
    """Another cell of the notebook, as a script has it: Python, or a text in comments.

    Attributes:
        source: Without IPython's own lines and without secrets.
        number: Its number in the session (`In[3]`), or 0 where it has none.
        markdown: Whether it is a text.
        rank: Which goes into the prompt first where not all fit: 0 is the first.
    """

    source: str
    number: int = 0
    markdown: bool = False
    rank: int = 0


@dataclass(frozen=True)
class Context:
    """What is known beside the text with the hole.

    Attributes:
        repository: The repository's name, or "".
        path: What the text with the hole is called, or "".
        files: Others, the most useful first.
        cells: Cells of the notebook that ran before, oldest first.
        below: The cells below the one with the hole, nearest first.
        described: What is known of names, the most useful first.
        tokens: The most that cells and names may take of a prompt; None for all that the text with the hole leaves.
    """

    repository: str = ""
    path: str = ""
    files: tuple[File, ...] = ()
    cells: tuple[Cell, ...] = ()
    below: tuple[Cell, ...] = ()
    described: tuple[Described, ...] = ()
    tokens: int | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """The code of the other cells and files, those that are nearest last."""
        cells = (*(cell for cell in reversed(self.below)), *self.cells)
        return (*(file.text for file in reversed(self.files)), *(cell.source for cell in cells if not cell.markdown))

    @cached_property
    def frames(self) -> dict[str, frozenset[str]]:
        """The columns of each DataFrame of which all of them are known, by its name."""
        return {each.name: frozenset(each.columns) for each in self.described if each.columns is not None}

    @property
    def above_text(self) -> str:
        """What goes before the text with the hole: the cells as a script, what is known of names before the last cell.

        Where the names stand last, a small model goes on with the list of them.

        Scripts are what StarCoder's training has made of notebooks (bigcode-project/bigcode-dataset: preprocessing/
        jupyter_script_conversion.py). A family's layout for repositories is not used, with the cells as another file:
        a model with such a layout finds right middles less probable in it (`.github/DECISIONS.md`).
        """
        names = "".join(f"{each.line}\n" for each in self.described)
        cells = [f"{cell.source}\n\n" for cell in self.cells]
        return "".join([*cells[:-1], f"{names}\n" if names else "", *cells[-1:]])

    @property
    def below_text(self) -> str:
        """What goes after it."""
        return "".join(f"\n\n{cell.source}\n" for cell in self.below)

    def within(self, room: int, count: Count) -> Context:
        """Return as much of it as fits, the most useful first, in the order of the notebook.

        Args:
            room: How many tokens of the prompt are left for cells and names.
            count: How many tokens a text has.
        """
        left = max(0, room if self.tokens is None else min(room, self.tokens))
        described, left = _names_within(self.described, int(left * _NAMES_SHARE), left, count)
        chosen: set[int] = set()
        everything = (*self.cells, *self.below)
        for at in sorted(range(len(everything)), key=lambda at: everything[at].rank):
            cost = count(f"\n\n{everything[at].source}\n") + 1
            if cost <= left:
                chosen.add(at)
                left -= cost
        cells = tuple(cell for at, cell in enumerate(self.cells) if at in chosen)
        below = tuple(cell for at, cell in enumerate(self.below, len(self.cells)) if at in chosen)
        shown = "\n".join(cell.source for cell in cells)
        described = tuple(each for each in described if not _told(each, shown))
        return replace(self, cells=cells, below=below, described=described)

    def describe(self) -> str:
        """Say in a few words what of the notebook it holds: "3 cells above, 1 below, 5 names"."""
        above = sum(not cell.markdown for cell in self.cells)
        texts = len(self.cells) - above
        said = [_counted(above, "cell", " above"), f"{len(self.below)} below" if self.below else ""]
        said += [_counted(texts, "text"), _counted(len(self.described), "name"), _counted(len(self.files), "file")]
        if self.below and not above:
            said[1] = _counted(len(self.below), "cell", " below")
        return ", ".join(each for each in said if each)

    def summary(self) -> dict[str, Any]:
        """Return what JSON can hold of it: numbers of cells and names of what was described, never a text or value."""
        return {
            "cells": [cell.number for cell in self.cells if not cell.markdown],
            "texts": sum(cell.markdown for cell in self.cells),
            "below": len(self.below),
            "names": [each.name for each in self.described],
            "files": [file.path for file in self.files],
        }


NOTHING_ELSE = Context()


def _names_within(
    described: tuple[Described, ...], share: int, left: int, count: Count
) -> tuple[tuple[Described, ...], int]:
    found = []
    for each in described:
        cost = count(f"{each.line}\n") + 1
        if cost <= share:
            found.append(each)
            share -= cost
            left -= cost
    return tuple(found), left


def _told(each: Described, shown: str) -> bool:
    """Whether the cells that are shown say all that a description says: they define the function, or import it."""
    if not each.by_source:
        return False
    name = re.escape(each.name)
    return (
        re.search(rf"^\s*(?:async\s+def|def|class)\s+{name}\b|^[^\n#]*\bimport\b[^\n#]*\b{name}\b", shown, re.MULTILINE)
        is not None
    )


def _counted(number: int, noun: str, rest: str = "") -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}{rest}" if number else ""
