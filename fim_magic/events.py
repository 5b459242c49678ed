"""The events of a request while it is answered: one stream that magics, command line and Python interface all read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fim_magic.candidate import Result
from fim_magic.progress import Progress


@dataclass(frozen=True)
class PromptRead:
    """The model has read this much of the prompt."""

    done: int
    total: int


@dataclass(frozen=True)
class Waits:
    """The machine that computes has asked for a pause before the request is sent again. It comes now and then."""

    progress: Progress


@dataclass(frozen=True)
class Grew:
    """A candidate has a new token."""

    candidate: int  # from 0
    middle: str  # all its text so far, trimmed
    tokens: int
    seconds: float  # since the request began
    kept: tuple[tuple[int, int], ...] = ()  # where `middle` is the user's own text between several holes


@dataclass(frozen=True)
class Offered:
    """The first answer has ended and may be taken, as the one candidate of `result`. Others are on their way."""

    result: Result


@dataclass(frozen=True)
class Finished:
    """There is nothing more to come."""

    result: Result


Event = PromptRead | Waits | Grew | Offered | Finished

OnOffer = Callable[[Result, Callable[[], None]], None]
"""Called with the first answer as soon as it may be taken, and with what ends the request, if no other is of use."""

OnGrow = Callable[[str, int, float, tuple[tuple[int, int], ...]], None]
"""Called with all of the middle so far, its number of tokens, the seconds it took, and the ranges that are kept."""

OnWait = Callable[[Progress | None], None]
"""Called while a pause lasts with how far it has come, and with None when it is over."""
