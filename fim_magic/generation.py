"""From a prompt and an engine to candidates, as they grow: one, several in one batch, or one hole after another."""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

from fim_magic.branching import beginnings, branching_tokens, known_logprobs
from fim_magic.candidate import Candidate, Ending, Result
from fim_magic.drafts import Draft
from fim_magic.engines import Beginning, Engine, Token, TokenLogprob
from fim_magic.errors import OptionError, ServerError
from fim_magic.events import Event, Grew, PromptRead, Waits
from fim_magic.formats import Prompt, as_text, completion_prompt, fim_prompt
from fim_magic.holes import combine
from fim_magic.reading_speed import LEAST_TOKENS, SECONDS_TO_READ, readable_tokens
from fim_magic.request import Request
from fim_magic.trimming import Hole, adds_nothing

_log = logging.getLogger(__name__)

_LEAST_ROOM = 16  # tokens of prompt without which a request makes no sense


@dataclass(frozen=True)
class Answered:
    """What came of one prompt.

    Attributes:
        prompt: The prompt.
        candidates: As the model gave them, ended by the rules.
        first_token_seconds: Until the first token.
        seconds: Until the last.
        reused: How many of the prompt's tokens had been read before.
        alternatives: Those of each token of the first candidate, its stop token included.
        broken_off: Why the server that was asked could not go on, or "".
    """

    prompt: Prompt
    candidates: tuple[Candidate, ...]
    first_token_seconds: float
    seconds: float
    reused: int
    alternatives: tuple[tuple[TokenLogprob, ...], ...] = ()
    broken_off: str = ""


@dataclass(frozen=True)
class Branching:
    """What further candidates leave: the first one, where the model was least sure of it.

    Attributes:
        known: The first candidate.
        alternatives: Those of its tokens, as `Answered` has them.
        deadline: When they are to be there, by `time.perf_counter`. What has not ended by then is dropped: of answers
            that nobody asked for, only whole ones are of use.
        leaves_early: Whether the first says nothing, nothing new, or what cannot be there: the others then leave it as
            early as they can, and one of them that says something is waited for.
    """

    known: Candidate
    alternatives: tuple[tuple[TokenLogprob, ...], ...] = ()
    deadline: float = math.inf
    leaves_early: bool = False

    def is_over(self, hole: Hole, drafts: Sequence[Draft]) -> bool:
        if time.perf_counter() < self.deadline:
            return False
        # Where the first says nothing, one that says something is waited for.
        ended = (draft.middle for draft in drafts if draft.ending is not None)
        return not self.leaves_early or any(not adds_nothing(hole, middle) for middle in ended)


def prompt_for(request: Request, engine: Engine) -> Prompt:
    """Build the prompt that `run` would send. A long one may need to be measured first, by reading a part of it.

    Raises:
        BusyError: It needs to be, and another request is under way.
        ModelError: The model cannot infill.
        OptionError: The options leave no room for a prompt, the order was not trained, or the engine cannot begin an
            answer as is asked.
    """
    request = request.bound_for(engine.info)
    if request.begins and not engine.capabilities.constrains:
        raise OptionError(
            f"{engine.info.model} runs where an answer cannot be made longer. Again asks for another; --lines N asks "
            "for more statements."
        )
    room = engine.context_length - request.max_new_tokens
    if room < _LEAST_ROOM:
        raise OptionError(
            f"--max-new-tokens {request.max_new_tokens} leaves no room for a prompt: the model's context is "
            f"{engine.context_length} tokens in all. Ask for fewer."
        )
    document = request.document if request.blanks is None else request.blanks.hole(0, ())
    build: Callable[..., Prompt] = completion_prompt
    if request.method == "fim":
        build = partial(fim_prompt, order=request.order)
    built = partial(
        build,
        engine.family,
        engine.tokenizer,
        document.for_model(),
        context=request.context,
        healing=request.healing and engine.capabilities.constrains,
    )

    def in_room(room: int) -> Prompt:
        prompt = built(room=room)
        return prompt if engine.capabilities.takes_ids else as_text(prompt, engine.tokenizer, engine.family)

    whole = in_room(room=room)
    limit, reason = _limit(request, engine, whole)
    if limit is None or len(whole.ids) <= limit:
        return whole
    return replace(in_room(room=min(limit, room)), limit=limit, limit_reason=reason)


def _limit(request: Request, engine: Engine, whole: Prompt) -> tuple[int | None, str]:
    """Return how many tokens a prompt may have beside the model's context, and why."""
    if request.max_prompt_tokens:
        return request.max_prompt_tokens, "--max-prompt-tokens"
    if request.max_prompt_tokens is None or len(whole.ids) <= LEAST_TOKENS:
        return None, ""
    if not request.permission.allows(engine.info):  # measuring would send a part of it
        return None, ""
    return readable_tokens(engine, whole.ids), f"what is read here in about {SECONDS_TO_READ:g} s"


def can_branch(engine: Engine) -> bool:
    """Whether further answers can leave a first one at a token; else they are sampled."""
    return engine.capabilities.gives_top_logprobs and engine.capabilities.constrains


def generate(
    request: Request, engine: Engine, stop: threading.Event, prompt: Prompt, branching: Branching | None = None
) -> Iterator[Event | Answered]:
    """Generate candidates, or further ones that leave a known one; yield how they grow, then what came of each prompt.

    Generation ends at the next token when `stop` is set. `prompt` is that of the request; of several holes each has one
    of its own, with what the ones before it got.
    """
    if request.blanks is None:
        return _generate(request, engine, stop, prompt, branching)
    return _generate_in_order(request, engine, stop, branching)


def _generate(
    request: Request, engine: Engine, stop: threading.Event, prompt: Prompt, branching: Branching | None = None
) -> Iterator[Event | Answered]:
    """Generate one candidate, or sample several, or branch off one that is known."""
    began = time.perf_counter()
    decode = partial(decode_loop, prompt=prompt, engine=engine, stop=stop, began=began, branching=branching)
    if branching is None:
        yield from decode(request)
    elif not can_branch(engine):
        yield from decode(replace(request, sampling=request.sampling.warmer()))
    else:
        tokens = branching_tokens(branching.known)
        places = _top_logprobs(engine, prompt, tokens, request.candidates, branching.alternatives)
        begins = beginnings(
            tokens,
            places,
            Beginning(text=prompt.healed.encode()),
            engine.tokenizer,
            prompt.stop_ids,
            count=request.candidates - 1,
            early=branching.leaves_early,
        )
        if begins:
            yield from decode(
                request, [Beginning(ids, logprobs=known_logprobs(ids, branching.known, places)) for ids in begins]
            )


def _top_logprobs(
    engine: Engine, prompt: Prompt, tokens: tuple[int, ...], count: int, alternatives: Sequence[Sequence[TokenLogprob]]
) -> Sequence[Sequence[TokenLogprob]]:
    """Return the most probable tokens in the place of each of `tokens` and behind; read them if they are not known."""
    places = alternatives[: len(tokens) + 1]
    if len(places) == len(tokens) + 1 and all(len(place) >= count for place in places):
        return [place[:count] for place in places]
    return engine.top_logprobs(prompt.ids, tokens, count)


def decode_loop(
    request: Request,
    begins: Sequence[Beginning] = (),
    *,
    prompt: Prompt,
    engine: Engine,
    stop: threading.Event,
    began: float,
    branching: Branching | None = None,
) -> Iterator[Event | Answered]:
    """Generate candidates of one prompt in one batch, until each has ended.

    Args:
        request: Its `candidates` says how many there are, unless `begins` does.
        begins: How each begins, where they branch off a known one, without what token healing has taken back.
        prompt: What the model reads.
        engine: The loaded model.
        stop: When it is set, generation ends at the next token.
        began: When the request began, by `time.perf_counter`.
        branching: For further candidates: the known one, and their deadline.
    """
    first = 1 if begins else 0  # the number of the first draft among the candidates of the request
    known = 1 if branching is not None and not begins else 0  # of several that are sampled the first is greedy
    begins = begins or [Beginning(tuple(request.begins))] * request.candidates
    drafts = [Draft(request.hole, engine.tokenizer, request, prompt) for _ in begins]
    generation = engine.generate(
        prompt.ids,
        beginnings=[replace(begin, text=prompt.healed.encode()) for begin in begins],
        sampling=request.sampling,
        stop_ids=prompt.stop_ids,
        limit=request.max_new_tokens + len(prompt.healed.encode()),  # what is generated again does not count
    )
    first_token, broken_off = 0.0, ""
    with closing(generation):
        for done in generation.prefill():
            yield Waits(pause) if (pause := generation.waits) else PromptRead(done, len(prompt.ids))
            if stop.is_set():
                break
        while not stop.is_set() and any(draft.ending is None for draft in drafts):
            if branching is not None and branching.is_over(request.hole, drafts):
                break
            try:
                tokens = generation.step()
            except ServerError as error:
                broken_off = _broken_off(drafts[known:], error)
                break
            if tokens is None:
                if pause := generation.waits:
                    yield Waits(pause)
                continue
            if not tokens:
                for draft in drafts:
                    draft.end_early()
                break
            elapsed = time.perf_counter() - began
            first_token = first_token or elapsed
            for token, draft in _grown(tokens, drafts):
                if draft.ending is not None:
                    generation.close(token.candidate)
                if token.candidate >= known and (draft.tokens or draft.ending is not None):
                    yield Grew(first + token.candidate, draft.middle, draft.tokens, elapsed)
    seconds = time.perf_counter() - began
    candidates = _finished(drafts[known:], drops_partial=branching is not None and branching.deadline < math.inf)
    alternatives = tuple(drafts[0].alternatives)
    yield Answered(prompt, candidates, first_token, seconds, generation.reused, alternatives, broken_off)


def _broken_off(drafts: Sequence[Draft], error: ServerError) -> str:
    """End drafts whose server has failed, and return why.

    Raises:
        ServerError: It, since nothing had come.
    """
    if not any(draft.ending is not None or draft.middle for draft in drafts):
        raise error
    _log.info("A server broke off.", exc_info=error)
    for draft in drafts:
        draft.break_off()
    return str(error)


def _finished(drafts: Sequence[Draft], *, drops_partial: bool) -> tuple[Candidate, ...]:
    """Return the candidates; without those that have not ended, if so, or broke off before they had begun."""
    found = (draft.finished() for draft in drafts if draft.ending is not None or not drops_partial)
    return tuple(
        candidate
        for candidate in found
        if candidate.ending is not Ending.BROKEN_OFF or (candidate.middle and not drops_partial)
    )


def _grown(tokens: Sequence[Token], drafts: Sequence[Draft]) -> Iterator[tuple[Token, Draft]]:
    """Add tokens to their drafts, and yield each with its draft. What is beyond the end of one is left out."""
    for token in tokens:
        draft = drafts[token.candidate]
        if draft.ending is None:
            draft.push(token)
            yield token, draft


def _generate_in_order(
    request: Request, engine: Engine, stop: threading.Event, branching: Branching | None = None
) -> Iterator[Event | Answered]:
    """Fill several holes in order, each with what the ones before it got; all of them once for each candidate."""
    assert request.blanks is not None  # `generate` looked
    blanks, began = request.blanks, time.perf_counter()
    samplings = enumerate(request.sampling.each(request.candidates))
    last: Answered | None = None
    for number, sampling in itertools.islice(samplings, branching is not None, None):
        middles: list[str] = []
        tokens = 0
        while len(middles) < blanks.count:
            if branching is not None and time.perf_counter() >= branching.deadline:
                return
            document = blanks.hole(len(middles), middles)
            one = replace(request, document=document, blanks=None, candidates=1, sampling=sampling)
            for event in _kept(_generate(one, engine, stop, prompt_for(one, engine)), last):
                if isinstance(event, Grew):
                    whole, kept = blanks.joined([*middles, event.middle])
                    seconds = time.perf_counter() - began
                    yield Grew(number, whole, tokens + event.tokens, seconds, kept)
                    continue
                yield event
                if isinstance(event, Answered):
                    last = event
                    middles += [answer.middle for answer in event.candidates]
                    tokens += sum(len(answer.token_ids) for answer in event.candidates)
            if stop.is_set() or (last is not None and last.broken_off):
                return


def _kept(events: Iterator[Event | Answered], last: Answered | None) -> Iterator[Event | Answered]:
    """Yield the events of one hole; what the holes before it got stays when the server fails at this one."""
    try:
        yield from events
    except ServerError as error:
        if last is None:
            raise
        _log.info("A server failed between two holes.", exc_info=True)
        yield replace(last, candidates=(), broken_off=str(error))


def candidates_of(request: Request, answered: Sequence[Answered]) -> tuple[Candidate, ...]:
    """Return the candidates of all prompts; of a text with several holes, one for the answers to each of them.

    Only the first may lack some: one that was left half-way beside a whole one is of no use.
    """
    if request.blanks is None:
        return tuple(candidate for one in answered for candidate in one.candidates)
    answers, count = [candidate for one in answered for candidate in one.candidates], request.blanks.count
    missing = Ending.BROKEN_OFF if broken_off(answered) else Ending.INTERRUPTED
    groups = [answers[start : start + count] for start in range(0, len(answers), count)]
    return tuple(
        combine(request.blanks, group, missing) for group in groups if group is groups[0] or len(group) == count
    )


def result_of(
    request: Request, engine: Engine, answered: Sequence[Answered], candidates: tuple[Candidate, ...], seconds: float
) -> Result:
    """Return the result of a request; its candidates in the order in which they are to be offered."""
    first = answered[0]
    prompt = first.prompt
    return Result(
        document=request.document,
        candidates=candidates,
        model=engine.info.model,
        revision=engine.info.revision,
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
        prompt_sha256=prompt.sha256,
        generated=sum(len(candidate.token_ids) for one in answered for candidate in one.candidates),
        seen=prompt.context,
        server=engine.info.server,
        runs_on=engine.info.runs_on if engine.info.server is None else "",
        holes=1 if request.blanks is None else request.blanks.count,
        lines=request.lines,
        max_prompt_tokens=prompt.limit,
        prompt_limit=prompt.limit_reason,
        left_out=_left_out(request, engine),
        broken_off=broken_off(answered),
    )


def broken_off(answered: Sequence[Answered]) -> str:
    """Return why a server could not go on, or ""."""
    return next((one.broken_off for one in answered if one.broken_off), "")


def _left_out(request: Request, engine: Engine) -> tuple[str, ...]:
    """Say what a request goes without, since its engine cannot do it."""
    able = engine.capabilities
    return tuple(
        text
        for is_missing, text in (
            (not able.constrains and request.healing, "a token that the hole cuts in two is not generated again"),
            (not able.scores, "answers are not weighed by what follows the hole"),
            (not can_branch(engine), "further answers are sampled"),
        )
        if is_missing
    )
