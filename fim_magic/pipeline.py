"""The way through, from a request to ranked candidates: prompt, tokens, drafts, checks, and the choice among them.

This is where the stages meet. Each is a module of its own: `formats` builds the prompt, an engine makes tokens,
`trimming` says where the hole ends, `generation` makes candidates of them, and `selection` puts them in order.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace

from fim_magic.candidate import Result
from fim_magic.default_candidates import IN_DOUBT, ON_A_CPU
from fim_magic.engines import Engine
from fim_magic.errors import FimError, ServerError
from fim_magic.events import Event, Finished, Grew, Offered, OnGrow, OnOffer, OnWait, Waits
from fim_magic.formats import Prompt
from fim_magic.generation import Answered, Branching, broken_off, candidates_of, generate, prompt_for, result_of
from fim_magic.interruption import interruptible
from fim_magic.request import Request
from fim_magic.selection import best_ended, is_doubtful, judged, lacks_column, merged, ranked, weighed
from fim_magic.trimming import adds_nothing
from fim_magic.turn import TURN, Turn

_FURTHER_SECONDS = 2.0  # for further answers that nobody asked for

_log = logging.getLogger(__name__)


def run(
    request: Request,
    engine: Engine,
    stop: threading.Event | None = None,
    *,
    further_seconds: float = _FURTHER_SECONDS,
    wait_seconds: float = 0.0,
    turn: Turn = TURN,
    gives_way: bool = False,
) -> Iterator[Event]:
    """Answer `request`, as a stream that ends with [`Finished`][].

    Args:
        request: Its number of candidates is settled first.
        engine: The loaded model.
        stop: When it is set, the request ends at the next token and what is there counts as partial.
        further_seconds: How long further answers may take where the user left their number open.
        wait_seconds: How long to wait while another request of this process is under way.
        turn: Of this process, so that its requests come one after another; or one of the request's own.
        gives_way: Whether the request is stopped, as by `stop`, when one comes that does not give way.

    Raises:
        NotAllowedError: The model computes on another host, and the user has not allowed that one.
        BusyError: Another request is under way in this process, for longer than that.
        KeyboardInterrupt: `stop` was set while this waited.
        ModelError: The model cannot do this.
        ServerError: The server that runs it fails before anything has come. Later, what has come is the result, and
            its `broken_off` says why.
        OptionError: An option makes no sense for this model.
    """
    request.permission.require(engine.info)
    left_to_us = request.candidates == 0
    request = request.bound_for(engine.info).settled(engine)
    stop = stop or threading.Event()
    with turn.taken(stop, wait_seconds, gives_way=gives_way):
        prompt = prompt_for(request, engine)  # what cannot be asked is refused before anything is
        yield from _answer(request, engine, stop, prompt, further_seconds if left_to_us else None)


def follow(
    request: Request,
    engine: Engine,
    on_grow: OnGrow | None = None,
    on_offer: OnOffer | None = None,
    on_wait: OnWait | None = None,
    stop: threading.Event | None = None,
) -> Result:
    """Answer `request` at once, with the errors of [`run`][]. Ctrl-C ends it with what is there, and so does `stop`.

    `on_grow` is called as the first candidate grows, `on_offer` with the first answer when others are on their way,
    and `on_wait` while a server has asked for a pause.
    """
    waits = False
    with nullcontext(stop) if stop is not None else interruptible() as stop:
        for event in run(request, engine, stop):
            if on_wait is not None and (waits or isinstance(event, Waits)):
                waits = isinstance(event, Waits)
                on_wait(event.progress if isinstance(event, Waits) else None)
            if isinstance(event, Grew) and event.candidate == 0 and on_grow is not None:
                on_grow(event.middle, event.tokens, event.seconds, event.kept)
            if isinstance(event, Offered) and on_offer is not None:
                on_offer(event.result, stop.set)
            if isinstance(event, Finished):
                result = event.result
    return result


def busy() -> bool:
    return TURN.is_taken


def _answer(
    request: Request, engine: Engine, stop: threading.Event, prompt: Prompt, further_seconds: float | None
) -> Iterator[Event]:
    """Generate, look at what came, generate more if it is doubtful and there are `further_seconds`, and choose."""
    began = time.perf_counter()
    branches = request.candidates > 1 and not request.sampling.temperature and request.blanks is None
    answered: list[Answered] = []
    first = replace(request, candidates=1) if branches else request
    yield from _collect(generate(first, engine, stop, prompt), answered)
    prompt = answered[0].prompt
    candidates = candidates_of(request, answered)
    if not broken_off(answered):
        candidates = best_ended(request, engine, candidates, stop, prompt)
    first_seconds = time.perf_counter() - began
    more_at_need = further_seconds is not None and request.candidates == ON_A_CPU and not request.sampling.temperature
    doubtful = more_at_need and is_doubtful(request, candidates[0])
    if (branches or doubtful) and not (stop.is_set() or broken_off(answered)):
        if not (request.check_spec.anything or adds_nothing(request.hole, candidates[0].middle)):
            offered = judged(request, candidates, stopped=stop.is_set())
            yield Offered(result_of(request, engine, answered, offered, first_seconds))
        yield from _generate_more(request, engine, stop, answered, further_seconds if doubtful else None)
        further = candidates_of(request, answered)[1:]
        candidates += further if broken_off(answered) else best_ended(request, engine, further, stop, prompt)
    seconds = time.perf_counter() - began
    distinct = merged(candidates, request.document.for_model().rebuild)
    if not broken_off(answered):
        distinct = weighed(request, engine, distinct, stop, prompt)
    chosen = ranked(judged(request, distinct, stopped=stop.is_set()))
    result = result_of(request, engine, answered, chosen, seconds)
    yield Finished(replace(result, first_answer_seconds=first_seconds))


def _collect(events: Iterator[Event | Answered], answered: list[Answered]) -> Iterator[Event]:
    """Put the candidates into `answered`, and yield the other events."""
    for event in events:
        if isinstance(event, Answered):
            answered.append(event)
        else:
            yield event


def _generate_more(
    request: Request, engine: Engine, stop: threading.Event, answered: list[Answered], seconds: float | None
) -> Iterator[Event]:
    """Generate what leaves the first candidate where the model was least sure of it.

    Without `seconds` there is no limit: the user asked for them.
    """
    (known,) = candidates_of(request, answered)
    deadline = math.inf if seconds is None else time.perf_counter() + seconds
    leaves_early = adds_nothing(request.hole, known.middle) or lacks_column(request, known.middle)
    branching = Branching(known, answered[0].alternatives, deadline, leaves_early)
    if seconds is not None:
        request = replace(request, candidates=IN_DOUBT)
    try:
        yield from _collect(generate(request, engine, stop, answered[0].prompt, branching), answered)
    except FimError as error:
        is_broken = isinstance(error, ServerError) and not stop.is_set()
        if seconds is None and not isinstance(error, ServerError):
            raise
        # Without memory for more, or without a server, the first one has to do.
        _log.info("There are no further answers.", exc_info=True)
        if seconds is None and is_broken:
            answered.append(replace(answered[0], candidates=(), broken_off=str(error)))
