"""Asking every arm the same, in turns: what drifts on a machine drifts for all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from fim_magic.engines.reuse import common_prefix
from fim_magic.evaluate.speed.arms import GENERATE, GGUF, LLAMA_CPP, OURS, PLAIN, Arm, TimedAnswer
from fim_magic.evaluate.speed.workloads import Workload

TAKING_PART: Mapping[str, tuple[str, ...]] = {
    "infill": (GENERATE, OURS, PLAIN, GGUF, LLAMA_CPP),
    "edit": (GENERATE, OURS, GGUF),
    "candidates": (GENERATE, OURS, GGUF),
    "lengths": (GENERATE, OURS, GGUF, LLAMA_CPP),
}
"""The arms for which each measure says something. An edit shows what is kept, which llama.cpp is told not to do."""

LONG_ROUNDS = 2
"""How often a CPU reads the longest prompts: each takes minutes, beside which the noise is small."""

# Tokens of a prompt; for a CPU, which compiles nothing that a warm-up would have to pay for.
_NEEDS_NO_WARM_UP = 1500
_LONGEST = 4000

_T = TypeVar("_T")


@dataclass(frozen=True)
class Timing:
    """One request to one arm."""

    measure: str  # of the workload
    workload: str  # its name
    arm: str  # who answered
    round: int  # which, from 0; below it for warm-ups
    prompt_tokens: int  # of the prompt
    new_tokens: int  # of each candidate
    candidates: int  # how many
    first: float  # seconds to the first token
    seconds: float  # seconds until everything was there
    # tokens a second after the first one, of the first candidate; None where there is only one moment
    rate: float | None = None
    before: float | None = None  # seconds to the first token of the request that came before, where there was one
    reused: int = 0  # tokens of the prompt that had already been read
    at: tuple[float, ...] = ()  # when each token of the first candidate came, in seconds
    # bytes a second that the memory gave right before or right after, the higher of the two; None where it was
    # not read. A rented machine's can change to half or double between two requests.
    bandwidth: float | None = None


@dataclass(frozen=True)
class Fresh:
    """One process that did nothing but load a model and answer once."""

    arm: str  # who loaded and answered
    round: int  # which, from 0
    load: float | None  # seconds to load, imports excluded; None for random weights, which are made and not loaded
    answered: float | None  # seconds to load and to have the first token of a short prompt; None likewise
    peak: int  # bytes: the most memory that was in use, less what was in use before loading


@dataclass(frozen=True)
class TokenCheck:
    """Whether an arm said the same as the baseline, greedily."""

    workload: str  # what was asked
    arm: str  # who is compared
    same: int  # how many tokens are the same from the beginning on
    of: int  # how many there are
    demanded: bool  # whether they have to be the same: where weights and precision are

    @property
    def passed(self) -> bool:
        return self.same == self.of

    def __str__(self) -> str:
        if self.passed:
            return f"{self.same} of {self.of} the same"
        return f"other from token {self.same + 1} on"


@dataclass
class Record:
    """All that a run has found so far."""

    timings: list[Timing] = field(default_factory=list)  # every request that counts
    # those before them, which may compile something or touch the weights for the first time
    warm_ups: list[Timing] = field(default_factory=list)
    fresh: list[Fresh] = field(default_factory=list)  # every process that was started to load a model
    # seconds of `%load_ext` for each extension: `fim_magic` and `bare`
    load_ext: dict[str, list[float]] = field(default_factory=dict)
    checks: list[TokenCheck] = field(default_factory=list)  # the comparisons of tokens
    bandwidth: list[float] = field(default_factory=list)  # bytes a second, before, between infills and after
    # for each arm, what one decode step of the infill reads
    bytes_per_token: dict[str, int] = field(default_factory=dict)


OnStep = Callable[[str, int, int], None]
"""Called with what comes now, how many steps are done and how many there are."""


def rotated(items: Sequence[_T], by: int) -> list[_T]:
    """Return `items` begun at another one for each round, so that none is always the first."""
    first = by % len(items) if items else 0
    return [*items[first:], *items[:first]]


def measure(
    arms: Sequence[Arm],
    workloads: Sequence[Workload],
    rounds: int,
    record: Record,
    on_step: OnStep,
    *,
    read_bandwidth: Callable[[], float] | None = None,
) -> None:
    """Ask every arm everything, `rounds` times, and record it. What is there when it is interrupted stays there.

    The baseline is the first arm; warm-ups come before the rounds. The memory's bandwidth, in bytes a second, is read
    after each infill; the reading before it is the last one in `record`.
    """
    steps = [
        (workload, number, [arm for arm in arms if arm.name in TAKING_PART[workload.measure]])
        for workload in workloads
        for number in range(-_warmups(workload, arms), rounds_of(workload, arms, rounds))
    ]
    total, done = sum(len(taking_part) for *_, taking_part in steps), 0
    for workload, number, taking_part in steps:
        answers = {}
        for arm in rotated(taking_part, number):
            on_step(f"{workload.measure}, {workload.name}: {arm.name}", done, total)
            timing, answers[arm.name] = ask(arm, workload, number)
            if read_bandwidth is not None and workload.measure == "infill":
                before = record.bandwidth[-1] if record.bandwidth else 0.0
                record.bandwidth.append(read_bandwidth())
                timing = replace(timing, bandwidth=max(before, record.bandwidth[-1]))
            done += 1
            (record.timings if number >= 0 else record.warm_ups).append(timing)
        if number == 0 and not workload.sampled:
            record.checks += compare(workload, answers)


def rounds_of(workload: Workload, arms: Sequence[Arm], rounds: int) -> int:
    """Return how often this is measured, of the rounds that were asked for."""
    return min(rounds, LONG_ROUNDS) if _on_cpu(arms) and len(workload.prompt) > _LONGEST else rounds


def _warmups(workload: Workload, arms: Sequence[Arm]) -> int:
    return 0 if _on_cpu(arms) and len(workload.prompt) > _NEEDS_NO_WARM_UP else 1


def _on_cpu(arms: Sequence[Arm]) -> bool:
    return all(arm.device.type == "cpu" for arm in arms)


def ask(arm: Arm, workload: Workload, number: int) -> tuple[Timing, TimedAnswer]:
    """Ask one arm once, cold, or right after the request that the workload has before it."""
    arm.forget()
    # generate() keeps nothing, so that what came before makes no difference to it.
    before = arm.ask(workload.before, workload).times[0] if workload.before and arm.name != GENERATE else None
    answer = arm.ask(workload.prompt, workload)
    timing = Timing(
        measure=workload.measure,
        workload=workload.name,
        arm=arm.name,
        round=number,
        prompt_tokens=len(workload.prompt),
        new_tokens=workload.new_tokens,
        candidates=workload.candidates,
        first=answer.times[0],
        seconds=answer.seconds,
        rate=decode_rate(answer.times, workload.new_tokens),
        before=before,
        reused=answer.reused,
        at=tuple(answer.times),
    )
    return timing, answer


def decode_rate(times: Sequence[float], tokens: int) -> float | None:
    """Return tokens a second after the first moment, or None where all came at once.

    Args:
        times: When tokens came. With speculation several come at one moment; a server may hold one back that is half a
            character, so this may have fewer than `tokens` entries.
        tokens: How many there were.
    """
    together = sum(moment == times[0] for moment in times)
    return None if times[-1] <= times[0] else (tokens - together) / (times[-1] - times[0])


def compare(workload: Workload, answers: Mapping[str, TimedAnswer]) -> Iterator[TokenCheck]:
    """Compare what every arm said with the baseline, token by token; an arm that has no ids is left out."""
    if GENERATE not in answers:
        return
    expected = answers[GENERATE].ids[0]
    for name, answer in answers.items():
        if name != GENERATE and answer.ids:
            same = common_prefix(expected, answer.ids[0])
            yield TokenCheck(f"{workload.measure}, {workload.name}", name, same, len(expected), name in (OURS, PLAIN))
