"""The report of an evaluation, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeVar

from fim_magic.evaluate.answers.reckoning import ArmResult, BenchmarkResult, Breakdown, Likelihood, PassDifference
from fim_magic.evaluate.printing import heading, percent, warned, wrapped

_LABELS = ("revision", "machine", "place", "command", "date", "options")  # of the head
_MOST_BREAKDOWN_ARMS = 7  # columns
_SAMPLED = ("random", "chosen", "checked", "any")  # arms of several candidates

_NUMBERS = (
    "pass@1: the share of tasks whose program runs without an error. Its 95 % interval is Wilson's (1927), which takes "
    "tasks as independent; where a task counts in part, and for all differences, it is the bootstrap's, paired, over "
    "the functions that holes are in (Davison and Hinkley 1997), with a fixed seed. p: McNemar's exact test (1947). "
    "pass@k: the unbiased estimate of Chen et al. (arXiv 2107.03374). exact: the hole holds what stood there, white "
    "space at its end aside. Nats: of the natural logarithm of the probability that it has after "
    "the arm's prompt; 0 is certain."
)
_TIMES = (
    "Times: candidates of one task come in one batch, tasks one after another (or at once, where the options say so), "
    "while candidates before them run on other threads. What a request shares with the one before is not read again: "
    "the second and later arms of a task have most of their prompt read for them. Compare tokens rather than seconds."
)
METHODS = (_NUMBERS, _TIMES)
"""How the numbers came about."""

_Result = TypeVar("_Result")


@dataclass
class EvaluationReport(Generic[_Result]):
    """A run, with all that is needed to judge and to repeat it."""

    about: dict[str, Any]  # command, date, model, revision, machine, options
    sets: list[_Result] = field(default_factory=list)  # the numbers of each set
    warnings: list[str] = field(default_factory=list)  # what makes them doubtful

    def as_json(self, **more: Any) -> str:
        facts = {"about": self.about, "sets": [asdict(result) for result in self.sets], "warnings": self.warnings}  # type: ignore[call-overload]
        return json.dumps(facts | more, indent=1, ensure_ascii=False)

    def as_text(
        self, blocks: Iterable[Iterable[str]], arms: Mapping[str, str], margin: int, texts: Sequence[str]
    ) -> str:
        """Return the report: its head, the lines of each set, what each arm is, and paragraphs."""
        lines = [*heading("fim-magic eval", self.about, _LABELS), *warned(self.warnings)]
        for block in blocks:
            lines += ["", *block]
        lines += ["", "What is compared:"]
        for name, meaning in arms.items():
            lines += wrapped(f"  {name + ':':<{margin}}{meaning}", indent=margin + 2)
        for text in texts:
            lines += ["", *wrapped(text)]
        return "\n".join(lines)


@dataclass
class BenchmarkReport(EvaluationReport[BenchmarkResult]):
    """A run on benchmarks; `remarks` is what else a reader should know."""

    remarks: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        return self.as_json(remarks=self.remarks, methods=METHODS)


def table(report: BenchmarkReport) -> str:
    """Return the report as text, at most `printing.WIDTH` columns wide."""
    about = report.about
    arms = {shown_name(arm.name, about): arm.what for result in report.sets for arm in result.arms}
    blocks = (_set(result, about) for result in report.sets)
    return report.as_text(blocks, arms, 20, (*METHODS, *report.remarks))


def shown_name(arm: str, about: Mapping[str, Any]) -> str:
    """Return what an arm is called in a report: one of several candidates with their number."""
    return f"n={about.get('candidates')} {arm}" if arm in _SAMPLED else arm


def subset(result: BenchmarkResult, about: Mapping[str, Any]) -> str:
    """Say which tasks of the set were asked."""
    every, offset, limit = about.get("every", 1), about.get("offset", 0), about.get("limit")
    text = f"{result.asked:,} of {result.whole:,} tasks"
    if every > 1:
        text += f", those whose index leaves {offset} when divided by {every}"
    elif offset:
        text += f", from index {offset}"
    return text + (f", the first {limit:,} of these" if limit is not None else "")


def _set(result: BenchmarkResult, about: Mapping[str, Any]) -> Iterator[str]:
    digest = f", sha256 {result.sha256[:16]}" if result.sha256 else ""
    yield from wrapped(f"{result.name}: {subset(result, about)}; {result.source}{digest}", indent=2)
    yield _line("pass@1", "95 %", "exact", "tasks", "tokens", "seconds", "arm")
    for arm in result.arms:
        yield _arm(arm, shown_name(arm.name, about))
    for number in result.published:
        which = " over the whole random-span set" if result.name == "random-span-light" else ""
        order = f"{number.order}, " if number.order else ""
        yield f"{number.percent:>6.1f} %  published{which} ({order}{number.source})"
    if result.arms and not result.published:
        yield "  No number for this model on this set is known to have been published."
    if result.pass_at:
        shares = ", ".join(f"{k}: {percent(share)}" for k, share in result.pass_at.items())
        yield from wrapped(f"  pass@k of the sampled candidates: {shares}", indent=2)
    if result.differences:
        yield "  Differences, in points, on the same tasks:"
        for difference in result.differences:
            yield _difference(difference, about)
    yield from _likelihoods(result.likelihoods)
    if result.trimming:
        yield f"  What the rules did, against {shown_name(result.untrimmed, about)}:"
        for rule in result.trimming:
            fired = f"{rule.rule:<16}{rule.fired:>5} tasks, {percent(rule.share):>7}"
            yield f"    {fired}: mended {rule.mended}, broke {rule.broke}"
    yield from _breakdowns(result.parts, [arm.name for arm in result.arms])


def _arm(arm: ArmResult, name: str) -> str:
    exact = "" if arm.exact is None else percent(arm.exact)
    between = f"{arm.interval.low * 100:.1f} to {arm.interval.high * 100:.1f}"
    return _line(percent(arm.share), between, exact, f"{arm.tasks:,}", f"{arm.tokens:.1f}", f"{arm.seconds:.2f}", name)


def _line(share: str, between: str, exact: str, tasks: str, tokens: str, seconds: str, arm: str) -> str:
    return f"{share:>8}  {between:<15}{exact:>8}{tasks:>7}{tokens:>8}{seconds:>9}  {arm}"


def _difference(found: PassDifference, about: Mapping[str, Any]) -> str:
    between = f"{found.interval.low * 100:+.1f} to {found.interval.high * 100:+.1f}"
    exact = "" if found.p is None else f"{found.gained} gained, {found.lost} lost, p {found.p:.2g}"
    arms = f"{shown_name(found.second, about)} less {shown_name(found.first, about)}"
    return f"    {found.difference * 100:>+6.1f}  {between:<17}{exact:<34}  {arms}"


def _likelihoods(found: Sequence[Likelihood]) -> Iterator[str]:
    if found:
        yield "  How probable what stood in the holes is, in nats a task, and the gain over trimmed:"
    for arm in found:
        gained = ""
        if arm.interval is not None:
            gained = f"{arm.gained:+.1f}  {arm.interval.low:+.1f} to {arm.interval.high:+.1f}"
        yield f"    {arm.nats:>+6.1f}  {gained:<51}  {arm.name}"


def _breakdowns(parts: Sequence[Breakdown], arms: Sequence[str]) -> Iterator[str]:
    shown = [arm for arm in arms if arm not in ("random", "any")][:_MOST_BREAKDOWN_ARMS]
    facet = ""
    for part in parts:
        if part.facet != facet:
            facet = part.facet
            heads = "".join(f"{arm.replace('context ', '+'):>9}" for arm in shown)
            yield f"  {'by ' + facet:<26}{'tasks':>6}{heads}"
        cells = "".join(f"{_passed(part, arm):>9}" for arm in shown)
        yield f"    {part.word[:24]:<24}{part.tasks:>6}{cells}"


def _passed(part: Breakdown, arm: str) -> str:
    passed, tasks = part.passed.get(arm, (0.0, 0))
    return percent(passed / tasks) if tasks else ""
