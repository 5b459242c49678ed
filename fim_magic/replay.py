"""Making an infill again from its record: that of this session, or that of a saved notebook.

With the same model, prompt and seed the answer is the same, on the same machine to the last character. Elsewhere the
arithmetic may run in another order, and a token that was nearly as probable as the next best may turn out another.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fim_magic.candidate import Result
from fim_magic.engines import Sampling
from fim_magic.errors import MarkerError, OptionError
from fim_magic.holes import split
from fim_magic.markers import MARKERS
from fim_magic.provenance import Record
from fim_magic.request import Request

_REVISION_LENGTH = 10


@dataclass(frozen=True)
class Recorded:
    """A cell of a notebook with the record of how it was filled.

    Attributes:
        cell: Its number among all cells, from 1.
        source: The cell, with its magic and its marker.
        record: As [`fim_magic.provenance.record`][] gives it.
    """

    cell: int
    source: str
    record: Record


def recorded(path: Path) -> list[Recorded]:
    """Return the infills of which a saved notebook holds records.

    Raises:
        OptionError: The file cannot be read, or is no notebook.
    """
    try:
        cells = json.loads(path.read_text("utf-8"))["cells"]
        return [Recorded(number, _text(cell["source"]), record) for number, cell, record in _records(cells)]
    except OSError as error:
        raise OptionError(f"{str(path)!r} could not be read: {error.strerror}. Give a saved notebook.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OptionError(f"{str(path)!r} is no notebook. Give a saved notebook, an .ipynb file.") from error


def request_of(infill: Recorded, markers: Sequence[str] = MARKERS) -> Request:
    """Return the request of a record, with the cell as it is now.

    Raises:
        OptionError: The cell holds no hole any more, or the record is not one of ours.
    """
    first, _, body = infill.source.partition("\n")
    text = body if first.startswith("%%") else infill.source
    record = infill.record
    try:
        document, blanks = split(text, markers, complete=record["method"] == "complete")
        return Request(
            document=document,
            blanks=blanks,
            method=record["method"],
            order=record["order"] or "auto",
            candidates=record.get("answers", len(record["candidates"])),
            max_new_tokens=record["max_new_tokens"],
            max_prompt_tokens=record.get("max_prompt_tokens"),
            lines=record.get("lines", 1),
            sampling=Sampling(record["temperature"], record["top_p"], record["seed"] or 0),
        )
    except MarkerError as error:
        raise OptionError("The cell does not hold its hole any more.") from error
    except (KeyError, TypeError) as error:
        raise OptionError("Its record does not say enough: it was made by an earlier version.") from error


def compare(record: Record, result: Result) -> tuple[bool, str]:
    """Return whether a request that was made again has given the same answers as before, and say so in words.

    Candidates that "Again" and "More" have brought come from other requests, and are left out.
    """
    candidates = zip(record["candidates"], result.candidates, strict=False)
    pairs = [(before["middle"], now.middle) for before, now in candidates if "seed" not in before]
    for number, (before, now) in enumerate(pairs, 1):
        if before != now:
            which = f"Candidate {number}" if len(pairs) > 1 else "It"
            return False, f"{which} differs from character {_parting(before, now) + 1} on{_why(record, result)}."
    if not pairs:
        return True, "All its answers come from other requests, so there is nothing to compare."
    return True, f"The same {'answers' if len(pairs) > 1 else 'answer'} as before, character for character."


def _parting(before: str, now: str) -> int:
    pairs = enumerate(zip(before, now, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(before), len(now)))


def _why(record: Record, result: Result) -> str:
    if (record["model"], record["revision"]) != (result.model, result.revision):
        return f": it was made with {record['model']} ({record['revision'][:_REVISION_LENGTH]})"
    if record["prompt_sha256"] != result.prompt_sha256:
        seen = record.get("context", {})
        if any(seen.values()) and not result.context:
            return ": it was made with cells and names of its session, which no saved notebook holds"
        return ": the prompt is another one"
    return ", though model and prompt are the same: arithmetic in another order rounds differently"


def _records(cells: Any) -> Iterator[tuple[int, Any, Record]]:
    for number, cell in enumerate(cells, 1):
        for output in cell.get("outputs", []):
            record = output.get("metadata", {}).get("fim_magic")
            if isinstance(record, dict) and "model" in record:
                yield number, cell, record


def _text(source: Any) -> str:
    return source if isinstance(source, str) else "".join(source)
