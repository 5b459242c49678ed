"""What fim-magic wants to reach, beside what was measured."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace

from fim_magic.evaluate.speed.arms import GENERATE, GGUF, LLAMA_CPP, OURS, PLAIN
from fim_magic.evaluate.speed.measure import Record
from fim_magic.evaluate.speed.ratios import BARE, ITSELF, LIMIT, LOAD_EXT, ONE, ONE_GENERATE, SHORTEST, ratios


@dataclass(frozen=True)
class Goal:
    """One goal."""

    what: str  # in words
    bound: float  # in `unit`
    at_least: bool  # whether `bound` is the least; otherwise it is the most
    measured: float | None  # None where this run did not measure it
    unit: str = "x"  # "x" for a ratio, "%" for a share, or "ms"
    row: tuple[str, str, str] | None = None  # what, of whom and against what the ratio is that shows it

    @property
    def reached(self) -> bool | None:
        """Whether it is reached, or None where it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound

    @property
    def verdict(self) -> str:
        return {True: "reached", False: "NOT REACHED", None: "not measured"}[self.reached]

    @property
    def target(self) -> str:
        """The bound as the table shows it."""
        return f"{'>=' if self.at_least else '<='} {amount(self.bound, self.unit)}"


def amount(value: float, unit: str) -> str:
    return {"x": f"{value:.2f}x", "%": f"{value:.1f} %", "ms": f"{value:.0f} ms"}[unit]


def goals(record: Record, *, on_gpu: bool = False, random_weights: bool = False, is_packed: bool = False) -> list[Goal]:
    """Return every goal, with what was measured.

    Args:
        record: What was measured.
        on_gpu: Whether the goals for a GPU are the ones that count.
        random_weights: Whether the model says nothing, so that speculation must not count.
        is_packed: Whether fim-magic computed with packed weights: these have goals of their own.
    """
    found = ratios(record)

    def goal(text: str, bound: float, what: str, against: str, *arms: str, at_least: bool = False) -> Goal:
        fitting = [r for r in found if r.what.startswith(what) and r.against == against and r.arm in arms]
        best = max((row for row in fitting if row.ratio is not None), key=lambda row: row.ratio or 0.0, default=None)
        if best is None:
            return Goal(text, bound, at_least, None)
        return Goal(text, bound, at_least, best.ratio, "x", (best.what, best.arm, best.against))

    # Random weights repeat themselves, so that speculation would win more than it ever does.
    lead = PLAIN if random_weights else OURS
    of_limit = "decode without speculation, of the memory limit"
    repeat = _as_share(goal("repeat after an edit, of the first request", 0.05, "edit: the last", ITSELF, OURS))
    lengths = goal("prefill per token, 8k against 0.5k", 2.0, "prefill of 8000", SHORTEST, OURS)
    if on_gpu:
        return [
            _as_share(goal(of_limit, 0.8, "decode", LIMIT, PLAIN, at_least=True)),
            goal("decode against generate()", 3.0, "decode", GENERATE, lead, at_least=True),
            goal("8 candidates against one", 1.25, "n = 8", ONE, OURS),
            repeat,
            lengths,
            _load_ext(record),
        ]
    if is_packed:  # of times and memory, a ratio above 1 is better: 1 / 1.2 is 1.2 times as long
        return [
            goal("time to the first token against generate()", 1.2, "time to", GENERATE, lead, at_least=True),
            goal("decode without speculation against generate()", 5.0, "decode", GENERATE, PLAIN, at_least=True),
            _as_share(goal(of_limit, 0.7, "decode", LIMIT, PLAIN, at_least=True)),
            goal("whole infill against generate()", 4.0, "whole infill", GENERATE, lead, at_least=True),
            goal("whole infill against llama.cpp", 1.2, "whole infill", LLAMA_CPP, OURS, at_least=True),
            goal("8 candidates against one plain generate()", 0.35, "n = 8", ONE_GENERATE, OURS),
            goal("load and first token against llama.cpp", 1 / 1.2, "load and", LLAMA_CPP, OURS, at_least=True),
            goal("peak memory against generate()", 1 / 0.6, "peak", GENERATE, OURS, at_least=True),
            goal("prefill of 8k tokens against llama.cpp", 1.25, "prefill of 8000", LLAMA_CPP, OURS, at_least=True),
        ]
    return [
        goal("whole infill against generate()", 2.0, "whole infill", GENERATE, lead, at_least=True),
        _as_share(goal(of_limit, 0.7, "decode", LIMIT, PLAIN, at_least=True)),
        repeat,
        goal("4 candidates against one", 1.6, "n = 4", ONE, OURS),
        goal("8 candidates against one plain generate()", 1.5, "n = 8", ONE_GENERATE, OURS),
        goal("best engine here against llama.cpp", 1.0, "whole infill", LLAMA_CPP, OURS, GGUF, at_least=True),
        _load_ext(record),
        lengths,
    ]


def _as_share(goal: Goal) -> Goal:
    measured = None if goal.measured is None else goal.measured * 100
    return replace(goal, bound=goal.bound * 100, measured=measured, unit="%")


def _load_ext(record: Record) -> Goal:
    ours, bare = record.load_ext.get("fim_magic"), record.load_ext.get("bare")
    what, most = "%load_ext beyond a bare extension", 50
    if not ours or not bare:
        return Goal(what, most, False, None, "ms")
    more = (statistics.median(ours) - statistics.median(bare)) * 1e3
    return Goal(what, most, False, more, "ms", (LOAD_EXT, "fim_magic", BARE))
