"""What `%fim log` prints: the requests of this session, one line for each, or all that is known of one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from fim_magic.columns import GAP, clipped, columns_of, shortened, table, widths_of
from fim_magic.context.redaction import redacted
from fim_magic.document import Document
from fim_magic.history import HistoryEntry
from fim_magic.review.caption import facts
from fim_magic.review.checks import tally
from fim_magic.review.details import details_text
from fim_magic.saved_record import read_record
from fim_magic.visible import plain_text

_HEADINGS = ("", "time", "hole", "model", "host", "order", "tokens", "seconds", "logprob", "checks", "decided")
_RIGHT = frozenset({"", "tokens", "seconds", "logprob", "checks"})
_COLUMNS = 100  # what JupyterLab shows of a line beside an open side bar, on a small screen
_LEAST_HOLE, _MOST_HOLE = 12, 36  # columns
_MODEL = 24  # columns; of a path, its end
_DECISIONS = {"accept": "accepted", "replace": "replaced", "reject": "rejected", "part": "accepted in part"}


def log(entries: Sequence[HistoryEntry], columns: int = _COLUMNS) -> str:
    """Return a table of requests, oldest first, in so many columns of text."""
    if not entries:
        return "Nothing was filled in this session yet."
    rows: list[tuple[str, ...]] = [_HEADINGS, *map(_row, entries)]
    for heading in ("host", "checks"):
        if not any(row[rows[0].index(heading)] for row in rows[1:]):
            rows = _without(rows, heading)
    fitting = _fitted(rows, columns)
    if "checks" in rows[0] and _width(fitting) > columns:
        fitting = _fitted(_without(rows, "checks"), columns)
    return table(fitting, _RIGHT)


def request(entry: HistoryEntry) -> str:
    """Return all that is known of each candidate of one request, in their order."""
    result = entry.result
    told = (details_text(facts(result, candidate), candidate) for candidate in result.candidates)
    return "\n\n".join("\n".join(map(redacted, text.split("\n"))) for text in told)  # a quote ends with its line


def _without(rows: Sequence[tuple[str, ...]], heading: str) -> list[tuple[str, ...]]:
    index = rows[0].index(heading)
    return [(*row[:index], *row[index + 1 :]) for row in rows]


def _fitted(rows: Sequence[tuple[str, ...]], columns: int) -> Sequence[tuple[str, ...]]:
    """Shorten the column of holes as far as the others need it to."""
    excess = _width(rows) - columns
    if excess <= 0:
        return rows
    hole = _HEADINGS.index("hole")
    room = max(widths_of(rows)[hole] - excess, _LEAST_HOLE)
    return [(*row[:hole], shortened(row[hole], room), *row[hole + 1 :]) for row in rows]


def _width(rows: Sequence[Sequence[str]]) -> int:
    widths = widths_of(rows)
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _row(entry: HistoryEntry) -> tuple[str, ...]:
    result = entry.result
    record = read_record(entry.record)
    chosen, count = record.decided, len(record.answers)
    answer = record.answers[chosen - 1] if chosen <= count else None
    logprob = None if answer is None else answer.mean_logprob
    decided = _DECISIONS.get(record.decision, "")
    return (
        str(entry.number),
        datetime.fromisoformat(record.time).astimezone().strftime("%H:%M:%S"),
        _hole(result.document),
        _end_of(plain_text(result.model if result.server is None else result.server.model)),
        "" if result.server is None else shortened(plain_text(result.server.host), _MODEL),
        result.order.upper() or "left to right",
        str(result.tokens),
        f"{result.seconds:.1f}",
        "" if logprob is None else f"{logprob:.2f}",
        "" if answer is None else tally(answer.passed, confined=answer.confined),
        f"{decided} {chosen} of {count}" if decided and count > 1 else decided,
    )


def _hole(document: Document) -> str:
    """Return the line of the hole, or the last before it that is not blank."""
    before, after = document.prefix.rstrip().rpartition("\n")[2].strip(), document.suffix.partition("\n")[0].strip()
    return shortened(plain_text(f"{redacted(before)} … {redacted(after)}".strip()), _MOST_HOLE)


def _end_of(model: str) -> str:
    """Cut the beginning of a model's name that is too long, as a path may be."""
    return model if columns_of(model) <= _MODEL else "…" + clipped(model[::-1], _MODEL - 1)[::-1]
