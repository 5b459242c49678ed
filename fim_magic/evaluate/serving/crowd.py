"""Users who ask a server at the same time, each again as soon as the last answer is whole."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

from fim_magic.engines import ANY, GREEDY, Engine

_MOMENT = 0.1  # seconds: a wait without an end can sleep through a Ctrl-C


@dataclass(frozen=True)
class CrowdTiming:
    """One request of a crowd.

    Attributes:
        first: Seconds until its first token.
        seconds: Until its last one.
        tokens: How many there were.
    """

    first: float
    seconds: float
    tokens: int


@dataclass(frozen=True)
class Crowd:
    """What came of so many users at once.

    Attributes:
        users: How many.
        seconds: From the first request of all until the last answer of all.
        timings: Of each request.
    """

    users: int
    seconds: float
    timings: tuple[CrowdTiming, ...]

    @property
    def tokens_per_second(self) -> float:
        """Of all users together."""
        return sum(timing.tokens for timing in self.timings) / self.seconds if self.seconds else 0.0

    def first(self, share: float) -> float:
        """Return the seconds within which so large a share of the requests had its first token."""
        return percentile([timing.first for timing in self.timings], share)

    def whole(self, share: float) -> float:
        """As `first`, for the whole answer."""
        return percentile([timing.seconds for timing in self.timings], share)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest of some values that so large a share of them does not exceed (nearest rank).

    Args:
        values: At least one.
        share: Above 0.0, up to 1.0.
    """
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1]


def ask_as_crowd(
    engine: Engine,
    prompts: Sequence[Sequence[int]],
    users: int,
    new_tokens: int,
    on_done: Callable[[], None] = lambda: None,
    *,
    stop: threading.Event,
) -> Crowd:
    """Have users ask at the same time.

    Args:
        engine: Who answers.
        prompts: Token ids of each request, shared out evenly among the users.
        users: How many.
        new_tokens: The most tokens of an answer.
        on_done: Called after each request, on its user's thread.
        stop: When it is set, all end early.

    Raises:
        FimError: What any of them got instead of an answer.
        KeyboardInterrupt: `stop` was set.
    """
    together = threading.Barrier(users + 1)

    def ask_each(own: Sequence[Sequence[int]]) -> list[CrowdTiming]:
        together.wait()
        found = []
        for prompt in own:
            found.append(_timed(engine, prompt, new_tokens, stop))
            on_done()
        return found

    with ThreadPoolExecutor(users, thread_name_prefix="fim-magic-user") as pool:
        asking = [pool.submit(ask_each, prompts[user::users]) for user in range(users)]
        together.wait()
        began = time.perf_counter()
        try:
            waiting = set(asking)
            while waiting:
                done, waiting = wait(waiting, _MOMENT)
                for future in done:
                    future.result()  # what has failed ends all
            timings = tuple(timing for future in asking for timing in future.result())
        except BaseException:
            stop.set()  # the others need not go on
            raise
    return Crowd(users, time.perf_counter() - began, timings)


def _timed(engine: Engine, prompt: Sequence[int], new_tokens: int, stop: threading.Event) -> CrowdTiming:
    began = time.perf_counter()
    # No stop ids: as many tokens as the server gives, up to the limit.
    generation = engine.generate(prompt, beginnings=[ANY], sampling=GREEDY, stop_ids=frozenset(), limit=new_tokens)
    try:
        for _ in generation.prefill():
            _look(stop)
        first, tokens = time.perf_counter() - began, 0
        while (found := generation.step()) != []:
            tokens += len(found or ())
            _look(stop)
    finally:
        generation.close()
    return CrowdTiming(first, time.perf_counter() - began, tokens)


def _look(stop: threading.Event) -> None:
    if stop.is_set():
        raise KeyboardInterrupt
