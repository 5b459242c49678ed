"""Which of the possible holes are asked: as many of each kind, spread over the cells of a file.

A hole's turn is the order of a hash of the seed and of where the hole is, so that the same seed gives the same holes
with every version of Python, and a cell that is added to a file leaves most of the others' holes as they were.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fim_magic.evaluate.own.punching import Punched


@dataclass(frozen=True)
class SampledHole:
    """A hole that is asked."""

    cell: int  # the index of the cell in its file, from 0
    hole: Punched  # where it is in the cell


def sample(
    name: str,
    found: Mapping[int, Sequence[Punched]],
    kinds: Sequence[str],
    most: int,
    seed: int,
    *,
    by_statement: bool,
) -> list[SampledHole]:
    """Return the `most` holes of one file that are asked, in order. Kinds take turns; another seed gives others.

    A kind has one hole in a cell; with `by_statement`, as in a source file, in each top-level statement.
    """
    by_kind = {kind: _one_a_part(name, found, kind, seed, by_statement) for kind in kinds}
    turns = sorted(kinds, key=lambda kind: _turn(seed, name, kind))
    sampled: list[SampledHole] = []
    for turn in range(max(map(len, by_kind.values()), default=0)):
        sampled += [by_kind[kind][turn] for kind in turns if turn < len(by_kind[kind])]
    return sorted(sampled[:most], key=lambda hole: (hole.cell, hole.hole.start, hole.hole.end))


def _one_a_part(
    name: str, found: Mapping[int, Sequence[Punched]], kind: str, seed: int, by_statement: bool
) -> list[SampledHole]:
    """One hole of a kind in each part of the file, those whose turn it is first."""
    parts: dict[tuple[int, int], list[Punched]] = {}
    for cell, holes in found.items():
        for hole in holes:
            if hole.kind == kind:
                parts.setdefault((cell, hole.unit if by_statement else 0), []).append(hole)
    chosen = []
    for (cell, unit), holes in parts.items():
        places = sorted({hole.place for hole in holes}, key=lambda place: _turn(seed, name, cell, unit, place))
        there = [hole for hole in holes if hole.place == places[0]]
        sizes = sorted({hole.statements for hole in there}, key=lambda size: _turn(seed, name, cell, unit, size))
        there = [hole for hole in there if hole.statements == sizes[0]]
        chosen.append(SampledHole(cell, min(there, key=lambda hole: _turn(seed, name, cell, hole.start, hole.end))))
    return sorted(chosen, key=lambda hole: _turn(seed, name, kind, hole.cell, hole.hole.start))


def _turn(seed: int, *what: object) -> bytes:
    return hashlib.sha256(repr((seed, *what)).encode()).digest()
