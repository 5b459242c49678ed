"""What is known beside the text with the hole, and which of it goes into a prompt."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from fim_magic.context.data import counted
from fim_magic.context.namespace import NameDescription

Count = Callable[[str], int]
"""How many tokens a text has."""

_NAMES_SHARE = 0.2  # of the budget: descriptions are short, but must not push cells out, which are worth more


@dataclass(frozen=True)
class File:
    """Another text that the model may see; its path is as the repository has it."""

    path: str
    text: str


@dataclass(frozen=True)
class ContextCell:
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
    cells: tuple[ContextCell, ...] = ()
    below: tuple[ContextCell, ...] = ()
    described: tuple[NameDescription, ...] = ()
    tokens: int | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """The code of the other cells and files, those that are nearest last."""
        cells = (*reversed(self.below), *self.cells)
        return (*(file.text for file in reversed(self.files)), *(cell.source for cell in cells if not cell.markdown))

    @cached_property
    def frames(self) -> dict[str, frozenset[str]]:
        """The columns of each DataFrame of which all of them are known, by its name."""
        return {item.name: frozenset(item.columns) for item in self.described if item.columns is not None}

    @property
    def above_text(self) -> str:
        """What goes before the text with the hole: the cells as a script, what is known of names before the last cell.

        Where the names stand last, a small model goes on with the list of them.

        Scripts are what StarCoder's training has made of notebooks (bigcode-project/bigcode-dataset: preprocessing/
        jupyter_script_conversion.py). A family's layout for repositories is not used, with the cells as another file:
        a model with such a layout finds right middles less probable in it (`.github/DECISIONS.md`).
        """
        names = "".join(f"{item.line}\n" for item in self.described)
        cells = [f"{cell.source}\n\n" for cell in self.cells]
        return "".join([*cells[:-1], f"{names}\n" if names else "", *cells[-1:]])

    @property
    def below_text(self) -> str:
        """What goes after the text with the hole."""
        return "".join(f"\n\n{cell.source}\n" for cell in self.below)

    def within(self, room: int, count: Count) -> Context:
        """Return as much of it as fits into `room` tokens, the most useful first, in the order of the notebook."""
        left = max(0, room if self.tokens is None else min(room, self.tokens))
        described, left = _names_within(self.described, int(left * _NAMES_SHARE), left, count)
        everything = (*self.cells, *self.below)
        chosen: set[int] = set()
        for index in sorted(range(len(everything)), key=lambda index: everything[index].rank):
            cost = count(f"\n\n{everything[index].source}\n") + 1
            if cost <= left:
                chosen.add(index)
                left -= cost
        cells = tuple(cell for index, cell in enumerate(self.cells) if index in chosen)
        below = tuple(cell for index, cell in enumerate(self.below, len(self.cells)) if index in chosen)
        shown = "\n".join(cell.source for cell in cells)
        described = tuple(item for item in described if not _is_in_source(item, shown))
        return replace(self, cells=cells, below=below, described=described)

    def limited_to(self, mode: str) -> Context:
        """Return as much of it as a mode allows, which may be another than it was gathered in."""
        if mode == "none":
            return EMPTY_CONTEXT
        return replace(
            self,
            files=self.files if mode in ("auto", "all", "cells") else (),
            cells=self.cells if mode in ("auto", "all", "cells") else (),
            below=self.below if mode == "all" else (),
            described=self.described if mode in ("auto", "all", "names") else (),
        )

    def describe(self) -> str:
        """Say in a few words what of the notebook it holds: "3 cells above, 1 below, 5 names"."""
        above = sum(not cell.markdown for cell in self.cells)
        below = len(self.below)
        parts = [
            f"{counted(above, 'cell')} above" if above else "",
            f"{below if above else counted(below, 'cell')} below" if below else "",
        ]
        others = (("text", len(self.cells) - above), ("name", len(self.described)), ("file", len(self.files)))
        parts += [counted(number, noun) for noun, number in others if number]
        return ", ".join(filter(None, parts))

    def summary(self) -> dict[str, Any]:
        """Return what JSON can hold of it: numbers of cells and names of what was described, never a text or value."""
        return {
            "cells": [cell.number for cell in self.cells if not cell.markdown],
            "texts": sum(cell.markdown for cell in self.cells),
            "below": len(self.below),
            "names": [item.name for item in self.described],
            "files": [file.path for file in self.files],
        }


EMPTY_CONTEXT = Context()


def _names_within(
    described: tuple[NameDescription, ...], share: int, left: int, count: Count
) -> tuple[tuple[NameDescription, ...], int]:
    found = []
    for item in described:
        cost = count(f"{item.line}\n") + 1
        if cost <= share:
            found.append(item)
            share -= cost
            left -= cost
    return tuple(found), left


def _is_in_source(item: NameDescription, shown: str) -> bool:
    """Whether the cells that are shown make a description needless: they define the function, or import it."""
    if not item.by_source:
        return False
    name = re.escape(item.name)
    if re.search(rf"^[ \t]*(?:async[ \t]+def|def|class)[ \t]+{name}\b", shown, re.MULTILINE):
        return True
    # One pattern for all of such a line would look at the rest of it once for each `import` that it has.
    imported = (line[match.end() :] for match, line in _imports(shown))
    return any(re.search(rf"\b{name}\b", names) for names in imported)


def _imports(shown: str) -> Iterator[tuple[re.Match[str], str]]:
    """Yield each line's first `import`, and the line without a comment."""
    for line in shown.split("\n"):
        code = line.partition("#")[0]
        match = re.search(r"\bimport\b", code)
        if match is not None:
            yield match, code
