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

_MOST = 1000  # each keeps the text of its cell


@dataclass(frozen=True)
class HistoryEntry:
    """One finished request.

    Attributes:
        number: Its place in the session, from 1.
        request: What was asked.
        model: Of which model, as the user has named it.
        loading: How that is loaded: the options of `ModelSpec.of`.
        result: What came of it.
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

    def __init__(self) -> None:
        self._entries: deque[HistoryEntry] = deque(maxlen=_MOST)
        self._count = 0

    @property
    def entries(self) -> tuple[HistoryEntry, ...]:
        """All that are kept."""
        return tuple(self._entries)

    def add(self, request: Request, model: str, loading: dict[str, Any], result: Result, record: Record) -> None:
        """Keep a request."""
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
        asked = int(number) if number.isdecimal() else last if not number else 0
        if not first <= asked <= last:
            raise OptionError(f"%fim log lists the requests {first} to {last}; {number!r} is none of them.")
        return self._entries[asked - first]
