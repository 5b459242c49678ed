"""How close an answer is to what the author wrote in the hole. Nothing is run, no model is asked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from fim_magic import lexing
from fim_magic.checks import parses
from fim_magic.document import Document
from fim_magic.errors import OptionError
from fim_magic.languages import PYTHON

_LEAST_ECHO = 8  # word characters of a line: shorter ones, such as `else:`, stand everywhere
_TOO_LONG = 2.0  # times the author's
_GOES_ON = re.compile(r"(?:else|elif|except|finally)\b|[)\]}]")


@dataclass(frozen=True)
class Closeness:
    """What there is to say about one answer."""

    exact: bool  # whether it is what the author wrote, blanks at the ends of lines and line ends at its end aside
    exact_cut: bool  # the same of the answer after it is cut where it has as many statements as the author wrote
    # 1 less the Levenshtein distance over the length of the longer (V. I. Levenshtein 1966, Soviet Physics Doklady
    # 10:707), over characters, white space around both aside; 1.0 is the same.
    similarity: float
    right_beginning: bool  # whether its first line is the author's: who accepts by line would take it
    length: float  # its characters over the author's, white space around both aside
    too_long: bool  # whether it is more than twice as long as the author's
    parses: bool | None  # whether the rebuilt text does; None where that cannot be told
    echoes_prefix: bool  # whether one of its lines stands in the text before the hole, and not in what the author wrote
    echoes_suffix: bool  # likewise in the text after the hole
    echoes_context: bool  # likewise in what the model was shown beside the text
    statements: int  # how many it has, those inside blocks not counted

    @property
    def echoes(self) -> bool:
        return self.echoes_prefix or self.echoes_suffix or self.echoes_context


def closeness(
    document: Document,
    canonical: str,
    answer: str,
    *,
    kind: str,
    statements: int,
    context: str = "",
    language: str = PYTHON,
) -> Closeness:
    """Compare an answer with what stood in the hole: `canonical`, of so many statements.

    `kind` is of `punching.KINDS`, and `context` is what the model was shown beside the document.
    """
    true, own = canonical.strip(), answer.strip()
    first = _bare(canonical).partition("\n")[0]
    ends = ends_of_statements(document, answer, kind, language)
    cut = answer[: ends[statements - 1]] if len(ends) >= statements else answer
    exact = _bare(answer) == _bare(canonical)
    return Closeness(
        exact=exact,
        exact_cut=exact or _bare(cut) == _bare(canonical),
        similarity=similarity(true, own),
        right_beginning=_bare(answer).partition("\n")[0] == first,
        length=len(own) / max(len(true), 1),
        too_long=len(own) > _TOO_LONG * len(true),
        parses=parses(document.rebuild(answer), document).passed,
        echoes_prefix=echoes(document, canonical, answer, document.prefix),
        echoes_suffix=echoes(document, canonical, answer, document.suffix),
        echoes_context=echoes(document, canonical, answer, context),
        statements=len(ends),
    )


def similarity(one: str, other: str) -> float:
    """1 less the Levenshtein distance over the length of the longer; 1.0 for two empty texts."""
    try:
        from rapidfuzz.distance import Levenshtein
    except ImportError:
        raise OptionError(
            "Comparing answers with what the author wrote needs rapidfuzz. Install it: pip install 'fim-magic[eval]'"
        ) from None
    return float(Levenshtein.normalized_similarity(one, other))


def _bare(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.split("\n")).rstrip("\n")


def echoes(document: Document, canonical: str, answer: str, text: str) -> bool:
    """Whether a line of an answer stands in `text`, though the author has not written that line.

    A line counts with at least eight letters, digits and underscores. Blanks are taken as one. The answer's first and
    last line, where they share their line with the text around the hole, count also where they are a part of a line.
    """
    lines = {_spaced(line) for line in text.split("\n")}
    true = _spaced(canonical)
    own = answer.split("\n")
    for index, line in enumerate(own):
        piece = _spaced(line)
        shared = (index == 0 and not document.hole_begins_line) or (
            index == len(own) - 1 and bool(document.suffix.partition("\n")[0].strip())
        )
        if len(re.findall(r"\w", piece)) < _LEAST_ECHO or piece in true:
            continue
        if piece in lines or (shared and any(piece in line for line in lines)):
            return True
    return False


def _spaced(text: str) -> str:
    return " ".join(text.split())


def ends_of_statements(document: Document, answer: str, kind: str, language: str = PYTHON) -> list[int]:
    """Return where each statement of an answer ends; one inside the block of another is a part of that one.

    An answer that goes on in a line begins with the rest of a statement. One between brackets ends where it closes
    them. In other languages than Python every line that is not empty counts as a statement.
    """
    if language != PYTHON:
        lines = answer.split("\n")
        starts = accumulate((len(line) + 1 for line in lines), initial=0)
        return [start + len(line.rstrip()) for start, line in zip(starts, lines, strict=False) if line.strip()]
    state = lexing.state_after(document.prefix)
    if kind == "arguments":
        closes = (event.position for event in lexing.events(answer, state) if event.state.depth < state.depth)
        return [len(answer[: next(closes, len(answer))].rstrip())]
    return list(_ends(_logical_lines(answer, state), answer, _indentation(document.prefix.rpartition("\n")[2])))


def _logical_lines(answer: str, state: lexing.State) -> Iterable[tuple[int, int]]:
    """Where each logical line with something in it begins, at its line's start, and ends."""
    start = 0
    for event in lexing.events(answer, state):
        if event.ends_statement and not answer[: event.position].endswith("\\"):
            if answer[start : event.position].strip():
                yield start, start + len(answer[start : event.position].rstrip())
            start = event.position + 1
    if answer[start:].strip():
        yield start, len(answer.rstrip())


def _ends(lines: Iterable[tuple[int, int]], answer: str, own: int) -> Iterable[int]:
    """Put the logical lines together to statements: deeper lines, `else:` and what a decorator decorates."""
    end = -1
    decorated = False
    for start, stop in lines:
        text = answer[start:stop].lstrip()
        comment = text.startswith("#")
        begins = start == 0 or _indentation(answer[start:]) <= own
        if begins and end >= 0 and not decorated and not comment and not _GOES_ON.match(text):
            yield end
        decorated = text.startswith("@") if begins else decorated
        end = end if comment else stop
    if end >= 0:
        yield end


def _indentation(text: str) -> int:
    return len(text) - len(text.lstrip(" \t"))
