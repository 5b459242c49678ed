"""One request, from a document with a hole to candidates, as a stream of events.

This is where the stages meet: `formats` builds the prompt, an engine makes tokens, `trimming` says where the hole
ends. It knows no front end; the magics, the command line and the Python interface all read the same events.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import signal
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from types import FrameType

from fim_magic.branching import beginnings, branching_tokens, read_tokens
from fim_magic.candidate import Candidate, Check, Cut, Ending, Result
from fim_magic.checks import NOTHING_ASKED, Asked, columns_there, look
from fim_magic.checks.sufficiency import Sufficiency
from fim_magic.choosing import merged, ranked
from fim_magic.context import NOTHING_ELSE, Context, names_in
from fim_magic.document import Document
from fim_magic.engines import Engine, Sampling, Token
from fim_magic.errors import BusyError, FimError, OptionError
from fim_magic.formats import Prompt, completion_prompt, fim_prompt
from fim_magic.healing import Continuation
from fim_magic.holes import Blanks, combine
from fim_magic.judging import judged
from fim_magic.ranking import Score, endings, following, scores
from fim_magic.tokenization import TextTokenizer
from fim_magic.trimming import (
    Hole,
    copied_from,
    goes_on_in_function,
    last_whole,
    says_nothing,
    statement_count,
    trim,
)

_TO_CHOOSE_FROM = 8  # candidates
_ON_A_GPU = 4  # candidates: little dearer than one there
_UNSURE = -0.2  # the mean log-probability of a token: each with a probability of 82 %
_FURTHER_SECONDS = 2.0  # for further answers that nobody asked for
_IN_THAT_TIME = 6  # candidates: a CPU computes a step of five rows nearly as soon as one of a single row, of more not
_PLACES = {"prefix": "from above the hole", "suffix": "from below the hole", "context": "of the context"}
_LEAST_ROOM = 16  # tokens of prompt without which a request makes no sense

_generating = threading.Lock()


@dataclass(frozen=True)
class Request:
    """What is asked of a model.

    Attributes:
        document: The user's text, with the hole.
        method: "fim", "complete" to keep the suffix from the model, or "rank": complete from left to right, and prefer
            what makes the suffix likely.
        order: "auto", "psm" or "spm".
        candidates: How many answers; 0 for as many as this machine makes cheap.
        max_new_tokens: The most tokens that one answer may have.
        sampling: How tokens are chosen.
        context: What the model may see beside the document.
        blanks: Where the text has several holes, its parts; `document` then has them all as one.
        known: The names that the notebook defines, for the check of names.
        asked: What is to be run on each candidate.
        trimming: Whether our rules end an answer; without them it is the model's raw text.
        healing: Whether a token that the hole cuts in two is generated again.
        lines: How many statements an answer has at least, where the hole has room for more than one.
        begins: The tokens that an answer begins with, what `healing` generates again among them.
    """

    document: Document
    method: str = "fim"
    order: str = "auto"
    candidates: int = 1
    max_new_tokens: int = 128
    sampling: Sampling = field(default_factory=Sampling)
    context: Context = NOTHING_ELSE
    blanks: Blanks | None = None
    known: frozenset[str] = frozenset()
    asked: Asked = NOTHING_ASKED
    trimming: bool = True
    healing: bool = True
    lines: int = 1
    begins: tuple[int, ...] = ()

    @cached_property
    def hole(self) -> Hole:
        """The place that an answer has to fit into. What goes on from left to right is not as long as the hole asks."""
        document = self.document.for_model()
        if self.method != "fim":
            return Hole(document)
        shown = self.context.above_text + self.context.below_text
        suffices = Sufficiency(document, self.known)
        return Hole(document, least_statements=self.lines, suffices=suffices, shown=shown)

    @property
    def unfilled(self) -> tuple[str, tuple[tuple[int, int], ...]]:
        """The middle before anything is written, and where it is the user's own text."""
        return ("", ()) if self.blanks is None else self.blanks.joined(())

    def again(self) -> Request:
        """Return the request for one other answer to the same question."""
        return replace(self, candidates=1, sampling=self.sampling.varied())

    def longer(self, candidate: Candidate) -> Request:
        """Return the request for one answer that begins as a candidate does, and has a statement more.

        Raises:
            OptionError: The text has several holes: none of them is known to be the one that lacks something.
        """
        if self.blanks is not None:
            raise OptionError("An answer to several holes is not made longer. Again asks for another one.")
        begins = read_tokens(candidate)
        return replace(
            self,
            candidates=1,
            begins=begins,
            lines=statement_count(self.hole, candidate.middle) + 1,
            max_new_tokens=self.max_new_tokens + len(begins),
        )

    def settled(self, engine: Engine) -> Request:
        """Return the request with a number of candidates, where that was left to us.

        One on a CPU, where each costs time, and more only if that one is doubtful; a GPU reads its weights once for
        all of them. Checks and ranking can only choose among several, so that they are worth the time anywhere.
        """
        if self.candidates:
            return self
        chooses = self.asked.anything or self.method == "rank"
        several = _TO_CHOOSE_FROM if chooses else 1 if engine.place.startswith("cpu") else _ON_A_GPU
        return replace(self, candidates=several)


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
        kept: Where `middle` is the user's own text: what stands between several holes.
    """

    candidate: int
    middle: str
    tokens: int
    seconds: float
    kept: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Offered:
    """The first answer has ended and may be taken. Others are on their way.

    Attributes:
        result: With this one candidate.
    """

    result: Result


@dataclass(frozen=True)
class Finished:
    """There is nothing more to come."""

    result: Result


Event = Reading | Grew | Offered | Finished

OnOffer = Callable[[Result, Callable[[], None]], None]
"""Told of the first answer as soon as it may be taken, and given what ends the request, if no other is of use."""

OnGrow = Callable[[str, int, float, tuple[tuple[int, int], ...]], None]
"""Told all of the middle so far, how many tokens it has, the seconds it took, and what is kept of it."""


class Interrupted(KeyboardInterrupt):
    """The user stopped a request of the Python interface. What was there is kept.

    Attributes:
        result: The partial result; its candidates' endings say so.
    """

    def __init__(self, result: Result) -> None:
        super().__init__("interrupted; the partial result is in .result")
        self.result = result


def follow(request: Request, engine: Engine, on_grow: OnGrow | None = None, on_offer: OnOffer | None = None) -> Result:
    """Answer `request` at once. Ctrl-C ends it with what is there.

    Args:
        request: What is asked.
        engine: The loaded model.
        on_grow: Told how the first candidate grows.
        on_offer: Told of the first answer when others are on their way.

    Raises:
        FimError: As [`run`][] says.
    """
    with interruptible() as stop:
        for event in run(request, engine, stop):
            if isinstance(event, Grew) and event.candidate == 0 and on_grow is not None:
                on_grow(event.middle, event.tokens, event.seconds, event.kept)
            if isinstance(event, Offered) and on_offer is not None:
                on_offer(event.result, stop.set)
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
    document = request.document if request.blanks is None else request.blanks.hole(0, ())
    asked = (engine.family, engine.tokenizer, document.for_model())
    if request.method != "fim":
        return completion_prompt(*asked, room=room, context=request.context, healing=request.healing)
    return fim_prompt(*asked, order=request.order, room=room, context=request.context, healing=request.healing)


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
    left_to_us = request.candidates == 0
    request = request.settled(engine)
    prompt_for(request, engine)  # what cannot be asked is refused before anything is
    if not _generating.acquire(blocking=False):
        raise BusyError(
            "The model is busy with another request in this process. Wait for it, or stop it with the stop button "
            "(Ctrl-C), and run this again."
        )
    try:
        yield from _finished(request, engine, stop or threading.Event(), more_at_need=left_to_us)
    finally:
        _generating.release()


@dataclass(frozen=True)
class _Answered:
    """What came of one prompt.

    Attributes:
        prompt: The prompt.
        candidates: As the model gave them, ended by the rules.
        first_token_seconds: Until the first token.
        seconds: Until the last.
        reused: How many of the prompt's tokens had been read before.
    """

    prompt: Prompt
    candidates: tuple[Candidate, ...]
    first_token_seconds: float
    seconds: float
    reused: int


def _finished(request: Request, engine: Engine, stop: threading.Event, *, more_at_need: bool) -> Iterator[Event]:
    """Generate, look at what came, ask for more if that is needed, and choose."""
    began = time.perf_counter()
    branches = request.candidates > 1 and not request.sampling.temperature and request.blanks is None
    answered: list[_Answered] = []
    yield from _ask(replace(request, candidates=1) if branches else request, engine, stop, answered)
    candidates = _best_ended(request, engine, _candidates(request, answered), stop, answered[0].prompt)
    first_seconds = time.perf_counter() - began
    alone = more_at_need and request.candidates == 1 and not request.sampling.temperature
    doubtful = alone and _is_doubtful(request, candidates[0])
    if (branches or doubtful) and not stop.is_set():
        if not (request.asked.anything or _is_idle(request.hole, candidates[0].middle)):
            yield Offered(_result(request, engine, answered, _judged(request, candidates, stop), first_seconds))
        yield from _ask_for_more(request, engine, stop, answered, bounded=doubtful)
        further = _candidates(request, answered)[1:]
        candidates += _best_ended(request, engine, further, stop, answered[0].prompt)
    seconds = time.perf_counter() - began
    distinct = merged(candidates, request.document.rebuild)
    weighed = _weighed(request, engine, distinct, stop, answered[0].prompt)
    result = _result(request, engine, answered, ranked(_judged(request, weighed, stop)), seconds)
    yield Finished(replace(result, first_answer_seconds=first_seconds))


def _ask(
    request: Request, engine: Engine, stop: threading.Event, answered: list[_Answered], more: _More | None = None
) -> Iterator[Event]:
    """Generate candidates, and put them into `answered`."""
    for event in (_generate if request.blanks is None else _generate_each)(request, engine, stop, more):
        if isinstance(event, _Answered):
            answered.append(event)
        else:
            yield event


def _ask_for_more(
    request: Request, engine: Engine, stop: threading.Event, answered: list[_Answered], *, bounded: bool
) -> Iterator[Event]:
    """Generate what leaves the first candidate where the model was least sure of it."""
    (known,) = _candidates(request, answered)
    deadline = time.perf_counter() + _FURTHER_SECONDS if bounded else math.inf
    leaves_early = _is_idle(request.hole, known.middle) or _lacks_column(request, known.middle)
    more = _More(known, deadline, leaves_early)
    if not bounded:
        yield from _ask(request, engine, stop, answered, more)
        return
    # Nobody asked for them, so that where there is no memory for more the one that is there has to do.
    with suppress(FimError):
        yield from _ask(replace(request, candidates=_IN_THAT_TIME), engine, stop, answered, more)


def _candidates(request: Request, answered: Sequence[_Answered]) -> tuple[Candidate, ...]:
    if request.blanks is not None:
        return _joined(request.blanks, answered)
    return tuple(candidate for each in answered for candidate in each.candidates)


def _is_doubtful(request: Request, candidate: Candidate) -> bool:
    """Whether an answer cannot be right, or the model was unsure of it.

    Of 80 first answers of Qwen2.5-Coder-0.5B in notebooks of which nothing is reported, 59 were so; two seconds of
    further ones made their mean edit similarity to the author's code 0.43 instead of 0.38, and 6 exact instead of 2.
    The other 21 had 0.65, and 9 exact.
    """
    if request.method != "fim":
        return False  # what goes on from left to right need not be whole
    if _cannot_be_right(request, candidate):
        return True
    mean = candidate.mean_logprob
    return request.blanks is None and mean is not None and mean < _UNSURE


def _cannot_be_right(request: Request, candidate: Candidate) -> bool:
    """Whether this says nothing new, or a cell does not parse with it, or knows not all names that it uses."""
    document = request.document
    hole = request.hole
    if _is_idle(hole, candidate.middle) or not hole.suffices(candidate.middle):
        return True
    text = document.rebuild(candidate.middle)
    known = request.known.union(names_in(document.prefix), names_in(document.suffix))
    found = look(text, known=known, frames=request.context.frames, document=document)
    return any(check.passed is False for check in found)


@dataclass(frozen=True)
class _More:
    """What further candidates go by.

    Attributes:
        known: The first.
        deadline: When they are to be there, by `time.perf_counter`. What has not ended by then is dropped.
        leaves_early: Whether the first says nothing, nothing new, or what cannot be there: the others then leave it as
            early as they can, and one of them that says something is waited for.
    """

    known: Candidate
    deadline: float = math.inf
    leaves_early: bool = False


def _generate(
    request: Request, engine: Engine, stop: threading.Event, more: _More | None = None
) -> Iterator[Event | _Answered]:
    """Generate one candidate, or sample several, or branch off one that is known."""
    began = time.perf_counter()
    prompt = prompt_for(request, engine)
    decode = partial(_decode, prompt=prompt, engine=engine, stop=stop, began=began)
    if more is None:
        yield from decode(request)
        return
    tokens = branching_tokens(more.known)
    likeliest = engine.likeliest(prompt.ids, tokens, request.candidates)
    answer = Continuation(engine.tokenizer, prompt.healed)
    count = request.candidates - 1
    begins = beginnings(tokens, likeliest, answer, prompt.stop_ids, count, early=more.leaves_early)
    if begins:
        yield from decode(
            replace(request, candidates=len(begins)), begins, deadline=more.deadline, needs_one=more.leaves_early
        )


def _decode(
    request: Request,
    begins: Sequence[tuple[int, ...]] = (),
    *,
    prompt: Prompt,
    engine: Engine,
    stop: threading.Event,
    began: float,
    deadline: float = math.inf,
    needs_one: bool = False,
) -> Iterator[Event | _Answered]:
    """Generate candidates in one batch; those that are to begin in some way are the second and on of a request.

    Where the first says nothing, one is waited for beyond the deadline.
    """
    first_token = 0.0
    hole = request.hole
    ways = begins or [request.begins] * request.candidates
    drafts = [_Draft(hole, engine.tokenizer, request, prompt, begin) for begin in ways]
    generation = engine.start(prompt.ids, candidates=request.candidates, sampling=request.sampling)
    for done in generation.prefill():
        yield Reading(done, len(prompt.ids))
        if stop.is_set():
            break
    while not stop.is_set() and any(draft.ending is None for draft in drafts):
        if time.perf_counter() >= deadline and not (needs_one and _none_says_anything(hole, drafts)):
            break
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
            if draft.tokens or draft.ending is not None:
                yield Grew(token.candidate + bool(begins), draft.middle, draft.tokens, elapsed)
    seconds = time.perf_counter() - began
    # Of answers that nobody asked for, only whole ones are of use.
    candidates = tuple(draft.finished() for draft in drafts if draft.ending is not None or deadline == math.inf)
    yield _Answered(prompt, candidates, first_token, seconds, generation.reused)


def _generate_each(
    request: Request, engine: Engine, stop: threading.Event, more: _More | None = None
) -> Iterator[Event | _Answered]:
    """Fill several holes in order, each with what the ones before it got; all of them once for each candidate."""
    assert request.blanks is not None  # noqa: S101 - whoever calls has looked
    blanks, began = request.blanks, time.perf_counter()
    ways = enumerate(request.sampling.each(request.candidates))
    for number, sampling in itertools.islice(ways, more is not None, None):
        middles: list[str] = []
        tokens = 0
        while len(middles) < blanks.count:
            document = blanks.hole(len(middles), middles)
            one = replace(request, document=document, blanks=None, candidates=1, sampling=sampling)
            for event in _generate(one, engine, stop):
                if isinstance(event, Grew):
                    whole, kept = blanks.joined([*middles, event.middle])
                    seconds = time.perf_counter() - began
                    yield Grew(number, whole, tokens + event.tokens, seconds, kept)
                    continue
                yield event
                if isinstance(event, _Answered):
                    (answer,) = event.candidates
                    middles.append(answer.middle)
                    tokens += len(answer.token_ids)
            if stop.is_set():
                return


def _joined(blanks: Blanks, answered: Sequence[_Answered]) -> tuple[Candidate, ...]:
    """Make one candidate of the answers for all holes, as often as there were any."""
    answers = [answer.candidates[0] for answer in answered]
    return tuple(
        combine(blanks, answers[start : start + blanks.count]) for start in range(0, len(answers), blanks.count)
    )


def _judged(request: Request, candidates: Sequence[Candidate], stop: threading.Event) -> tuple[Candidate, ...]:
    """Look at each candidate in its place."""
    document = request.document
    # What was stopped is to be shown at once.
    asked = NOTHING_ASKED if stop.is_set() else request.asked

    hole = request.hole

    def looked(candidate: Candidate) -> Candidate:
        seen, known = request.context, request.known
        found = judged(document, candidate, known=known, frames=seen.frames, asked=asked, sources=seen.sources)
        return replace(found, checks=(*found.checks, *_original(hole, candidate.middle)))

    # The checks run in processes of their own, so that threads are enough to wait for several.
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return tuple(pool.map(looked, candidates))


def _none_says_anything(hole: Hole, drafts: Sequence[_Draft]) -> bool:
    return all(draft.ending is None or _is_idle(hole, draft.middle) for draft in drafts)


def _is_idle(hole: Hole, middle: str) -> bool:
    return says_nothing(hole, middle) or bool(copied_from(hole, middle))


def _lacks_column(request: Request, middle: str) -> bool:
    """Whether the cell takes a column that is not there, as where it has taken one that it is about to make."""
    return columns_there(request.document.rebuild(middle), request.context.frames) is not None


def _original(hole: Hole, middle: str) -> Iterator[Check]:
    """Yield a check that failed where a middle has no code, or only copies what stands elsewhere."""
    if says_nothing(hole, middle):
        yield Check("original", False, "adds no code")
        return
    place = copied_from(hole, middle)
    if place:
        yield Check("original", place != "suffix" and None, f"copies a line {_PLACES[place]}")


def _best_ended(
    request: Request, engine: Engine, candidates: tuple[Candidate, ...], stop: threading.Event, prompt: Prompt
) -> tuple[Candidate, ...]:
    """End each answer where it ends best, where that is not known from the text alone."""
    ends_open = request.method == "rank" or (request.method == "fim" and goes_on_in_function(request.hole))
    if not ends_open or request.blanks is not None or not request.trimming or stop.is_set():
        return candidates
    return tuple(_ended_best(request, engine, each, stop, prompt) for each in candidates)


def _ended_best(
    request: Request, engine: Engine, candidate: Candidate, stop: threading.Event, prompt: Prompt
) -> Candidate:
    """End an answer after the statement that makes what follows the hole the most probable."""
    ways = endings(request.hole, candidate)
    if len(ways) == 1:
        return candidate
    read = replace(request, asked=NOTHING_ASKED)
    return replace(ranked(_judged(read, _weighed(read, engine, ways, stop, prompt), stop))[0], reason="")


def _weighed(
    request: Request, engine: Engine, candidates: Sequence[Candidate], stop: threading.Event, prompt: Prompt
) -> tuple[Candidate, ...]:
    """Let the model say of each of several candidates how probable it makes what follows the hole."""
    if len(candidates) < 2 or not request.document.suffix.strip():  # noqa: PLR2004 - nothing to choose from
        return tuple(candidates)
    found: list[Candidate] = []
    try:
        for candidate, score in zip(candidates, _scores(request, engine, candidates, prompt), strict=True):
            found.append(replace(candidate, read_logprob=score.middle_mean, suffix_logprob=score.suffix))
            if stop.is_set():
                return tuple(candidates)
    except FimError:  # no memory or no room for it: the answers are there all the same
        return tuple(candidates)
    return tuple(found)


def _scores(request: Request, engine: Engine, candidates: Sequence[Candidate], prompt: Prompt) -> Iterator[Score]:
    """Read the candidates where they were written: what has been read of the prompt need not be read again."""
    middles = [candidate.middle for candidate in candidates]
    if request.method == "fim" and request.blanks is None:
        return following(engine, prompt, middles, request.document.for_model().suffix)
    return scores(engine, request.document, middles, request.context)


def _allowed(drafts: Sequence[_Draft]) -> dict[int, list[int]]:
    """The only ids that may come now, for the candidates that have not yet begun as they must."""
    bound = ((at, draft.allowed()) for at, draft in enumerate(drafts) if draft.ending is None)
    return {at: ids for at, ids in bound if ids is not None}


class _Draft:
    """A candidate that is still being written."""

    def __init__(
        self, hole: Hole, tokenizer: TextTokenizer, request: Request, prompt: Prompt, begin: tuple[int, ...]
    ) -> None:
        self._hole = hole
        self._limit = request.max_new_tokens
        self._trimming = request.trimming
        self._stop_ids = prompt.stop_ids
        self._begin = begin
        self._answer = Continuation(tokenizer, prompt.healed)
        self.token_ids: list[int] = []
        self.logprobs: list[float] = []
        self.token_ends: list[int] = []
        self.tokens = 0  # less those that only generate the user's own text again
        self.cut: Cut | None = None
        self.ending: Ending | None = None

    @property
    def middle(self) -> str:
        text = self._answer.text
        return text if self.cut is None else text[: self.cut.at]

    def allowed(self) -> list[int] | None:
        """The only ids that may come now, or None where any may."""
        begun = len(self.token_ids)
        return [self._begin[begun]] if begun < len(self._begin) else self._answer.allowed()

    def push(self, token: Token) -> None:
        if token.id in self._stop_ids:
            self._end(Ending.STOP_TOKEN)
            return
        self.token_ids.append(token.id)
        self.logprobs.append(token.logprob)
        repeats = self._answer.allowed() is not None  # what the prompt lacks of the user's own text
        text = self._answer.push(token.id)
        self.token_ends.append(len(text))
        self.tokens += bool(text) or not repeats
        if self._trimming:
            self.cut = trim(self._hole, text, final=False)
        if self.cut is not None:
            self.ending = Ending.RULE
        elif self.tokens >= self._limit:
            self._end(Ending.LENGTH)

    def _end(self, ending: Ending) -> None:
        self.ending = ending
        if self._trimming:
            self.cut = trim(self._hole, self._answer.text, final=True)
        if ending is Ending.LENGTH and self.cut is not None:
            self.ending = Ending.RULE
        elif ending is Ending.LENGTH and self._trimming:
            at = last_whole(self._hole, self._answer.text)
            self.cut = None if at is None else Cut("token-limit", at)

    def finished(self) -> Candidate:
        return Candidate(
            raw=self._answer.text,
            ending=self.ending or Ending.INTERRUPTED,
            cut=self.cut,
            token_ids=tuple(self.token_ids),
            logprobs=tuple(self.logprobs),
            token_ends=tuple(self.token_ends),
        )


def _result(
    request: Request, engine: Engine, answered: Sequence[_Answered], candidates: tuple[Candidate, ...], seconds: float
) -> Result:
    first = answered[0]
    prompt = first.prompt
    return Result(
        document=request.document,
        candidates=candidates,
        model=engine.model,
        revision=engine.revision,
        method=request.method,
        order=prompt.order,
        prompt_tokens=len(prompt.ids),
        reused_tokens=first.reused,
        dropped_prefix_tokens=prompt.dropped_prefix_tokens,
        dropped_suffix_tokens=prompt.dropped_suffix_tokens,
        seed=request.sampling.seed if request.sampling.temperature else None,
        first_token_seconds=first.first_token_seconds,
        seconds=seconds,
        order_reason=prompt.order_reason,
        sampling=request.sampling,
        max_new_tokens=request.max_new_tokens,
        prompt_sha256=hashlib.sha256(array("I", prompt.ids).tobytes()).hexdigest(),
        generated=sum(len(candidate.token_ids) for each in answered for candidate in each.candidates),
        seen=prompt.context,
        holes=1 if request.blanks is None else request.blanks.count,
        lines=request.lines,
    )
