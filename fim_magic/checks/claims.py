"""Which names a check takes from the user, and which from an answer that binds them as well."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from dataclasses import dataclass

from fim_magic.checks.names import bound_names
from fim_magic.checks.ownership import Division, names_read, shared_names
from fim_magic.sandbox import Reserved


@dataclass(frozen=True)
class Claims:
    """Whose the names of a cell's checks are.

    Attributes:
        released: Names that the answer may bind and change.
        only: Where not None, the only ones that it may not.
        data: Names of which the contents are the user's as well.
        checked: Names that may not change any more while checks run.
        contested: Names that are the user's and the answer's, of which the checks get the answer's.
        is_certain: Whether the answer had no reason to bind a name of the user's.
        answers_itself: What the answer defines that decides comparisons, if anything.
    """

    released: frozenset[str]
    only: frozenset[str] | None
    data: frozenset[str]
    checked: frozenset[str]
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
    read = names_read(checks, [*earlier, *users_parts])
    shared = division.shared | shared_names(earlier)
    before = frozenset().union(*map(bound_names, earlier))
    checked = read - shared - frozenset().union(*map(bound_names, checks))
    if division.is_scoped:
        released = division.users | shared
        return Claims(released, None, division.used - released, checked, (), True, division.answers_itself)
    made_here = division.users | (division.made - before - {*dir(builtins)})
    contested = frozenset(name for name in read - division.users if name in before or hasattr(builtins, name))
    if read & made_here:
        data = contested & division.used
        return Claims(division.users | shared, contested, data, checked, (), False, division.answers_itself)
    answers = tuple(sorted(contested & division.bound))
    only = contested - division.bound
    return Claims(division.users | shared, only, frozenset(), checked, answers, False, division.answers_itself)


def reserved_by(claims: Claims, division: Division | None, before: int) -> Reserved | None:
    """Return what a run has to keep.

    Args:
        claims: On the names.
        division: The cell.
        before: How many steps run before it.
    """
    if division is None:
        return None
    end = before + len(division.parts) - 1
    first = before + division.answers[0]
    alone = tuple((before + index, before + index) for index in division.answers)
    return Reserved(
        spans=alone if division.is_scoped else ((first, end),),
        settled=end,
        released=tuple(sorted(claims.released)),
        only=None if claims.only is None else tuple(sorted(claims.only)),
        data=tuple(sorted(claims.data)),
        checked=tuple(sorted(claims.checked)),
    )
