"""Whether an answer is worth showing alone, or others have to be generated."""

from __future__ import annotations

from fim_magic.candidate import Candidate
from fim_magic.checks import columns_there, look
from fim_magic.context import names_in
from fim_magic.request import Request
from fim_magic.trimming import adds_nothing

_UNSURE = -0.2  # the mean log-probability of a token: each with a probability of 82 %


def is_doubtful(request: Request, candidate: Candidate) -> bool:
    """Whether an answer cannot be right, or the model was unsure of it: then further ones come closer more often."""
    if request.method != "fim":
        return False  # what goes on from left to right need not be whole
    if _cannot_be_right(request, candidate):
        return True
    mean = candidate.mean_logprob
    return request.blanks is None and mean is not None and mean < _UNSURE


def _cannot_be_right(request: Request, candidate: Candidate) -> bool:
    """Whether a candidate adds nothing new, or its cell does not parse or uses names that are not defined."""
    document, hole = request.document.for_model(), request.hole
    if adds_nothing(hole, candidate.middle) or not hole.suffices(candidate.middle):
        return True
    text = document.rebuild(candidate.middle)
    known = request.known.union(names_in(document.prefix), names_in(document.suffix))
    found = look(text, known=known, frames=request.gathered.frames, document=document)
    return any(check.passed is False for check in found)


def lacks_column(request: Request, middle: str) -> bool:
    """Whether the cell takes a column that is not there: it may be about to make it."""
    return columns_there(request.document.for_model().rebuild(middle), request.gathered.frames) is not None
