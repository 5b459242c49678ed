"""The report of a run on somebody's own files, as text and as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from fim_magic.evaluate.intervals import Interval
from fim_magic.evaluate.own import OwnTask, arms
from fim_magic.evaluate.own.answering import OwnAnswer
from fim_magic.evaluate.own.reckoning import Difference, Measure, SetReport
from fim_magic.evaluate.printing import heading, percent, warned, wrapped
from fim_magic.evaluate.report import TOLD
from fim_magic.review.text import plain_text

_MOST_LINES = 8  # of a text among the examples

_NUMBERS = (
    "exact: the hole holds what its author wrote, blanks at the ends of lines aside. cut: exact when the answer is cut "
    "where it has as many statements as the author's. similar: 1 less the Levenshtein distance over the length of the "
    "longer, the mean over the holes. begins: the first line is the author's, so that accepting by line is right. "
    "long: more than twice as long as the author's text. length: the median of the answer's length over the author's. "
    "any: an exact one is among all candidates. first: as similar, of the answers that could be accepted first."
)
_ECHOES = (
    "echo: a line with at least eight letters, digits or underscores stands word for word in the text before the hole, "
    "behind it, or in what the model was shown beside it, and the author did not write it there. How much of that is "
    "how people write, the line of the authors says: what they wrote in the holes, looked at in the same way."
)
_INTERVALS = (
    "Intervals are of 95 %: of shares Wilson's (1927), which takes holes as independent; of means and differences the "
    "bootstrap's, over the cells that holes are in, or the source files (Davison and Hinkley 1997), with a fixed seed."
)
_TIMES = (
    "first s: the median time from the request until an answer could be accepted; last s: until nothing more was to "
    "come. What a request shares with the one before is not read again, as in a notebook; report.json has "
    "how much that was."
)
METHODS = (_NUMBERS, _ECHOES, _INTERVALS, _TIMES)
"""How the numbers came about, for whoever reads them."""


@dataclass
class Report:
    """A run, with all that is needed to judge and to repeat it.

    Attributes:
        about: Command, date, model, revision, machine, options.
        sets: The numbers.
        warnings: What makes them doubtful.
        examples: Of each set the holes and the answers, to show some of them.
    """

    about: dict[str, Any]
    sets: list[SetReport] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    examples: dict[str, tuple[Sequence[OwnTask], Mapping[str, Mapping[str, OwnAnswer]]]] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return everything but the examples as JSON."""
        told = {
            "about": self.about,
            "sets": [asdict(each) for each in self.sets],
            "warnings": self.warnings,
            "methods": METHODS,
        }
        return json.dumps(told, indent=1, ensure_ascii=False)


def table(report: Report, show: int = 0) -> str:
    """Return the report as text, at most `printing.WIDTH` columns wide.

    Args:
        report: What there is.
        show: How many answers of each set are shown, drawn at random.
    """
    about = report.about
    lines = [*heading("fim-magic eval", about, TOLD), *warned(report.warnings)]
    for each in report.sets:
        lines += ["", *_set(each, about)]
        if show and each.name in report.examples:
            lines += ["", *_examples(*report.examples[each.name], show, about.get("seed", 0))]
    lines += ["", "What is compared:"]
    for arm in dict.fromkeys(measure.arm for each in report.sets for measure in each.measures):
        lines += wrapped(f"  {arm + ':':<12}{arms.WHAT[arm]}", indent=14)
    for text in METHODS:
        lines += ["", *wrapped(text)]
    return "\n".join(lines)


def subset(found: SetReport, about: Mapping[str, Any]) -> str:
    """Say which holes of the set were asked."""
    every, limit = about.get("every", 1), about.get("limit")
    told = f"{found.tasks:,} holes in {found.files:,} of {found.whole:,} files"
    if every > 1:
        told += f", those whose index by name leaves {about['offset']} when divided by {every}"
    told += f", at most {about['per_file']} in a file, seed {about['seed']}"
    told += f", the first {limit:,} of these" if limit is not None else ""
    return told + (", the cells above run" if about.get("run_cells") else ", no cell run")


def _set(found: SetReport, about: Mapping[str, Any]) -> Iterator[str]:
    yield from wrapped(f"{plain_text(found.name)}: {subset(found, about)}", indent=2)
    whole = [measure for measure in found.measures if not measure.facet]
    yield (
        f"{'n':>6}{'exact':>8}  {'95 %':<13}{'cut':>8}{'any':>8}{'similar':>9}  {'95 %':<13}{'first':>6}"
        f"{'begins':>8}  arm"
    )
    for each in whole:
        shares = each.shares
        yield (
            f"{each.tasks:>6,}{percent(shares['exact'].share):>8}  {_between(shares['exact'].interval):<13}"
            f"{percent(shares['exact_cut'].share):>8}{percent(each.any_exact):>8}{each.similarity:>9.3f}  "
            f"{_decimals(each.interval):<13}{each.first_similarity:>6.3f}{percent(shares['right_beginning'].share):>8}"
            f"  {each.arm}"
        )
    yield (
        f"{'long':>8}{'length':>8}{'parses':>9}  echo: {'prefix':>7}{'suffix':>8}{'context':>9}"
        f"{'first s':>9}{'last s':>8}{'tokens':>8}{'of':>5}  arm"
    )
    for each in whole:
        shares = each.shares
        echo = [percent(shares[f"echoes_{place}"].share) for place in ("prefix", "suffix", "context")]
        yield (
            f"{percent(shares['too_long'].share):>8}{each.length:>8.2f}{_parsing(each):>9}  {'':<6}{echo[0]:>7}"
            f"{echo[1]:>8}{echo[2]:>9}{each.first_seconds:>9.2f}{each.seconds:>8.2f}{each.tokens:>8.1f}"
            f"{each.candidates:>5.1f}  {each.arm}"
        )
    authors = [percent(found.authors.get(place, 0.0)) for place in ("prefix", "suffix", "context")]
    yield f"{'':<33}{authors[0]:>7}{authors[1]:>8}{authors[2]:>9}{'':<30}  the authors"
    yield from _differences(found.differences)
    yield from _parts(found.measures)


def _differences(found: Sequence[Difference]) -> Iterator[str]:
    if found:
        yield "  Differences on the same holes, of the mean similarity and of the exact ones in points:"
    for each in found:
        closer = f"{each.interval.low:+.3f} to {each.interval.high:+.3f}"
        exact = f"{each.exact_interval.low * 100:+.1f} to {each.exact_interval.high * 100:+.1f}"
        yield (
            f"    {each.similarity:>+7.3f}  {closer:<18}{each.exact * 100:>+7.1f}  {exact:<16}"
            f"{each.second} less {each.first}"
        )


def _parts(measures: Sequence[Measure]) -> Iterator[str]:
    facet = ""
    for each in measures:
        if not each.facet:
            continue
        if each.facet != facet:
            facet = each.facet
            yield (
                f"  {'by ' + facet:<13}{'n':>5}{'exact':>8}  {'95 %':<11}{'similar':>8}  {'95 %':<12}{'begins':>8}"
                f"{'long':>8}{'echo':>8}  arm"
            )
        shares = each.shares
        yield (
            f"    {plain_text(each.word)[:10]:<11}{each.tasks:>5,}{percent(shares['exact'].share):>8}  "
            f"{_between(shares['exact'].interval):<11}{each.similarity:>8.3f}  {_decimals(each.interval):<12}"
            f"{percent(shares['right_beginning'].share):>8}{percent(shares['too_long'].share):>8}"
            f"{percent(shares['echoes'].share):>8}  {each.arm}"
        )


def _examples(
    tasks: Sequence[OwnTask], answers: Mapping[str, Mapping[str, OwnAnswer]], most: int, seed: int
) -> Iterator[str]:
    """Some answers of the first arm, unchosen: their order is that of a hash."""
    arm, told = next(iter(answers.items()))
    there = [task for task in tasks if task.task_id in told]
    drawn = sorted(there, key=lambda task: hashlib.sha256(f"show {seed} {task.task_id}".encode()).digest())[:most]
    yield f"  {len(drawn)} of the {len(there)} answers of the arm {arm}, drawn at random:"
    for task in drawn:
        candidate = told[task.task_id].answer.candidates[0]
        before = task.document.prefix.rpartition("\n")[2]
        after = task.document.suffix.partition("\n")[0]
        yield ""
        yield f"  {plain_text(task.task_id)}"
        yield from _told("hole", f"{before}█{after}")
        yield from _told("author", task.canonical)
        yield from _told("model", candidate.middle)


def _told(label: str, text: str) -> Iterator[str]:
    lines = text.split("\n")
    if len(lines) > _MOST_LINES:
        lines = [*lines[:_MOST_LINES], f"… and {len(lines) - _MOST_LINES} more"]
    for at, line in enumerate(lines):
        yield f"    {'' if at else label:<8}{plain_text(line)}".rstrip()


def _parsing(measure: Measure) -> str:
    share = measure.shares["parses"]
    return percent(share.share) if share.tasks else ""


def _between(interval: Interval) -> str:
    return f"{interval.low * 100:.1f}–{interval.high * 100:.1f}"


def _decimals(interval: Interval) -> str:
    return f"{interval.low:.3f}–{interval.high:.3f}"
