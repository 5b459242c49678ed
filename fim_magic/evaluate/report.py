"""The report of an evaluation, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from fim_magic.evaluate.printing import heading, percent, warned, wrapped
from fim_magic.evaluate.reckoning import Arm, Difference, Likelihood, Part, SetReport

TOLD = ("revision", "machine", "place", "command", "date", "options")
"""What the head of a report tells of its run."""

_MOST_PARTS_ARMS = 7  # columns of a breakdown

_NUMBERS = (
    "pass@1: the share of tasks whose program runs without an error. Its 95 % interval is Wilson's (1927), which takes "
    "tasks as independent; where a task counts in part, and for all differences, it is the bootstrap's, paired, over "
    "the functions that holes are in (Davison and Hinkley 1997), with a fixed seed. p: McNemar's exact test (1947). "
    "pass@k: the unbiased estimate of Chen et al. (arXiv 2107.03374). exact: the hole holds what stood there, white "
    "space at its end aside. Nats: of the natural logarithm of the probability that it has after "
    "the arm's prompt; 0 is certain."
)
_TIMES = (
    "Times: candidates of one task come in one batch, tasks one after another, while candidates before them run on "
    "other threads. What a request shares with the one before is not read again: the second and later arms of a task "
    "have most of their prompt read for them. Compare tokens rather than seconds."
)
METHODS = (_NUMBERS, _TIMES)
"""How the numbers came about, for whoever reads them."""


@dataclass
class Report:
    """A run, with all that is needed to judge and to repeat it.

    Attributes:
        about: Command, date, model, revision, machine, options.
        sets: The numbers.
        warnings: What makes them doubtful.
        remarks: What else a reader should know.
    """

    about: dict[str, Any]
    sets: list[SetReport] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """Return everything as JSON."""
        return json.dumps(asdict(self) | {"methods": METHODS}, indent=1, ensure_ascii=False)


def table(report: Report) -> str:
    """Return the report as text, at most `printing.WIDTH` columns wide."""
    about = report.about
    lines = [*heading("fim-magic eval", about, TOLD), *warned(report.warnings)]
    for each in report.sets:
        lines += ["", *_set(each, about)]
    lines += ["", "What is compared:"]
    for name, what in {arm.name: arm.what for each in report.sets for arm in each.arms}.items():
        lines += wrapped(f"  {_shown(name, about) + ':':<20}{what}", indent=22)
    for text in (*METHODS, *report.remarks):
        lines += ["", *wrapped(text)]
    return "\n".join(lines)


def subset(found: SetReport, about: dict[str, Any]) -> str:
    """Say which tasks of the set were asked."""
    every, offset, limit = about.get("every", 1), about.get("offset", 0), about.get("limit")
    told = f"{found.asked:,} of {found.whole:,} tasks"
    if every > 1:
        told += f", those whose index leaves {offset} when divided by {every}"
    elif offset:
        told += f", from index {offset}"
    return told + (f", the first {limit:,} of these" if limit is not None else "")


def _set(found: SetReport, about: dict[str, Any]) -> Iterator[str]:
    digest = f", sha256 {found.sha256[:16]}" if found.sha256 else ""
    yield from wrapped(f"{found.name}: {subset(found, about)}; {found.source}{digest}", indent=2)
    yield _line(("pass@1", "95 %", "exact", "tasks", "tokens", "seconds", "arm"))
    for arm in found.arms:
        yield _arm(arm, _shown(arm.name, about))
    for each in found.published:
        which = " over the whole random-span set" if found.name == "random-span-light" else ""
        order = f"{each.order}, " if each.order else ""
        yield f"{each.percent:>6.1f} %  published{which} ({order}{each.source})"
    if found.arms and not found.published:
        yield "  No number for this model on this set is known to have been published."
    if found.pass_at:
        told = ", ".join(f"{k}: {percent(share)}" for k, share in found.pass_at.items())
        yield from wrapped(f"  pass@k of the sampled candidates: {told}", indent=2)
    if found.differences:
        yield "  Differences, in points, on the same tasks:"
        for difference in found.differences:
            yield _difference(difference, about)
    yield from _likelihoods(found.likelihoods)
    if found.trimming:
        yield f"  What the rules did, against {_shown(found.untrimmed, about)}:"
        for rule in found.trimming:
            fired = f"{rule.rule:<16}{rule.fired:>5} tasks, {percent(rule.share):>7}"
            yield f"    {fired}: mended {rule.mended}, broke {rule.broke}"
    yield from _parts(found.parts, [arm.name for arm in found.arms])


def _arm(arm: Arm, name: str) -> str:
    exact = "" if arm.exact is None else percent(arm.exact)
    between = f"{arm.interval.low * 100:.1f} to {arm.interval.high * 100:.1f}"
    figures = (f"{arm.tasks:,}", f"{arm.tokens:.1f}", f"{arm.seconds:.2f}")
    return _line((percent(arm.share), between, exact, *figures, name))


def _line(cells: tuple[str, str, str, str, str, str, str]) -> str:
    share, between, exact, tasks, tokens, seconds, arm = cells
    return f"{share:>8}  {between:<15}{exact:>8}{tasks:>7}{tokens:>8}{seconds:>9}  {arm}"


def _difference(found: Difference, about: dict[str, Any]) -> str:
    between = f"{found.interval.low * 100:+.1f} to {found.interval.high * 100:+.1f}"
    told = f"    {found.difference * 100:>+6.1f}  {between:<17}"
    exact = "" if found.p is None else f"{found.gained} gained, {found.lost} lost, p {found.p:.2g}"
    return f"{told}{exact:<34}  {_shown(found.second, about)} less {_shown(found.first, about)}"


def _likelihoods(found: Sequence[Likelihood]) -> Iterator[str]:
    if found:
        yield "  How probable what stood in the holes is, in nats a task, and the gain over trimmed:"
    for each in found:
        gained = ""
        if each.interval is not None:
            gained = f"{each.gained:+.1f}  {each.interval.low:+.1f} to {each.interval.high:+.1f}"
        yield f"    {each.nats:>+6.1f}  {gained:<51}  {each.name}"


def _parts(parts: Sequence[Part], arms: Sequence[str]) -> Iterator[str]:
    if not parts:
        return
    shown = [arm for arm in arms if arm not in ("random", "any")][:_MOST_PARTS_ARMS]
    facet = ""
    for part in parts:
        if part.facet != facet:
            facet = part.facet
            heads = "".join(f"{arm.replace('context ', '+'):>9}" for arm in shown)
            yield f"  {'by ' + facet:<26}{'tasks':>6}{heads}"
        cells = "".join(f"{_of(part, arm):>9}" for arm in shown)
        yield f"    {part.word[:24]:<24}{part.tasks:>6}{cells}"


def _of(part: Part, arm: str) -> str:
    passed, tasks = part.passed.get(arm, (0.0, 0))
    return percent(passed / tasks) if tasks else ""


def _shown(name: str, about: dict[str, Any]) -> str:
    """Call the arms of several candidates by their number."""
    n = about.get("candidates")
    return f"n={n} {name}" if name in ("random", "chosen", "checked", "any") else name
