"""The model's own judgement of candidates: how probable each makes what follows, and where it had best ended."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

from fim_magic.candidate import Candidate
from fim_magic.checks import NO_CHECKS
from fim_magic.engines import Engine
from fim_magic.errors import FimError
from fim_magic.formats import Prompt
from fim_magic.request import Request
from fim_magic.selection.choosing import contenders, ranked
from fim_magic.selection.judging import judged
from fim_magic.selection.ranking import Score, endings, following, scores
from fim_magic.trimming import goes_on_in_function

_log = logging.getLogger(__name__)


def best_ended(
    request: Request, engine: Engine, candidates: tuple[Candidate, ...], stop: threading.Event, prompt: Prompt
) -> tuple[Candidate, ...]:
    """End each answer where it ends best, where that is not known from the text alone."""
    ends_open = request.method == "rank" or (request.method == "fim" and goes_on_in_function(request.hole))
    if not ends_open or request.blanks is not None or not request.trimming or stop.is_set():
        return candidates
    return tuple(_ended_best(request, engine, candidate, stop, prompt) for candidate in candidates)


def _ended_best(
    request: Request, engine: Engine, candidate: Candidate, stop: threading.Event, prompt: Prompt
) -> Candidate:
    """End an answer after the statement that makes what follows the hole the most probable."""
    ended = endings(request.hole, candidate)
    if len(ended) == 1:
        return candidate
    if not engine.capabilities.scores:  # then after the first statement with which nothing is wanting
        return next((one for one in ended[1:] if request.hole.suffices(one.middle)), candidate)
    # What does not parse, or does not know its names, need not be read: a server takes seconds for it.
    left = contenders(judged(replace(request, check_spec=NO_CHECKS), ended))
    return replace(ranked(weighed(request, engine, left, stop, prompt))[0], reason="")


def weighed(
    request: Request, engine: Engine, candidates: Sequence[Candidate], stop: threading.Event, prompt: Prompt
) -> tuple[Candidate, ...]:
    """Let the model score each of several candidates by how probable it makes what follows the hole."""
    if not engine.capabilities.scores or len(candidates) < 2 or not request.document.suffix.strip():
        return tuple(candidates)
    unknown = [candidate for candidate in candidates if candidate.suffix_logprob is None]
    if not unknown:
        return tuple(candidates)
    found: dict[str, Score] = {}
    try:
        for candidate, score in zip(unknown, _scores(request, engine, unknown, prompt), strict=True):
            found[candidate.middle] = score
            if stop.is_set():
                return _unweighed(candidates)
    except FimError:  # no memory or no room for it: the answers are there all the same
        _log.info("The answers are not weighed.", exc_info=True)
        return _unweighed(candidates)
    return tuple(
        _with_score(candidate, found[candidate.middle]) if candidate.suffix_logprob is None else candidate
        for candidate in candidates
    )


def _with_score(candidate: Candidate, score: Score) -> Candidate:
    return replace(candidate, read_logprob=score.middle_mean, suffix_logprob=score.suffix)


def _unweighed(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Leave out what is known of some of them only: those of which nothing is known would look better."""
    return tuple(replace(candidate, read_logprob=None, suffix_logprob=None) for candidate in candidates)


def _scores(request: Request, engine: Engine, candidates: Sequence[Candidate], prompt: Prompt) -> Iterator[Score]:
    """Read the candidates where they were written: what has been read of the prompt need not be read again."""
    middles = [candidate.middle for candidate in candidates]
    if request.method == "fim" and request.blanks is None:
        return following(engine, prompt, middles, request.document.for_model().suffix)
    return scores(engine, request.document, middles, request.context)
