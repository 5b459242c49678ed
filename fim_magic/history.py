"""The requests of this session: what `%fim log` lists and `%fim replay` makes again."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fim_magic.errors import OptionError

if TYPE_CHECKING:  # %load_ext imports this module
    from fim_magic.candidate import Result
    from fim_magic.provenance import Record
    from fim_magic.request import Request


_MOST_DIGITS = 9  # Python refuses to read a number of some thousand digits


def typed_number(text: str) -> int:
    """Return a number as it was typed, in the digits of any script; 0 where it is none, or longer than any there is."""
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else 0


def chosen(last: Result | None, which: str) -> tuple[Result, int]:
    """Return the last answer, and the index of the candidate that the user wants of it.

    Args:
        last: The answer, if there is one.
        which: The candidate's number, from 1, as the user has typed it; "" is the first.

    Raises:
        OptionError: There is no such candidate.
    """
    if last is None:
        raise OptionError("There is no answer to accept yet. Fill a hole with %%fim first.")
    number = typed_number(which) if which else 1
    if not 1 <= number <= len(last.candidates):
        raise OptionError(
            f"%fim accept takes a candidate's number, from 1 to {len(last.candidates)}; {which!r} is none."
        )
    return last, number - 1


@dataclass(frozen=True)
class HistoryEntry:
    """One finished request.

    Attributes:
        number: Its place in the session, from 1.
        request: The document and the options.
        model: As the user has named it.
        loading: How that is loaded: the options of `ModelSpec.of`.
        result: The candidates.
        record: The same as the notebook has it; what the user decides is added to it.
    """

    number: int
    request: Request
    model: str
    loading: dict[str, Any]
    result: Result
    record: Record


class History:
    """The last requests, oldest first."""

    def __init__(self, most: int = 1000) -> None:
        """Keep at most so many, as each holds the text of its cell."""
        self._entries: deque[HistoryEntry] = deque(maxlen=most)
        self._count = 0

    @property
    def entries(self) -> tuple[HistoryEntry, ...]:
        return tuple(self._entries)

    def add(self, request: Request, model: str, loading: dict[str, Any], result: Result, record: Record) -> None:
        self._count += 1
        self._entries.append(HistoryEntry(self._count, request, model, loading, result, record))

    def entry(self, number: str) -> HistoryEntry:
        """Return the request with this number, or the last one for "".

        Raises:
            OptionError: There is none.
        """
        if not self._entries:
            raise OptionError("Nothing was filled in this session yet. Fill a hole with %%fim first.")
        first, last = self._entries[0].number, self._entries[-1].number
        wanted = typed_number(number) if number else last
        if not first <= wanted <= last:
            raise OptionError(f"%fim log lists the requests {first} to {last}; {number!r} is none of them.")
        return self._entries[wanted - first]
