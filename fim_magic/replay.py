"""Making an infill again from its record: that of this session, or that of a saved notebook.

With the same model, prompt and seed the answer is the same, on the same machine to the last character. Elsewhere the
arithmetic may run in another order, and a token that was nearly as probable as the next best may turn out another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from fim_magic.candidate import Candidate, Result
from fim_magic.engines import Sampling
from fim_magic.errors import MarkerError, OptionError
from fim_magic.holes import split
from fim_magic.markers import MARKERS
from fim_magic.own_text import own_texts, raw_texts
from fim_magic.provenance import Record
from fim_magic.regular_files import UnfitFileError, read_notebook_json
from fim_magic.request import Request
from fim_magic.saved_record import SavedAnswer, SavedRecord, read_record

MOST_TOKENS = 65_536
"""What all answers of a record may come to, as a notebook from elsewhere may ask for any number: 64 of 1,024 tokens."""

_LONGEST_CELL = 2**18  # characters: no more than somebody has written, as each is read several times
_REVISION_LENGTH = 10


@dataclass(frozen=True)
class Recorded:
    """A cell of a notebook with the record of how it was filled.

    Attributes:
        cell: Its number among all cells, from 1.
        source: The cell, with its magic and its marker.
        record: What should be as [`fim_magic.provenance.record`][] gives it; `read_record` reads it.
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
        cells = read_notebook_json(path)["cells"]
        return list(_records(cells))
    except OSError as error:
        raise OptionError(f"{str(path)!r} could not be read: {error.strerror}. Give a saved notebook.") from error
    except UnfitFileError as error:
        raise _no_notebook(path, str(error)) from error
    except ValueError as error:
        raise _no_notebook(path, "it is not JSON") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise _no_notebook(path, "it has no cells as notebooks have them (nbformat 4)") from error


def _no_notebook(path: Path, why: str) -> OptionError:
    return OptionError(f"{str(path)!r} is no notebook: {why}. Give a saved notebook, an .ipynb file.")


def request_of(infill: Recorded, markers: Sequence[str] = MARKERS) -> Request:
    """Return the request of a record, with the cell as it is now.

    Raises:
        OptionError: The cell holds no hole any more; or the record is not one of ours, or asks for more than any that
            somebody waits for.
    """
    first, _, body = infill.source.partition("\n")
    text = body if first.startswith("%%") else infill.source
    record = read_record(infill.record)
    if not record.answers:
        raise OptionError("Its record holds no answer that another could be compared with. Fill the cell again.")
    if len(text) > _LONGEST_CELL:
        raise OptionError(
            f"The cell has {len(text):,} characters. From a notebook, one of at most {_LONGEST_CELL:,} is filled again."
        )
    try:
        document, blanks = split(text, markers, complete=record.method == "complete")
    except MarkerError as error:
        raise OptionError(f"The cell does not hold what was filled any more. {error}") from error
    candidates = record.count or 1
    tokens = candidates * document.holes * record.max_new_tokens
    if not 0 < tokens <= MOST_TOKENS:
        raise OptionError(
            f"Its record asks for {tokens:,} tokens: answers, times holes, times tokens of each. From a notebook, at "
            f"least one and at most {MOST_TOKENS:,} are made again. Fill the cell again to see what it gives."
        )
    return Request(
        document=document,
        blanks=blanks,
        method=record.method,
        order=record.order or "auto",
        candidates=candidates,
        max_new_tokens=record.max_new_tokens,
        max_prompt_tokens=record.max_prompt_tokens,
        lines=record.lines,
        sampling=Sampling(record.temperature, record.top_p, record.seed or 0),
    )


def compare(record: Record, result: Result) -> tuple[bool, str]:
    """Return whether a request that was made again has given the same answers as before, and say so in words.

    Candidates that "Again" and "More" have brought come from other requests, and are left out. A record holds no
    secrets, so what looks like one counts as the same.

    Raises:
        OptionError: The record is not one of ours.
    """
    saved = read_record(record)
    candidates = zip(saved.answers, result.candidates, strict=False)
    pairs = [(before, now) for before, now in candidates if not before.is_further]
    hides = False
    for number, (before, now) in enumerate(pairs, 1):
        parting, is_hidden = _parting_of(before, now, result)
        hides |= is_hidden
        if parting:
            which = f"Candidate {number}" if len(pairs) > 1 else "It"
            return False, f"{which} differs from {parting} on{_why(saved, result)}."
    if not pairs:
        return True, "All its answers come from other requests, so there is nothing to compare."
    but = " but for what looks like a secret, which no record holds" if hides else ", character for character"
    return True, f"The same {'answers' if len(pairs) > 1 else 'answer'} as before{but}."


def _parting_of(before: SavedAnswer, now: Candidate, result: Result) -> tuple[str, bool]:
    """Return where an answer differs from the one before, or "", and whether a secret is left out of both."""
    raw = raw_texts(now)
    if before.texts in (raw, (now.middle,)):  # an earlier version kept several holes as one text
        return "", False
    is_in_one = len(before.texts) == 1
    texts = (now.middle,) if is_in_one and len(raw) > 1 else own_texts(now, result.document)
    if before.texts == texts:
        return "", texts != raw
    pairs = zip_longest(before.texts, texts, fillvalue="")
    index, (one, other) = next((index, pair) for index, pair in enumerate(pairs, 1) if pair[0] != pair[1])
    hole = f" of hole {index}" if len(texts) > 1 else ""
    return f"character {_parting(one, other) + 1}{hole}", False


def _parting(before: str, now: str) -> int:
    pairs = enumerate(zip(before, now, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(before), len(now)))


def _why(record: SavedRecord, result: Result) -> str:
    if (record.model, record.revision) != (result.model, result.revision):
        return f": it was made with {record.model} ({record.revision[:_REVISION_LENGTH]})"
    server = result.server
    if server is not None and record.software and (record.served, record.software) != (server.model, server.software):
        return f": it was made with {record.served} by {record.software}"
    if record.prompt_sha256 != result.prompt_sha256:
        if record.has_context and not result.context:
            return ": it was made with cells and names of its session, which no saved notebook holds"
        return ": the prompt is another one"
    if record.runs_on not in ("", result.runs_on):
        return f": it was made on {record.runs_on}, and now on {result.runs_on}"
    return ", though model and prompt are the same: arithmetic in another order rounds differently"


def _records(cells: Any) -> Iterator[Recorded]:
    for number, cell in enumerate(cells, 1):
        metadata = (output.get("metadata", {}).get("fim_magic") for output in cell.get("outputs", []))
        records = [record for record in metadata if isinstance(record, dict) and "model" in record]
        source = _text(cell["source"]) if records else ""  # once: a cell may have more outputs than there is memory for
        yield from (Recorded(number, source, record) for record in records)


def _text(source: Any) -> str:
    return source if isinstance(source, str) else "".join(source)
