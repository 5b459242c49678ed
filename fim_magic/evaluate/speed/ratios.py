"""From the record of a run to ratios: each arm's median beside the baseline's, a limit, or its own."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fim_magic.evaluate.speed.arms import GENERATE, GGUF, LLAMA_CPP, OURS, PLAIN
from fim_magic.evaluate.speed.measure import Fresh, Record, Timing

BASELINE = "(baseline)"
LIMIT = "the limit"
ITSELF = "its first request"
ONE = "itself, n = 1"
ONE_GENERATE = "generate(), n = 1"
SHORTEST = "itself, shortest"
BARE = "a bare extension"
LOAD_EXT = "%load_ext"


@dataclass(frozen=True)
class Ratio:
    """One line of the table."""

    what: str  # what was measured
    arm: str  # of whom
    against: str  # what the ratio is against
    ratio: float | None  # of the medians; None for the baseline itself, or where there is nothing to compare with
    unit: str  # of the samples: "s", "tokens/s", "ms/token" or "MB"
    samples: tuple[float, ...]  # every measurement

    @property
    def median(self) -> float:
        return statistics.median(self.samples)


def limit(record: Record, arm: str) -> float | None:
    """Return the tokens a second that memory allows an arm, one step a token, or None where that is not known."""
    size = record.bytes_per_token.get(arm)
    return statistics.median(record.bandwidth) / size if size and record.bandwidth else None


def share_of_limit(record: Record, timing: Timing) -> float | None:
    """Return which share of what memory allowed at that moment a request decoded, or None where that is not known."""
    size = record.bytes_per_token.get(timing.arm)
    bound = timing.bandwidth / size if timing.bandwidth and size else limit(record, timing.arm)
    return timing.rate / bound if timing.rate and bound else None


def ratios(record: Record) -> list[Ratio]:
    """Return every line of the table, those that belong together one after the other."""
    groups = (_infill, _edit, _candidates, _lengths, _fresh, _load_ext)
    return [ratio for group in groups for ratio in group(record)]


def _infill(record: Record) -> Iterator[Ratio]:
    timings = [timing for timing in record.timings if timing.measure == "infill"]
    if not timings:
        return
    # By the longest: a prompt ends where its text does, which can be a token or two before what was asked for.
    size = f"{max(t.prompt_tokens for t in timings)} + {timings[0].new_tokens} tokens"
    whole = f"whole infill, {size}"
    yield from _against(whole, timings, lambda t: t.seconds, "s")
    yield from _against(whole, timings, lambda t: t.seconds, "s", baseline=LLAMA_CPP, of=(OURS, GGUF))
    yield from _against("time to the first token", timings, lambda t: t.first, "s")
    yield from _against("decode", timings, lambda t: t.rate, "tokens/s", more_is_better=True)
    shares = _samples(timings, lambda t: share_of_limit(record, t))
    for arm, samples in _samples(timings, lambda t: t.rate).items():
        if arm in shares:
            yield Ratio("decode", arm, LIMIT, statistics.median(shares[arm]), "tokens/s", samples)
    first = [timing for timing in record.warm_ups if timing.workload == timings[0].workload]
    yield from _against("the first infill of the process, warm-up", first, lambda t: t.seconds, "s")


def _edit(record: Record) -> Iterator[Ratio]:
    for name, timings in _by_workload(record, "edit"):
        what = f"edit: {name}, first token ({timings[0].prompt_tokens} tokens)"
        yield from _against(what, timings, lambda t: t.first, "s")
        before = _samples(timings, lambda t: t.before)
        for arm, samples in _samples(timings, lambda t: t.first).items():
            if arm in before:
                share = statistics.median(samples) / statistics.median(before[arm])
                yield Ratio(what, arm, ITSELF, share, "s", samples)


def _candidates(record: Record) -> Iterator[Ratio]:
    one: dict[str, float] = {}
    for _, timings in _by_workload(record, "candidates"):
        n = timings[0].candidates
        what = f"n = {n}, {timings[0].new_tokens} tokens each"
        yield from _against(what, timings, lambda t: t.seconds, "s")
        for arm, samples in _samples(timings, lambda t: t.seconds).items():
            median = statistics.median(samples)
            if n == 1:
                one[arm] = median
                continue
            if arm in one:
                yield Ratio(what, arm, ONE, median / one[arm], "s", samples)
            if arm != GENERATE and GENERATE in one:
                yield Ratio(what, arm, ONE_GENERATE, median / one[GENERATE], "s", samples)


def _lengths(record: Record) -> Iterator[Ratio]:
    def per_token(timing: Timing) -> float:
        return timing.first / timing.prompt_tokens * 1e3

    shortest: dict[str, float] = {}
    for name, timings in _by_workload(record, "lengths"):
        what = f"prefill of {name}"
        yield from _against(what, timings, per_token, "ms/token")
        yield from _against(what, timings, per_token, "ms/token", baseline=LLAMA_CPP, of=(OURS, GGUF))
        for arm, samples in _samples(timings, per_token).items():
            median = statistics.median(samples)
            if arm in shortest:
                yield Ratio(what, arm, SHORTEST, median / shortest[arm], "ms/token", samples)
            shortest.setdefault(arm, median)


def _fresh(record: Record) -> Iterator[Ratio]:
    kinds: list[tuple[str, Callable[[Fresh], float | None], str]] = [
        ("load, in a process of its own", lambda f: f.load, "s"),
        ("load and first token", lambda f: f.answered, "s"),
        ("peak memory", lambda f: f.peak / 1e6, "MB"),
    ]
    for what, value, unit in kinds:
        yield from _against(what, record.fresh, value, unit)
        yield from _against(what, record.fresh, value, unit, baseline=LLAMA_CPP, of=(OURS, GGUF))


def _load_ext(record: Record) -> Iterator[Ratio]:
    ours, bare = record.load_ext.get("fim_magic"), record.load_ext.get("bare")
    if ours and bare:
        # No ratio: a bare one takes next to nothing. What is added to it is the goal's.
        yield Ratio(LOAD_EXT, "fim_magic", BARE, None, "s", tuple(ours))
        yield Ratio(LOAD_EXT, BARE, BASELINE, None, "s", tuple(bare))


def _by_workload(record: Record, measure: str) -> Iterator[tuple[str, list[Timing]]]:
    timings = [timing for timing in record.timings if timing.measure == measure]
    for name in dict.fromkeys(timing.workload for timing in timings):
        yield name, [timing for timing in timings if timing.workload == name]


def _samples(found: Iterable[Any], value: Callable[[Any], float | None]) -> dict[str, tuple[float, ...]]:
    """Group by arm, in the order in which the arms are always shown."""
    by_arm: dict[str, list[float]] = {}
    for measurement in found:
        if (sample := value(measurement)) is not None:
            by_arm.setdefault(measurement.arm, []).append(sample)
    return {arm: tuple(by_arm[arm]) for arm in (GENERATE, OURS, PLAIN, GGUF, LLAMA_CPP) if arm in by_arm}


def _against(
    what: str,
    found: Iterable[Any],
    value: Callable[[Any], float | None],
    unit: str,
    *,
    baseline: str = GENERATE,
    of: Sequence[str] = (),
    more_is_better: bool = False,
) -> Iterator[Ratio]:
    """Compare every arm's median with the baseline's. A ratio above 1 is better than it.

    With `of`, only those arms are compared, and the baseline has no line.
    """
    samples = _samples(found, value)
    base = statistics.median(samples[baseline]) if baseline in samples else None
    for arm, own in samples.items():
        if arm == baseline and not of:
            yield Ratio(what, arm, BASELINE, None, unit, own)
        elif not of or (arm in of and base is not None):
            median = statistics.median(own)
            ratio = None if not base or not median else median / base if more_is_better else base / median
            yield Ratio(what, arm, baseline if ratio is not None else "", ratio, unit, own)
