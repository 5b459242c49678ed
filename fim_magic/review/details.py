"""What can be unfolded below a diff: what was checked, what was trimmed, how sure the model was of each token."""

from __future__ import annotations

import math
from collections.abc import Iterator

from fim_magic.candidate import Candidate
from fim_magic.holes import written
from fim_magic.review.checks import list_html
from fim_magic.review.text import counted, html_text

SURE = 0.9
"""A token with at least this probability is not marked."""

_DOUBTS = ((0.5, "a little unsure"), (0.2, "unsure"), (0.0, "guessed"))
"""The least probability of each shade, and what it is called."""

_BETWEEN_HOLES = '\n<span class="fim-gap">⋯</span>\n'
"""In the place of the user's text between two holes, of which the model was not asked."""


def details_html(candidate: Candidate) -> str:
    """Draw what can be unfolded, without scripts."""
    return list_html(candidate.checks) + _trimmed(candidate) + _sureness(candidate)


def _trimmed(candidate: Candidate) -> str:
    if candidate.cut is None or not candidate.trimmed.strip():
        return ""
    title = f"Trimmed by {candidate.cut.rule}: {counted(len(candidate.trimmed), 'character')}"
    return _folded("trimmed", title, f"<del>{_lines(candidate.trimmed)}</del>")


def _sureness(candidate: Candidate) -> str:
    spans = written(candidate.kept, len(candidate.middle))
    holes = list(filter(None, (list(_tokens(candidate, *span)) for span in spans)))
    tokens = [token for hole in holes for token in hole]
    unsure = sum(probability < SURE for _, probability in tokens)
    if not tokens:
        return ""
    title = f"How sure the model was: {unsure} of {counted(len(tokens), 'token')} below {SURE:.0%}"
    return _folded("sureness", title, _BETWEEN_HOLES.join("".join(_token(*each) for each in hole) for hole in holes))


def _tokens(candidate: Candidate, start: int, stop: int) -> Iterator[tuple[str, float]]:
    """Yield each token of one hole with its probability. Some have no text of their own: half a character."""
    begin = start
    for end, logprob in zip(candidate.token_ends, candidate.logprobs, strict=False):
        text = candidate.middle[begin : min(end, stop)]
        if text:
            yield text, math.exp(logprob)
        begin = max(begin, end)


def _token(text: str, probability: float) -> str:
    if probability >= SURE:
        return _lines(text)
    shade, name = next((at, name) for at, (least, name) in enumerate(_DOUBTS, 1) if probability >= least)
    return f'<span class="fim-doubt fim-doubt-{shade}" title="{probability:.0%}: {name}">{_lines(text)}</span>'


def _lines(text: str) -> str:
    return "\n".join(map(html_text, text.split("\n")))


def _folded(name: str, title: str, body: str) -> str:
    return (
        f'<details class="fim-other fim-{name}"><summary><small>{html_text(title)}</small></summary>'
        f'<pre class="fim-folded">{body}</pre></details>'
    )
