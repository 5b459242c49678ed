"""From answers and verdicts to shares, differences and intervals. Nothing here asks a model or runs a program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fim_magic.evaluate.answers.answer import StoredAnswer
from fim_magic.evaluate.answers.arms import HEALED, MANY, RAW, REQUESTS, TRIMMED, WHAT, pairs
from fim_magic.evaluate.answers.benchmarks import Benchmark, Task, canonical, facets, group
from fim_magic.evaluate.answers.intervals import Interval, bootstrap, difference, mcnemar, mean, pass_at, wilson
from fim_magic.evaluate.answers.published import Published, published

Answers = Mapping[str, Mapping[str, StoredAnswer]]
"""For each kind of request, the answers by their tasks' names."""

Passed = Callable[[Task, str], "bool | None"]
First = Callable[[StoredAnswer, bool], "str | None"]


@dataclass(frozen=True)
class TaskScore:
    """What one task is worth in one arm."""

    value: float  # from 0.0 to 1.0: whether it passes, or the chance that it does
    exact: float | None  # likewise, whether the hole holds what stood there; None where that is not known
    answer: StoredAnswer  # where it came from


@dataclass(frozen=True)
class ArmResult:
    """One line of the table."""

    name: str  # one of `arms.WHAT`
    what: str  # in words
    tasks: int  # how many were answered and run
    share: float  # pass@1, from 0.0 to 1.0
    interval: Interval  # of `share`
    exact: float | None  # the share of exact matches, white space at the end aside; None where nothing is known of that
    tokens: float  # generated, a task
    seconds: float  # a task
    prompt_tokens: float  # of a task's prompt
    reused_tokens: float  # how many of them the request before had read already, on average
    answers: int  # how often each candidate's request was made, rather than taken from one with the same prompt


@dataclass(frozen=True)
class PassDifference:
    """Two arms on the tasks that both answered."""

    first: str  # an arm
    second: str  # the other
    tasks: int  # how many both answered
    difference: float  # the second's pass@1 less the first's
    interval: Interval  # of `difference`, paired
    gained: int | None  # tasks that only the second solves; None where an arm has no yes or no
    lost: int | None  # tasks that only the first solves
    p: float | None  # of McNemar's exact test


@dataclass(frozen=True)
class Likelihood:
    """How probable what stood in the holes is to the model, with what one arm shows it."""

    name: str  # the arm
    tasks: int  # how many of them were asked, in this arm and in `trimmed`
    nats: float  # the natural log-probability, a task
    gained: float  # by how much that is more than in `trimmed`
    interval: Interval | None  # of `gained`, paired; None for `trimmed` itself


@dataclass(frozen=True)
class RuleEffect:
    """What a rule did."""

    rule: str  # its name, or "no rule"
    fired: int  # in how many tasks
    share: float  # of the tasks
    mended: int  # how many of them pass trimmed, and do not without
    broke: int  # how many pass without, and do not trimmed


@dataclass(frozen=True)
class Breakdown:
    """The tasks of a set that say the same of themselves."""

    facet: str  # "topic" or "needs"
    word: str  # what they say
    tasks: int  # how many there are
    passed: Mapping[str, tuple[float, int]]  # for each arm, how many of how many it solves


@dataclass(frozen=True)
class BenchmarkResult:
    """A set's numbers."""

    name: str  # of the set
    source: str  # the file, or "built in"
    sha256: str  # of the file
    asked: int  # how many tasks were to be asked
    whole: int  # how many the set has
    arms: Sequence[ArmResult] = ()  # the table
    differences: Sequence[PassDifference] = ()  # between arms
    likelihoods: Sequence[Likelihood] = ()  # of what stood in the holes, where arms differ in what they show
    untrimmed: str = ""  # which arm the rules are compared with, or ""
    trimming: Sequence[RuleEffect] = ()  # by rule
    pass_at: Mapping[int, float] = field(default_factory=dict)  # pass@k of the sampled candidates, for each k
    parts: Sequence[Breakdown] = ()  # by topic and the like
    published: Sequence[Published] = ()  # what others have published for this model


ArmScores = dict[str, dict[str, TaskScore]]


def reckon(
    benchmark: Benchmark, answers: Answers, passed: Passed, first: First, *, model: str, sampled: bool
) -> BenchmarkResult:
    """Return a set's numbers. What has not been answered, or not been run, does not count.

    Args:
        benchmark: The tasks that were to be asked.
        answers: What there is.
        passed: Whether a task is solved by a middle.
        first: Which candidate's middle of an answer would be offered first, with or without checks.
        model: The catalogue's name.
        sampled: Whether several candidates were sampled, without which pass@k is no estimate.
    """
    scores = _scores(benchmark.tasks, answers, passed, first)
    groups = {task.task_id: group(task) for task in benchmark.tasks}
    untrimmed = next((name for name in (HEALED, RAW) if name in scores), "") if TRIMMED in scores else ""
    return BenchmarkResult(
        name=benchmark.name,
        source=benchmark.source,
        sha256=benchmark.sha256,
        asked=len(benchmark.tasks),
        whole=benchmark.whole,
        arms=[_arm(name, own, groups) for name, own in scores.items()],
        differences=[
            _difference(pair.first, pair.second, scores, groups)
            for pair in pairs(benchmark)
            if pair.first in scores and pair.second in scores and scores[pair.first].keys() & scores[pair.second]
        ],
        likelihoods=_likelihoods(scores, groups),
        untrimmed=untrimmed,
        trimming=_trimming(scores[untrimmed], scores[TRIMMED]) if untrimmed else (),
        pass_at=_pass_at(benchmark.tasks, answers.get(MANY, {}), passed) if sampled else {},
        parts=_parts(benchmark.tasks, scores),
        published=published(model, benchmark.name),
    )


# --- scores --------------------------------------------------------------------------------------


def _scores(tasks: Sequence[Task], answers: Answers, passed: Passed, first: First) -> ArmScores:
    """Score every arm that has any answer, in the order of the table."""
    found: ArmScores = {name: {} for name in WHAT}
    for task in tasks:
        for kind in REQUESTS:
            answer = answers.get(kind, {}).get(task.task_id)
            if answer is not None and kind != MANY:
                _add(found[kind], task, answer, answer.candidates[0].middle, passed)
        many = answers.get(MANY, {}).get(task.task_id)
        if many is None:
            continue
        for name, checked in (("chosen", False), ("checked", True)):
            middle = first(many, checked)
            if middle is not None:
                _add(found[name], task, many, middle, passed)
        _add_samples(found, task, many, passed)
    return {name: own for name, own in found.items() if own}


def _add(own: dict[str, TaskScore], task: Task, answer: StoredAnswer, middle: str, passed: Passed) -> None:
    verdict = passed(task, middle)
    if verdict is not None:
        own[task.task_id] = TaskScore(float(verdict), _exact(task, middle), answer)


def _add_samples(found: ArmScores, task: Task, answer: StoredAnswer, passed: Passed) -> None:
    right = _right(task, answer, passed)
    if right is None:
        return
    matches = [(_exact(task, candidate.middle), candidate.same) for candidate in answer.candidates]
    known = [(match, same) for match, same in matches if match is not None]
    exact = sum(match * same for match, same in known) / answer.samples if known else None
    found["random"][task.task_id] = TaskScore(right / answer.samples, exact, answer)
    any_exact = max(match for match, _ in known) if known else None
    found["any"][task.task_id] = TaskScore(float(right > 0), any_exact, answer)


def _right(task: Task, answer: StoredAnswer, passed: Passed) -> int | None:
    """How many samples pass; those that say the same were made into one, and count as many."""
    right = 0
    for candidate in answer.candidates:
        verdict = passed(task, candidate.middle)
        if verdict is None:
            return None
        right += candidate.same * verdict
    return right


def _exact(task: Task, middle: str) -> float | None:
    wanted = canonical(task)
    return None if wanted is None else float(middle.rstrip() == wanted.rstrip())


# --- what comes of them --------------------------------------------------------------------------


def _arm(name: str, own: Mapping[str, TaskScore], groups: Mapping[str, str]) -> ArmResult:
    scores = list(own.values())
    values = {task: score.value for task, score in own.items()}
    exact = [score.exact for score in scores if score.exact is not None]
    return ArmResult(
        name=name,
        what=WHAT[name],
        tasks=len(scores),
        share=mean([*values.values()]),
        interval=_interval(values, groups),
        exact=mean(exact) if exact else None,
        tokens=mean([score.answer.tokens for score in scores]),
        seconds=mean([score.answer.seconds for score in scores]),
        prompt_tokens=mean([score.answer.prompt_tokens for score in scores]),
        reused_tokens=mean([score.answer.reused_tokens for score in scores]),
        answers=sum(not score.answer.same_as for score in scores),
    )


def _interval(values: Mapping[str, float], groups: Mapping[str, str]) -> Interval:
    if _yes_or_no(values):
        return wilson(round(sum(values.values())), len(values))
    return bootstrap(values, groups)


def _yes_or_no(values: Mapping[str, float]) -> bool:
    return all(value in (0.0, 1.0) for value in values.values())


def _difference(first: str, second: str, scores: ArmScores, groups: Mapping[str, str]) -> PassDifference:
    both = [task for task in scores[first] if task in scores[second]]
    one = {task: scores[first][task].value for task in both}
    other = {task: scores[second][task].value for task in both}
    mean_change, interval = difference(one, other, groups)
    decided = _yes_or_no(one) and _yes_or_no(other)
    gained = sum(other[task] > one[task] for task in both)
    lost = sum(other[task] < one[task] for task in both)
    return PassDifference(
        first=first,
        second=second,
        tasks=len(both),
        difference=mean_change,
        interval=interval,
        gained=gained if decided else None,
        lost=lost if decided else None,
        p=mcnemar(gained, lost) if decided else None,
    )


def _likelihoods(scores: ArmScores, groups: Mapping[str, str]) -> list[Likelihood]:
    found = []
    without = _logprobs(scores.get(TRIMMED, {}))
    for name, own in scores.items():
        values = {task: value for task, value in _logprobs(own).items() if task in without}
        gained, interval = difference(without, values, groups)
        if values:
            nats = mean([*values.values()])
            found.append(Likelihood(name, len(values), nats, gained, None if name == TRIMMED else interval))
    return found


def _logprobs(own: Mapping[str, TaskScore]) -> dict[str, float]:
    logprobs = {task: score.answer.canonical_logprob for task, score in own.items()}
    return {task: value for task, value in logprobs.items() if value is not None}


def _trimming(without: Mapping[str, TaskScore], trimmed: Mapping[str, TaskScore]) -> list[RuleEffect]:
    both = [task for task in trimmed if task in without]
    fired: Counter[str] = Counter()
    mended: Counter[str] = Counter()
    broke: Counter[str] = Counter()
    for task in both:
        cut = trimmed[task].answer.candidates[0].cut
        rule = "no rule" if cut is None else cut.rule
        fired[rule] += 1
        mended[rule] += trimmed[task].value > without[task].value
        broke[rule] += trimmed[task].value < without[task].value
    return [
        RuleEffect(rule, times, times / len(both), mended[rule], broke[rule]) for rule, times in fired.most_common()
    ]


def _pass_at(tasks: Sequence[Task], answers: Mapping[str, StoredAnswer], passed: Passed) -> dict[int, float]:
    counted = []
    for task in tasks:
        answer = answers.get(task.task_id)
        right = None if answer is None else _right(task, answer, passed)
        if answer is not None and right is not None:
            counted.append((answer.samples, right))
    most = min((samples for samples, _ in counted), default=0)
    return {k: mean([pass_at(k, samples, right) for samples, right in counted]) for k in range(1, most + 1)}


def _parts(tasks: Sequence[Task], scores: ArmScores) -> list[Breakdown]:
    members: dict[tuple[str, str], list[str]] = {}
    for task in tasks:
        for facet, words in facets(task).items():
            for word in words:
                members.setdefault((facet, word), []).append(task.task_id)
    found = []
    for (facet, word), ids in sorted(members.items()):
        passed = {}
        for name, own in scores.items():
            values = [own[name].value for name in ids if name in own]
            if values:
                passed[name] = (sum(values), len(values))
        found.append(Breakdown(facet, word, len(ids), passed))
    return found
