"""The report of a run on the user's own files, as text and as JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fim_magic.evaluate.answers.intervals import Interval
from fim_magic.evaluate.answers.report import EvaluationReport
from fim_magic.evaluate.own import OwnTask, arms
from fim_magic.evaluate.own.answering import OwnAnswer
from fim_magic.evaluate.own.reckoning import ClosenessDifference, Measure, OwnResult
from fim_magic.evaluate.printing import percent, wrapped
from fim_magic.visible import plain_text

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
"""How the numbers came about."""


@dataclass
class OwnReport(EvaluationReport[OwnResult]):
    """A run on the user's own files; `examples` has the holes and the answers of each set, to show some of them."""

    examples: dict[str, tuple[Sequence[OwnTask], Mapping[str, Mapping[str, OwnAnswer]]]] = field(default_factory=dict)

    def to_json(self) -> str:
        return self.as_json(methods=METHODS)


def table(report: OwnReport, show: int = 0) -> str:
    """Return the report as text, at most `printing.WIDTH` columns wide; of each set, `show` answers drawn at random."""
    blocks: list[Iterator[str]] = []
    for result in report.sets:
        blocks.append(_set(result, report.about))
        if show and result.name in report.examples:
            blocks.append(_examples(*report.examples[result.name], show, report.about.get("seed", 0)))
    compared = {measure.arm: arms.WHAT[measure.arm] for result in report.sets for measure in result.measures}
    return report.as_text(blocks, compared, 12, METHODS)


def _subset(result: OwnResult, about: Mapping[str, Any]) -> str:
    """Say which holes of the set were asked."""
    every, limit = about.get("every", 1), about.get("limit")
    text = f"{result.tasks:,} holes in {result.files:,} of {result.whole:,} files"
    if every > 1:
        text += f", those whose index by name leaves {about['offset']} when divided by {every}"
    text += f", at most {about['per_file']} in a file, seed {about['seed']}"
    text += f", the first {limit:,} of these" if limit is not None else ""
    return text + (", the cells above run" if about.get("run_cells") else ", no cell run")


def _set(result: OwnResult, about: Mapping[str, Any]) -> Iterator[str]:
    yield from wrapped(f"{plain_text(result.name)}: {_subset(result, about)}", indent=2)
    whole = [measure for measure in result.measures if not measure.facet]
    yield (
        f"{'n':>6}{'exact':>8}  {'95 %':<13}{'cut':>8}{'any':>8}{'similar':>9}  {'95 %':<13}{'first':>6}"
        f"{'begins':>8}  arm"
    )
    for measure in whole:
        yield (
            f"{measure.tasks:>6,}{_share(measure, 'exact'):>8}  {_between(measure.shares['exact'].interval):<13}"
            f"{_share(measure, 'exact_cut'):>8}{percent(measure.any_exact):>8}{measure.similarity:>9.3f}  "
            f"{_decimals(measure.interval):<13}{measure.first_similarity:>6.3f}"
            f"{_share(measure, 'right_beginning'):>8}  {measure.arm}"
        )
    yield (
        f"{'long':>8}{'length':>8}{'parses':>9}  echo: {'prefix':>7}{'suffix':>8}{'context':>9}"
        f"{'first s':>9}{'last s':>8}{'tokens':>8}{'of':>5}  arm"
    )
    for measure in whole:
        parses = _share(measure, "parses") if measure.shares["parses"].tasks else ""
        yield (
            f"{_share(measure, 'too_long'):>8}{measure.length:>8.2f}{parses:>9}  {'':<6}"
            f"{_share(measure, 'echoes_prefix'):>7}{_share(measure, 'echoes_suffix'):>8}"
            f"{_share(measure, 'echoes_context'):>9}{measure.first_seconds:>9.2f}{measure.seconds:>8.2f}"
            f"{measure.tokens:>8.1f}{measure.candidates:>5.1f}  {measure.arm}"
        )
    authors = [percent(result.authors.get(place, 0.0)) for place in ("prefix", "suffix", "context")]
    yield f"{'':<33}{authors[0]:>7}{authors[1]:>8}{authors[2]:>9}{'':<30}  the authors"
    yield from _differences(result.differences)
    yield from _breakdowns(result.measures)


def _differences(found: Sequence[ClosenessDifference]) -> Iterator[str]:
    if found:
        yield "  Differences on the same holes, of the mean similarity and of the exact ones in points:"
    for difference in found:
        interval = difference.exact_interval
        closer = f"{difference.interval.low:+.3f} to {difference.interval.high:+.3f}"
        exact = f"{interval.low * 100:+.1f} to {interval.high * 100:+.1f}"
        yield (
            f"    {difference.similarity:>+7.3f}  {closer:<18}{difference.exact * 100:>+7.1f}  {exact:<16}"
            f"{difference.second} less {difference.first}"
        )


def _breakdowns(measures: Sequence[Measure]) -> Iterator[str]:
    facet = ""
    for measure in measures:
        if not measure.facet:
            continue
        if measure.facet != facet:
            facet = measure.facet
            yield (
                f"  {'by ' + facet:<13}{'n':>5}{'exact':>8}  {'95 %':<11}{'similar':>8}  {'95 %':<12}{'begins':>8}"
                f"{'long':>8}{'echo':>8}  arm"
            )
        yield (
            f"    {plain_text(measure.word)[:10]:<11}{measure.tasks:>5,}{_share(measure, 'exact'):>8}  "
            f"{_between(measure.shares['exact'].interval):<11}{measure.similarity:>8.3f}  "
            f"{_decimals(measure.interval):<12}{_share(measure, 'right_beginning'):>8}"
            f"{_share(measure, 'too_long'):>8}{_share(measure, 'echoes'):>8}  {measure.arm}"
        )


def _examples(
    tasks: Sequence[OwnTask], answers: Mapping[str, Mapping[str, OwnAnswer]], most: int, seed: int
) -> Iterator[str]:
    """Some answers of the first arm, unchosen: their order is that of a hash."""
    arm, of_arm = next(iter(answers.items()))
    there = [task for task in tasks if task.task_id in of_arm]
    shown = sorted(there, key=lambda task: hashlib.sha256(f"show {seed} {task.task_id}".encode()).digest())[:most]
    yield f"  {len(shown)} of the {len(there)} answers of the arm {arm}, drawn at random:"
    for task in shown:
        candidate = of_arm[task.task_id].answer.candidates[0]
        before = task.document.prefix.rpartition("\n")[2]
        after = task.document.suffix.partition("\n")[0]
        yield ""
        yield f"  {plain_text(task.task_id)}"
        yield from _example("hole", f"{before}█{after}")
        yield from _example("author", task.canonical)
        yield from _example("model", candidate.middle)


def _example(label: str, text: str) -> Iterator[str]:
    lines = text.split("\n")
    if len(lines) > _MOST_LINES:
        lines = [*lines[:_MOST_LINES], f"… and {len(lines) - _MOST_LINES} more"]
    for index, line in enumerate(lines):
        yield f"    {'' if index else label:<8}{plain_text(line)}".rstrip()


def _share(measure: Measure, name: str) -> str:
    return percent(measure.shares[name].share)


def _between(interval: Interval) -> str:
    return f"{interval.low * 100:.1f}–{interval.high * 100:.1f}"


def _decimals(interval: Interval) -> str:
    return f"{interval.low:.3f}–{interval.high:.3f}"
