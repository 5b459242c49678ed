"""Which names a check takes from the user, and which from an answer that binds them as well."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fim_magic.cell_text import tree_of
from fim_magic.checks.names import bound_names
from fim_magic.checks.ownership import Division, attribute_chains, imported, names_read, shared_names
from fim_magic.sandbox import Reserved, Stretch

_LOOKS_UP = frozenset({"__main__", "eval", "exec", "gc", "globals", "locals", "sys", "vars"})


@dataclass(frozen=True)
class Claims:
    """Whose the names of a cell's checks are.

    Attributes:
        reserved: What a run has to keep.
        contested: Names that are the user's and the answer's, of which the checks get the answer's.
        is_certain: Whether the answer had no reason to bind a name of the user's.
        answers_itself: What the answer defines or uses that decides comparisons, if anything.
    """

    reserved: Reserved
    contested: tuple[str, ...]
    is_certain: bool
    answers_itself: tuple[str, ...]


def claims_on(division: Division | None, checks: Sequence[str], earlier: Sequence[str]) -> Claims | None:
    """Tell whose the names are that checks read; None where no answer is known.

    Args:
        division: The cell.
        checks: Their sources.
        earlier: The cells that run before it.
    """
    if division is None:
        return None
    users_parts = [part for index, part in enumerate(division.parts) if index not in division.answers]
    trees_before = _trees(earlier)
    checking, users = _trees(checks), trees_before + _trees(users_parts)
    read = names_read(checking, users)
    shared = division.shared | shared_names(trees_before)
    if division.is_scoped:
        stretches, contested = _in_a_scope(division, read, shared, len(earlier)), frozenset[str]()
    else:
        stretch, contested = _between_statements(division, read, shared, earlier)
        stretches = [stretch]
    reserved = Reserved(
        stretches=tuple(stretches),
        settled=len(earlier) + len(division.parts) - 1,
        spared=_sorted(division.spared | shared),
        checked=_sorted(read - shared - frozenset().union(*map(bound_names, checks))),
        modules=_sorted(imported(checking + users)),
        attributes=_sorted(attribute_chains(checking + users)),
    )
    return Claims(reserved, _sorted(contested), division.is_scoped, division.answers_itself)


def _in_a_scope(division: Division, read: frozenset[str], shared: frozenset[str], before: int) -> list[Stretch]:
    """What is put back after each part of the answer: all but what it was to define, and what the user says changes.

    What the user wrote around it, such as a decorator, may change data; what the answer has beside it may not.
    """
    users, used = division.users, _used(division, read)
    around, beside = used - users - shared, read | used - users
    return [
        Stretch(before + index, before + index, _sorted(users), None, _sorted(beside), wholly=True)
        if index in division.beside
        else Stretch(before + index, before + index, _sorted(users | shared), None, _sorted(around))
        for index in division.answers
    ]


def _between_statements(
    division: Division, read: frozenset[str], shared: frozenset[str], earlier: Sequence[str]
) -> tuple[Stretch, frozenset[str]]:
    """What is put back where an answer may define anything, and the names that checks read of it and of the user."""
    before = frozenset().union(*map(bound_names, earlier))
    made_here = division.users | (division.made - before - {*dir(builtins)})
    users = frozenset(name for name in read - division.users if name in before or hasattr(builtins, name))
    contested = frozenset[str]() if read & made_here else users & division.bound
    is_users = bool(read & made_here)
    data = users & _used(division, read) if is_users else frozenset[str]()
    first, last = len(earlier) + division.answers[0], len(earlier) + len(division.parts) - 1
    released = _sorted(division.users | shared)
    return Stretch(first, last, released, _sorted(users - contested), _sorted(data), wholly=is_users), contested


def _used(division: Division, read: frozenset[str]) -> frozenset[str]:
    """The names that the answer may use: all that checks read, where it may look names up by their text."""
    return division.used | read if division.used & _LOOKS_UP else division.used


def _trees(sources: Iterable[str]) -> list[ast.Module]:
    """The trees of those that Python can read."""
    return [*filter(None, map(tree_of, sources))]


def _sorted(names: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(names))
