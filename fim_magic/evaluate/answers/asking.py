"""How the requests of a run are made: one after another, or several at once where a server answers them.

Each answer depends on its own request alone, so that it does not matter which is made when. (A server that computes
several in one batch may round in another way than for one alone.)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

from fim_magic.candidate import Result
from fim_magic.errors import ServerError
from fim_magic.events import Finished, Offered
from fim_magic.interruption import interruptible
from fim_magic.pipeline import run
from fim_magic.reading_speed import measure_reading
from fim_magic.request import Request
from fim_magic.turn import TURN, Turn, own_turn

if TYPE_CHECKING:
    from fim_magic.engines import Engine

_LOOK_SECONDS = 0.1
_AHEAD = 2  # times as many as are at work: what waits for a thread is ready when one is

_Item = TypeVar("_Item")


class Asking:
    """Makes the requests of a run.

    Args:
        engine: Who answers.
        concurrency: How many requests may be under way at once.

    Attributes:
        engine: The argument.

    Raises:
        OptionError: Several at once are asked for, and the engine computes in this process.
    """

    def __init__(self, engine: Engine, concurrency: int = 1) -> None:
        self.engine = engine
        self._concurrency = concurrency
        self._stop: threading.Event | None = None
        if concurrency > 1:
            own_turn(engine)
            measure_reading(engine)

    def ask(self, request: Request) -> list[tuple[float, Result]]:
        """Ask, and return every result that was offered with the seconds until then; the last is the whole one.

        Raises:
            FimError: As `fim_magic.pipeline.run` says; and where a server broke off.
            KeyboardInterrupt: The user stopped it: half an answer must not count as one.
        """
        if self._stop is not None:
            return _offered(request, self.engine, self._stop, own_turn(self.engine))
        with interruptible() as stop:
            return _offered(request, self.engine, stop, TURN)

    def each(self, items: Iterable[_Item], work: Callable[[_Item], None]) -> None:
        """Do the same for every item, with as many at once as there may be.

        Args:
            items: They are taken one after another by this thread, and not much earlier than they are needed.
            work: What is to be done with one; it asks by `ask`.

        Raises:
            Exception: What `work` has raised, when what else was under way has ended.
            KeyboardInterrupt: The user stopped it.
        """
        if self._concurrency == 1:
            for item in items:
                work(item)
            return
        with interruptible() as stop:
            self._stop = stop
            pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="fim-magic-asking")
            try:
                self._run_all(iter(items), lambda item: pool.submit(work, item), stop)
            finally:
                stop.set()
                pool.shutdown(cancel_futures=True)
                self._stop = None

    def _run_all(self, items: Iterable[_Item], submit: Callable[[_Item], Future[None]], stop: threading.Event) -> None:
        waiting: set[Future[None]] = set()
        for item in items:
            waiting.add(submit(item))
            while len(waiting) >= _AHEAD * self._concurrency:
                waiting = _still_waiting(waiting, stop)
        while waiting:
            waiting = _still_waiting(waiting, stop)


def _still_waiting(waiting: set[Future[None]], stop: threading.Event) -> set[Future[None]]:
    """Wait for a moment, and return what has not ended; what has failed is raised."""
    done, rest = wait(waiting, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
    if stop.is_set():
        raise KeyboardInterrupt
    for future in done:
        future.result()
    return rest


def _offered(request: Request, engine: Engine, stop: threading.Event, turn: Turn) -> list[tuple[float, Result]]:
    began = time.perf_counter()
    offered = [
        (time.perf_counter() - began, event.result)
        for event in run(request, engine, stop, turn=turn)
        if isinstance(event, Offered | Finished)
    ]
    if stop.is_set():
        raise KeyboardInterrupt
    _, last = offered[-1]
    if last.broken_off:
        raise ServerError(last.broken_off)
    return offered
