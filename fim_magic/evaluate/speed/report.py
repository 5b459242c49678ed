"""From the record of a run to ratios, goals, a table and JSON. Nothing here measures."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from fim_magic.evaluate.printing import WIDTH, heading, warned, wrapped
from fim_magic.evaluate.speed.arms import GENERATE, GGUF, LLAMA_CPP, OURS, PLAIN
from fim_magic.evaluate.speed.measure import Fresh, Record, Timing, TokenCheck

_BASELINE = "(baseline)"
_LIMIT = "the limit"
_ITSELF = "its first request"
_ONE = "itself, n = 1"
_ONE_GENERATE = "generate(), n = 1"
_SHORTEST = "itself, shortest"
_BARE = "a bare extension"
_LOAD_EXT = "%load_ext"


@dataclass(frozen=True)
class Comparison:
    """One line of the table.

    Attributes:
        what: What was measured.
        arm: Of whom.
        against: What the ratio is against.
        ratio: Of the medians; None for the baseline itself, or where there is nothing to compare with.
        unit: Of the samples: "s", "tokens/s", "ms/token" or "MB".
        samples: Every measurement.
    """

    what: str
    arm: str
    against: str
    ratio: float | None
    unit: str
    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of the samples."""
        return statistics.median(self.samples)


@dataclass(frozen=True)
class Goal:
    """What fim-magic wants to reach.

    Attributes:
        what: In words.
        bound: In `unit`.
        at_least: Whether `bound` is the least; otherwise it is the most.
        measured: None where this run did not measure it.
        unit: "x" for a ratio, "%" for a share, or "ms".
        row: What, of whom and against what the row is that shows it.
    """

    what: str
    bound: float
    at_least: bool
    measured: float | None
    unit: str = "x"
    row: tuple[str, str, str] | None = None

    @property
    def reached(self) -> bool | None:
        """Whether it is reached, or None where it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound

    @property
    def verdict(self) -> str:
        """In words."""
        return {True: "reached", False: "NOT REACHED", None: "not measured"}[self.reached]

    @property
    def target(self) -> str:
        """The bound as the table shows it."""
        return f"{'>=' if self.at_least else '<='} {_amount(self.bound, self.unit)}"


@dataclass
class SpeedReport:
    """A run, with all that is needed to judge and to repeat it.

    Attributes:
        about: Command, date, model, machine, versions, rounds.
        record: What was measured.
        warnings: What makes the numbers doubtful.
        remarks: What else a reader should know, such as which arms were left out.
        on_gpu: Whether the goals for a GPU are the ones that count.
        random_weights: Whether the model says nothing, so that speculation must not count.
    """

    about: dict[str, Any]
    record: Record = field(default_factory=Record)
    warnings: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    on_gpu: bool = False
    random_weights: bool = False

    def to_json(self) -> str:
        """Return everything as JSON: what was measured, and what was reckoned from it."""
        told = asdict(self) | {
            "rows": [asdict(row) | {"median": row.median} for row in rows(self)],
            "goals": [asdict(goal) | {"reached": goal.reached} for goal in goals(self)],
        }
        return json.dumps(told, indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> SpeedReport:
        """Read back what `to_json` wrote. What was reckoned is reckoned again."""
        told = json.loads(text)
        record = told["record"]
        return cls(
            about=told["about"],
            record=Record(
                timings=[_timing(each) for each in record["timings"]],
                warm_ups=[_timing(each) for each in record["warm_ups"]],
                fresh=[Fresh(**fresh) for fresh in record["fresh"]],
                load_ext=record["load_ext"],
                checks=[TokenCheck(**check) for check in record["checks"]],
                bandwidth=record["bandwidth"],
                bytes_per_token=record["bytes_per_token"],
            ),
            warnings=told["warnings"],
            remarks=told["remarks"],
            on_gpu=told["on_gpu"],
            random_weights=told["random_weights"],
        )

    @property
    def failed_checks(self) -> list[TokenCheck]:
        """The comparisons that had to come out the same and did not."""
        return [check for check in self.record.checks if check.demanded and not check.passed]


def _timing(told: dict[str, Any]) -> Timing:
    return Timing(**{**told, "at": tuple(told["at"])})


def limit(record: Record, arm: str) -> float | None:
    """Return the tokens a second that memory allows an arm, one step a token, or None where that is not known."""
    size = record.bytes_per_token.get(arm)
    return statistics.median(record.bandwidth) / size if size and record.bandwidth else None


def share_of_limit(record: Record, timing: Timing) -> float | None:
    """Return which share of what memory allowed at that moment a request decoded, or None where that is not known."""
    size = record.bytes_per_token.get(timing.arm)
    bound = timing.bandwidth / size if timing.bandwidth and size else limit(record, timing.arm)
    return timing.rate / bound if timing.rate and bound else None


# --- rows ----------------------------------------------------------------------------------------


def rows(report: SpeedReport) -> list[Comparison]:
    """Return every line of the table, those that belong together one after the other."""
    record = report.record
    found = [*_infill(record), *_edit(record), *_candidates(record), *_lengths(record), *_fresh(record)]
    return [*found, *_load_ext(record)]


def _infill(record: Record) -> Iterator[Comparison]:
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
            yield Comparison("decode", arm, _LIMIT, statistics.median(shares[arm]), "tokens/s", samples)
    first = [timing for timing in record.warm_ups if timing.workload == timings[0].workload]
    yield from _against("the first infill of the process, warm-up", first, lambda t: t.seconds, "s")


def _edit(record: Record) -> Iterator[Comparison]:
    for name, timings in _by_workload(record, "edit"):
        what = f"edit: {name}, first token ({timings[0].prompt_tokens} tokens)"
        yield from _against(what, timings, lambda t: t.first, "s")
        before = _samples(timings, lambda t: t.before)
        for arm, samples in _samples(timings, lambda t: t.first).items():
            if arm in before:
                share = statistics.median(samples) / statistics.median(before[arm])
                yield Comparison(what, arm, _ITSELF, share, "s", samples)


def _candidates(record: Record) -> Iterator[Comparison]:
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
                yield Comparison(what, arm, _ONE, median / one[arm], "s", samples)
            if arm != GENERATE and GENERATE in one:
                yield Comparison(what, arm, _ONE_GENERATE, median / one[GENERATE], "s", samples)


def _lengths(record: Record) -> Iterator[Comparison]:
    shortest: dict[str, float] = {}
    for name, timings in _by_workload(record, "lengths"):
        what = f"prefill of {name}"
        yield from _against(what, timings, _per_token, "ms/token")
        for arm, samples in _samples(timings, _per_token).items():
            median = statistics.median(samples)
            if arm in shortest:
                yield Comparison(what, arm, _SHORTEST, median / shortest[arm], "ms/token", samples)
            shortest.setdefault(arm, median)


def _per_token(timing: Timing) -> float:
    return timing.first / timing.prompt_tokens * 1e3


def _fresh(record: Record) -> Iterator[Comparison]:
    kinds: list[tuple[str, Callable[[Fresh], float | None], str]] = [
        ("load, in a process of its own", lambda f: f.load, "s"),
        ("load and first token", lambda f: f.answered, "s"),
        ("peak memory", lambda f: f.peak / 1e6, "MB"),
    ]
    for what, value, unit in kinds:
        yield from _against(what, record.fresh, value, unit)


def _load_ext(record: Record) -> Iterator[Comparison]:
    ours, bare = record.load_ext.get("fim_magic"), record.load_ext.get("bare")
    if ours and bare:
        # No ratio: a bare one takes next to nothing. What is added to it is the goal's.
        yield Comparison(_LOAD_EXT, "fim_magic", _BARE, None, "s", tuple(ours))
        yield Comparison(_LOAD_EXT, _BARE, _BASELINE, None, "s", tuple(bare))


def _by_workload(record: Record, measure: str) -> Iterator[tuple[str, list[Timing]]]:
    timings = [timing for timing in record.timings if timing.measure == measure]
    for name in dict.fromkeys(timing.workload for timing in timings):
        yield name, [timing for timing in timings if timing.workload == name]


def _samples(found: Iterable[Any], value: Callable[[Any], float | None]) -> dict[str, tuple[float, ...]]:
    """Group by arm, in the order in which the arms are always shown."""
    by_arm: dict[str, list[float]] = {}
    for each in found:
        if (sample := value(each)) is not None:
            by_arm.setdefault(each.arm, []).append(sample)
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
) -> Iterator[Comparison]:
    """Compare every arm's median with the baseline's. A ratio above 1 is better than it.

    Args:
        what: For the row.
        found: Timings, or fresh processes.
        value: What of them counts.
        unit: Of `value`.
        baseline: The arm to compare with.
        of: The arms to compare, and no row for the baseline; empty for all, and one.
        more_is_better: Whether the higher value is the better one.
    """
    samples = _samples(found, value)
    base = statistics.median(samples[baseline]) if baseline in samples else None
    for arm, own in samples.items():
        if arm == baseline and not of:
            yield Comparison(what, arm, _BASELINE, None, unit, own)
        elif not of or (arm in of and base is not None):
            median = statistics.median(own)
            ratio = None if not base or not median else median / base if more_is_better else base / median
            yield Comparison(what, arm, baseline if ratio is not None else "", ratio, unit, own)


# --- goals ---------------------------------------------------------------------------------------


def goals(report: SpeedReport) -> list[Goal]:
    """Return every goal, with what was measured."""
    found = rows(report)

    def goal(text: str, bound: float, what: str, against: str, *arms: str, at_least: bool = False) -> Goal:
        fitting = [r for r in found if r.what.startswith(what) and r.against == against and r.arm in arms]
        best = max((row for row in fitting if row.ratio is not None), key=lambda row: row.ratio or 0.0, default=None)
        if best is None:
            return Goal(text, bound, at_least, None)
        return Goal(text, bound, at_least, best.ratio, "x", (best.what, best.arm, best.against))

    # Random weights repeat themselves, so that speculation would win more than it ever does.
    lead = PLAIN if report.random_weights else OURS
    of_limit = "decode without speculation, of the memory limit"
    repeat = _as_share(goal("repeat after an edit, of the first request", 0.05, "edit: the last", _ITSELF, OURS))
    lengths = goal("prefill per token, 8k against 0.5k", 2.0, "prefill of 8000", _SHORTEST, OURS)
    if report.on_gpu:
        return [
            _as_share(goal(of_limit, 0.8, "decode", _LIMIT, PLAIN, at_least=True)),
            goal("decode against generate()", 3.0, "decode", GENERATE, lead, at_least=True),
            goal("8 candidates against one", 1.25, "n = 8", _ONE, OURS),
            repeat,
            lengths,
            _load_ext_goal(report.record),
        ]
    return [
        goal("whole infill against generate()", 2.0, "whole infill", GENERATE, lead, at_least=True),
        _as_share(goal(of_limit, 0.7, "decode", _LIMIT, PLAIN, at_least=True)),
        repeat,
        goal("4 candidates against one", 1.6, "n = 4", _ONE, OURS),
        goal("8 candidates against one plain generate()", 1.5, "n = 8", _ONE_GENERATE, OURS),
        goal("best engine here against llama.cpp", 1.0, "whole infill", LLAMA_CPP, OURS, GGUF, at_least=True),
        _load_ext_goal(report.record),
        lengths,
    ]


def _as_share(goal: Goal) -> Goal:
    measured = None if goal.measured is None else goal.measured * 100
    return replace(goal, bound=goal.bound * 100, measured=measured, unit="%")


def _load_ext_goal(record: Record) -> Goal:
    ours, bare = record.load_ext.get("fim_magic"), record.load_ext.get("bare")
    what, most = "%load_ext beyond a bare extension", 50
    if not ours or not bare:
        return Goal(what, most, False, None, "ms")
    more = (statistics.median(ours) - statistics.median(bare)) * 1e3
    return Goal(what, most, False, more, "ms", (_LOAD_EXT, "fim_magic", _BARE))


# --- the table -----------------------------------------------------------------------------------


def table(report: SpeedReport) -> str:
    """Return the report as text, at most `WIDTH` columns wide, with a line for each goal at its end."""
    about = report.about
    lines = heading("fim-magic bench", about, ("machine", "precision", "command", "rounds"))
    lines += _limits(report.record)
    lines += warned(report.warnings)
    lines += ["", _line(("ratio", "against", "who", "median", "min to max", "goal"))]
    lines += _body(report)
    lines += ["", "Greedy tokens against generate():", *_checks(report.record.checks)]
    for remark in report.remarks:
        lines += ["", *wrapped(remark)]
    lines += ["", "Goals:"]
    lines += [_goal_line(goal) for goal in goals(report)]
    return "\n".join(lines)


def _body(report: SpeedReport) -> Iterator[str]:
    targets = {goal.row: goal for goal in goals(report)}
    shown = ""
    for row in rows(report):
        if row.what != shown:
            shown = row.what
            yield shown
        goal = targets.get((row.what, row.arm, row.against))
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}x"
        unit, scale = ("ms", 1e3) if row.unit == "s" and row.median < 1 else (row.unit, 1.0)
        spread = f"{_number(min(row.samples) * scale)} to {_number(max(row.samples) * scale)}"
        median = f"{_number(row.median * scale)} {unit}"
        yield _line((ratio, row.against, row.arm, median, spread, goal.target if goal else ""))


def _line(cells: tuple[str, str, str, str, str, str]) -> str:
    ratio, against, who, median, spread, goal = cells
    return f"{ratio:>8}  {against:<17} {who:<25} {median:>16} {spread:>18}  {goal:<9}".rstrip()


def _limits(record: Record) -> list[str]:
    lines = []
    if record.bandwidth:
        low, middle, high = (each(record.bandwidth) / 1e9 for each in (min, statistics.median, max))
        lines.append(
            f"  memory:    {middle:.1f} GB/s, from {low:.1f} to {high:.1f} in {len(record.bandwidth)} readings"
        )
    for arm, size in record.bytes_per_token.items():
        bound = limit(record, arm)
        if bound is not None:
            lines.append(f"  limit:     {bound:.1f} tokens/s for {arm}, which reads {size / 1e6:.0f} MB a token")
    return lines


def _checks(checks: Sequence[TokenCheck]) -> Iterator[str]:
    for check in checks:
        mark = "ok" if check.passed else "DIFFERENT" if check.demanded else "different"
        yield f"  {mark:<10} {check.workload:<36} {check.arm:<26} {check}"[:WIDTH]
    if not checks:
        yield "  nothing was compared"


def _goal_line(goal: Goal) -> str:
    measured = "" if goal.measured is None else _amount(goal.measured, goal.unit)
    return f"  {goal.verdict:<14}{goal.what:<50} {measured:>10}   goal {goal.target}"


def _amount(value: float, unit: str) -> str:
    return {"x": f"{value:.2f}x", "%": f"{value:.1f} %", "ms": f"{value:.0f} ms"}[unit]


def _number(value: float) -> str:
    """Three digits, without an exponent."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
