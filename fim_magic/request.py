"""One request, from a document with a hole to candidates, as a stream of events.

This is where the stages meet: `formats` builds the prompt, an engine makes tokens, `trimming` says where the hole
ends. It knows no front end; the magics, the command line and the Python interface all read the same events.
"""

from __future__ import annotations

import hashlib
import signal
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType

from fim_magic.candidate import Candidate, Cut, Ending, Result
from fim_magic.context import NOTHING_ELSE, Context
from fim_magic.document import Document
from fim_magic.engines import Engine, Sampling, Token
from fim_magic.errors import BusyError, OptionError
from fim_magic.formats import Prompt, completion_prompt, fim_prompt
from fim_magic.healing import Continuation
from fim_magic.tokenization import TextTokenizer
from fim_magic.trimming import Hole, trim

_LEAST_ROOM = 16  # tokens of prompt without which a request makes no sense

_generating = threading.Lock()


@dataclass(frozen=True)
class Request:
    """What is asked of a model.

    Attributes:
        document: The user's text, with the hole.
        method: "fim", or "complete" to keep the suffix from the model.
        order: "auto", "psm" or "spm".
        candidates: How many answers.
        max_new_tokens: The most tokens that one answer may have.
        sampling: How tokens are chosen.
        context: What the model may see beside the document.
        trimming: Whether rules may end an answer; without, it goes on to the model's own stop token or the limit.
        healing: Whether a word that the hole cuts in two is generated again.
    """

    document: Document
    method: str = "fim"
    order: str = "auto"
    candidates: int = 1
    max_new_tokens: int = 128
    sampling: Sampling = field(default_factory=Sampling)
    context: Context = NOTHING_ELSE
    trimming: bool = True
    healing: bool = True

    def again(self) -> Request:
        """Return the request for one other answer to the same question."""
        return replace(self, candidates=1, sampling=self.sampling.varied())


@dataclass(frozen=True)
class Reading:
    """The model has read this much of the prompt."""

    done: int
    total: int


@dataclass(frozen=True)
class Grew:
    """A candidate has a new token.

    Attributes:
        candidate: Which, from 0.
        middle: All its text so far, trimmed.
        tokens: How many tokens it has.
        seconds: Since the request began.
    """

    candidate: int
    middle: str
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Finished:
    """There is nothing more to come."""

    result: Result


Event = Reading | Grew | Finished

OnGrow = Callable[[str, int, float], None]
"""Told all of the middle so far, how many tokens it has, and the seconds since the request began."""


class Interrupted(KeyboardInterrupt):
    """The user stopped a request of the Python interface. What was there is kept.

    Attributes:
        result: The partial result; its candidates' endings say so.
    """

    def __init__(self, result: Result) -> None:
        super().__init__("interrupted; the partial result is in .result")
        self.result = result


def follow(request: Request, engine: Engine, on_grow: OnGrow | None = None) -> Result:
    """Answer `request` at once. Ctrl-C ends it with what is there.

    Args:
        request: What is asked.
        engine: The loaded model.
        on_grow: Told how the first candidate grows: its middle, tokens and seconds.

    Raises:
        FimError: As [`run`][] says.
    """
    with interruptible() as stop:
        for event in run(request, engine, stop):
            if isinstance(event, Grew) and event.candidate == 0 and on_grow is not None:
                on_grow(event.middle, event.tokens, event.seconds)
            if isinstance(event, Finished):
                result = event.result
    return result


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C (or stop button) inside the block into a flag, so that a request can end between tokens.

    A second one interrupts at once, as ever. Outside the main thread, where signals do not arrive, it does nothing.
    """
    stop = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    # None: something that is not Python handles the signal, and could not be put back.
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield stop
        return

    def first(_signal: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, first)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def busy() -> bool:
    """Whether a request is under way in this process."""
    return _generating.locked()


def prompt_for(request: Request, engine: Engine) -> Prompt:
    """Build the prompt that `run` would send, without running anything.

    Raises:
        ModelError: The model cannot infill.
        OptionError: The options leave no room for a prompt, or the order was not trained.
    """
    room = engine.context_length - request.max_new_tokens
    if room < _LEAST_ROOM:
        raise OptionError(
            f"--max-new-tokens {request.max_new_tokens} leaves no room for a prompt: the model's context is "
            f"{engine.context_length} tokens in all. Ask for fewer."
        )
    asked = (engine.family, engine.tokenizer, request.document.for_model())
    if request.method == "complete":
        return completion_prompt(*asked, room=room, context=request.context)
    return fim_prompt(*asked, order=request.order, room=room, context=request.context)


def run(request: Request, engine: Engine, stop: threading.Event | None = None) -> Iterator[Event]:
    """Answer `request`, as a stream that ends with [`Finished`][].

    Args:
        request: What is asked.
        engine: The loaded model.
        stop: When it is set, the request ends at the next token and what is there counts as partial.

    Raises:
        BusyError: Another request is under way in this process.
        ModelError: The model cannot do this.
        OptionError: An option makes no sense for this model.
    """
    prompt = prompt_for(request, engine)
    if not _generating.acquire(blocking=False):
        raise BusyError(
            "The model is busy with another request in this process. Wait for it, or stop it with the stop button "
            "(Ctrl-C), and run this again."
        )
    try:
        yield from _generate(request, engine, prompt, stop or threading.Event())
    finally:
        _generating.release()


def _generate(request: Request, engine: Engine, prompt: Prompt, stop: threading.Event) -> Iterator[Event]:
    began = time.perf_counter()
    first_token = 0.0
    hole = Hole(request.document.for_model())
    drafts = [_Draft(hole, engine.tokenizer, request, prompt) for _ in range(request.candidates)]
    generation = engine.start(prompt.ids, candidates=request.candidates, sampling=request.sampling)
    for done in generation.prefill():
        yield Reading(done, len(prompt.ids))
        if stop.is_set():
            break
    while not stop.is_set() and any(draft.ending is None for draft in drafts):
        tokens = generation.step(_allowed(drafts))
        elapsed = time.perf_counter() - began
        first_token = first_token or elapsed
        for token in tokens:
            draft = drafts[token.candidate]
            if draft.ending is not None:
                continue  # guessed beyond its end
            draft.push(token)
            if draft.ending is not None:
                generation.finish(token.candidate)
            yield Grew(token.candidate, draft.middle, len(draft.token_ids), elapsed)
    reused = generation.reused
    yield Finished(_result(request, engine, prompt, drafts, first_token=first_token, began=began, reused=reused))


def _allowed(drafts: list[_Draft]) -> dict[int, list[int]]:
    """The only ids that may come now, for the candidates that have not yet begun as they must."""
    bound = ((at, draft.answer.allowed()) for at, draft in enumerate(drafts) if draft.ending is None)
    return {at: ids for at, ids in bound if ids is not None}


class _Draft:
    """A candidate that is still being written."""

    def __init__(self, hole: Hole, tokenizer: TextTokenizer, request: Request, prompt: Prompt) -> None:
        self._hole = hole
        self._limit = request.max_new_tokens
        self._trimming = request.trimming
        self._stop_ids = prompt.stop_ids
        self.answer = Continuation(tokenizer, prompt.healed)
        self.token_ids: list[int] = []
        self.logprobs: list[float] = []
        self.token_ends: list[int] = []
        self.cut: Cut | None = None
        self.ending: Ending | None = None

    @property
    def middle(self) -> str:
        text = self.answer.text
        return text if self.cut is None else text[: self.cut.at]

    def push(self, token: Token) -> None:
        if token.id in self._stop_ids:
            self._end(Ending.STOP_TOKEN)
            return
        self.token_ids.append(token.id)
        self.logprobs.append(token.logprob)
        text = self.answer.push(token.id)
        self.token_ends.append(len(text))
        self.cut = self._trimmed(text, final=False)
        if self.cut is not None:
            self.ending = Ending.RULE
        elif len(self.token_ids) >= self._limit:
            self._end(Ending.LENGTH)

    def _end(self, ending: Ending) -> None:
        self.ending = ending
        self.cut = self._trimmed(self.answer.text, final=True)
        if ending is Ending.LENGTH and self.cut is not None:
            self.ending = Ending.RULE

    def _trimmed(self, text: str, *, final: bool) -> Cut | None:
        return trim(self._hole, text, final=final) if self._trimming else None

    def finished(self) -> Candidate:
        return Candidate(
            raw=self.answer.text,
            ending=self.ending or Ending.INTERRUPTED,
            cut=self.cut,
            token_ids=tuple(self.token_ids),
            logprobs=tuple(self.logprobs),
            token_ends=tuple(self.token_ends),
        )


def _result(
    request: Request,
    engine: Engine,
    prompt: Prompt,
    drafts: list[_Draft],
    *,
    first_token: float,
    began: float,
    reused: int,
) -> Result:
    candidates = [draft.finished() for draft in drafts]
    # One that reached its end is more likely right than one that was cut (arXiv 2207.14255, appendix H.3).
    unfinished = (Ending.LENGTH, Ending.INTERRUPTED)
    return Result(
        document=request.document,
        candidates=tuple(sorted(candidates, key=lambda c: c.ending in unfinished)),
        model=engine.model,
        revision=engine.revision,
        method=request.method,
        order=prompt.order,
        prompt_tokens=len(prompt.ids),
        reused_tokens=reused,
        dropped_prefix_tokens=prompt.dropped_prefix_tokens,
        dropped_suffix_tokens=prompt.dropped_suffix_tokens,
        seed=request.sampling.seed if request.sampling.temperature else None,
        first_token_seconds=first_token,
        seconds=time.perf_counter() - began,
        order_reason=prompt.order_reason,
        sampling=request.sampling,
        max_new_tokens=request.max_new_tokens,
        prompt_sha256=hashlib.sha256(array("I", prompt.ids).tobytes()).hexdigest(),
    )
