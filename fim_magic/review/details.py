"""All that is known of a candidate, behind its line: how it came about, what was checked and trimmed, how sure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from fim_magic.candidate import Candidate
from fim_magic.columns import columns_of
from fim_magic.holes import written
from fim_magic.review.caption import Fact
from fim_magic.review.checks import list_html, score, verdicts
from fim_magic.review.text import counted, html_text
from fim_magic.visible import plain_lines

SURE = 0.9
"""A token with at least this probability is not marked."""

_DOUBTS = ((0.5, "a little unsure"), (0.2, "unsure"), (0.0, "guessed"))
"""The least probability of each shade, and what it is called."""

_LINE_END = "&#10;"

_BETWEEN_HOLES = '\n<span class="fim-gap">⋯</span>\n'
"""In the place of the user's text between two holes, which no token of the model is for."""


def details_html(facts: Sequence[Fact], candidate: Candidate) -> str:
    """Draw what can be unfolded, without scripts.

    Args:
        facts: How the candidate came about: `caption.facts`.
        candidate: Its checks, what was trimmed from it and its tokens are drawn as well.
    """
    pairs = [(label, html_text(text)) for label, text in facts]
    if candidate.checks:
        pairs.append(("Checks", score(candidate.checks) + list_html(candidate.checks)))
    drawn = "".join(f"<div><dt>{html_text(label)}</dt> <dd>{text}</dd></div>" for label, text in pairs)
    return f'<dl class="fim-about">{drawn}</dl>' + _trimmed(candidate) + _sureness(candidate)


def details_text(facts: Sequence[Fact], candidate: Candidate) -> str:
    """Write the same as plain text: a label and its text a line, and below them what was trimmed."""
    pairs = list(facts)
    if candidate.checks:
        pairs.append(("Checks", score(candidate.checks)))
        pairs += [("", verdict) for verdict in verdicts(candidate.checks)]
    if _is_trimmed(candidate):
        first, *rest = candidate.trimmed.strip("\n").split("\n")
        pairs += [("Trimmed", first), *(("", line) for line in rest)]
    tokens = [token for hole in _tokens_by_hole(candidate) for token in hole]
    if tokens:
        pairs.append(("Unsure of", _unsure(tokens)))
    width = max((columns_of(label) for label, _ in pairs), default=0)
    return plain_lines("\n".join(f"{label:<{width}}  {text}".rstrip() for label, text in pairs))


def _is_trimmed(candidate: Candidate) -> bool:
    return candidate.cut is not None and bool(candidate.trimmed.strip())


def _trimmed(candidate: Candidate) -> str:
    if candidate.cut is None or not _is_trimmed(candidate):
        return ""
    title = f"Trimmed by {candidate.cut.rule}: {counted(len(candidate.trimmed), 'character')}"
    return _folded("trimmed", title, f"<del>{_lines(candidate.trimmed)}</del>")


def _sureness(candidate: Candidate) -> str:
    holes = _tokens_by_hole(candidate)
    if not holes:
        return ""
    title = f"How sure the model was: {_unsure([token for hole in holes for token in hole])}"
    return _folded("sureness", title, _BETWEEN_HOLES.join("".join(_token(*token) for token in hole) for hole in holes))


def _unsure(tokens: Sequence[tuple[str, float | None]]) -> str:
    known = [probability for _, probability in tokens if probability is not None]
    unsure = sum(probability < SURE for probability in known)
    return f"{unsure} of {counted(len(known), 'token')} below {SURE:.0%}"


def _tokens_by_hole(candidate: Candidate) -> list[list[tuple[str, float | None]]]:
    spans = written(candidate.kept, len(candidate.middle))
    return list(filter(None, (list(_tokens(candidate, *span)) for span in spans)))


def _tokens(candidate: Candidate, start: int, stop: int) -> Iterator[tuple[str, float | None]]:
    """Yield each token of one hole with its probability, if known. Some have no text of their own: half a character."""
    begin = start
    for end, logprob in zip(candidate.token_ends, candidate.logprobs, strict=False):
        text = candidate.middle[begin : min(end, stop)]
        if text:
            yield text, None if logprob is None else math.exp(logprob)
        begin = max(begin, end)


def _token(text: str, probability: float | None) -> str:
    if probability is None or probability >= SURE:
        return _lines(text)
    shade, name = next((number, name) for number, (least, name) in enumerate(_DOUBTS, 1) if probability >= least)
    return f'<span class="fim-doubt fim-doubt-{shade}" title="{probability:.0%}: {name}">{_lines(text)}</span>'


def _lines(text: str) -> str:
    """Return several lines as HTML on one: what an exporter takes for Markdown ends HTML at the first blank line."""
    return _LINE_END.join(map(html_text, text.split("\n")))


def _folded(name: str, title: str, body: str) -> str:
    return (
        f'<details class="fim-other fim-{name}"><summary><small>{html_text(title)}</small></summary>'
        f'<pre class="fim-folded">{body}</pre></details>'
    )
