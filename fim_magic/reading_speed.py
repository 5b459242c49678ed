"""How long a prompt may be so that its first token does not take minutes.

How fast a model reads is measured once, when the first long prompt comes, and rounded down to a power of two of tokens:
what a machine does meanwhile changes the time by a fifth, and must not change a prompt.
"""

from __future__ import annotations

import inspect
import math
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence

from fim_magic.engines import ANY, GREEDY, Engine
from fim_magic.turn import TURN

SECONDS_TO_READ = 10.0
"""How long reading a prompt may take, about, unless more is asked for."""

LEAST_TOKENS = 1024
"""However slow a machine is: what stands near the hole is worth the wait."""

_PROBE_TOKENS = 512
_PROBE_SECONDS = 2.0  # after which a slow machine need not read all of them

_limits: weakref.WeakKeyDictionary[Engine, int] = weakref.WeakKeyDictionary()


def readable_tokens(engine: Engine, ids: Sequence[int], clock: Callable[[], float] = time.perf_counter) -> int:
    """Return how many tokens of a prompt an engine reads in `SECONDS_TO_READ`, at least `LEAST_TOKENS`.

    Args:
        engine: The loaded model.
        ids: Some text's tokens, at least one, to measure it with.
        clock: Tells the time, in seconds.

    Raises:
        BusyError: It was not measured yet, and another request is under way.
    """
    known = _limits.get(engine)
    if known is not None:
        return known
    if TURN.is_mine:
        rate = _rate(engine, ids, clock)
    else:
        with TURN.taken(threading.Event()):
            rate = _rate(engine, ids, clock)
    _limits[engine] = limit = limit_for(rate)
    return limit


def measure_reading(engine: Engine) -> None:
    """Measure now how fast an engine reads: later, when it answers many requests at once, it would seem slow.

    Raises:
        BusyError: Another request is under way.
    """
    readable_tokens(engine, engine.tokenizer.encode(inspect.getsource(sys.modules[__name__])))


def limit_for(rate: float) -> int:
    """Return the limit for an engine that reads so many tokens in a second: a power of two."""
    if rate * SECONDS_TO_READ <= LEAST_TOKENS:
        return LEAST_TOKENS
    return 1 << int(math.log2(rate * SECONDS_TO_READ))


def _rate(engine: Engine, ids: Sequence[int], clock: Callable[[], float]) -> float:
    # Backwards, as no earlier prompt has them: what one had in common with this would not be read.
    probe = list(ids[:_PROBE_TOKENS])[::-1]
    for _ in range(2):  # the first finds weights on the disk, and libraries asleep
        began = clock()
        generation = engine.generate(probe, beginnings=[ANY], sampling=GREEDY, stop_ids=frozenset(), limit=1)
        read = 0
        for done in generation.prefill():
            read = done
            if clock() - began > _PROBE_SECONDS:
                break
        generation.close()
        seconds = clock() - began
        engine.forget()
        if seconds > _PROBE_SECONDS:
            break
    return max(read, 1) / max(seconds, 1e-6)
