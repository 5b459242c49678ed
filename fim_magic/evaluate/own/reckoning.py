"""From answers to shares, means, differences and intervals. Nothing here asks a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from fim_magic.evaluate.answers.intervals import Interval, bootstrap, difference, mean, wilson
from fim_magic.evaluate.own import OwnTask, arms
from fim_magic.evaluate.own.answering import OwnAnswer
from fim_magic.evaluate.own.closeness import Closeness, echoes

Answers = Mapping[str, Mapping[str, OwnAnswer]]
"""For each arm, the answers by their tasks' names."""

SHARES = (
    "exact",
    "exact_cut",
    "right_beginning",
    "too_long",
    "parses",
    "echoes_prefix",
    "echoes_suffix",
    "echoes_context",
    "echoes",
)
"""What of an answer's closeness is yes or no."""


@dataclass(frozen=True)
class Share:
    """How many of some answers are so."""

    share: float  # from 0.0 to 1.0
    interval: Interval  # of it
    tasks: int  # of how many answers that can be told


@dataclass(frozen=True)
class Measure:
    """What there is to say of one arm on some holes."""

    arm: str  # one of `arms.ARMS`
    facet: str  # "kind" or "language", or "" for all holes
    word: str  # such as "rest"
    tasks: int  # how many were answered
    similarity: float  # the mean over them
    interval: Interval  # of `similarity`
    shares: Mapping[str, Share]  # of each of `SHARES`
    # the exact answers over those that are exact when cut at the true number of statements; None where there is none
    exact_of_cut: float | None
    any_exact: float  # the share whose candidates have an exact one among them
    best_similarity: float  # the mean of the best candidate's similarity
    length: float  # the median of the answers' lengths over the authors'
    first_similarity: float  # the mean similarity of the answers that could be accepted first
    first_exact: float  # the share of exact ones among those
    first_seconds: float  # the median time until there was one
    seconds: float  # the median time until nothing more was to come
    tokens: float  # generated, a hole
    candidates: float  # answers asked for, a hole
    prompt_tokens: float  # of a prompt
    reused_tokens: float  # how many of them the request before had read already
    asked: int  # for how many holes the model was asked, and no other arm's answer taken


@dataclass(frozen=True)
class ClosenessDifference:
    """Two arms on the holes that both answered."""

    first: str  # an arm
    second: str  # the other
    tasks: int  # how many both answered
    similarity: float  # the second's mean similarity less the first's
    interval: Interval  # of it, paired
    exact: float  # the second's share of exact answers less the first's
    exact_interval: Interval  # of it, paired


@dataclass(frozen=True)
class OwnResult:
    """The numbers of one set."""

    name: str  # the set's
    tasks: int  # how many holes there are
    files: int  # in how many files
    whole: int  # how many files the set has
    measures: tuple[Measure, ...]  # first those of all holes, then by kind, then by language where there are several
    differences: tuple[ClosenessDifference, ...]  # between arms
    # the share of holes where what the author wrote stands in the prefix, the suffix and the context as an echo
    # would: so much of it is how people write
    authors: Mapping[str, float]


@dataclass(frozen=True)
class _Scored:
    task: OwnTask
    response: OwnAnswer
    found: tuple[Closeness, ...]  # of each candidate
    offered: Closeness  # of the one that could be accepted first

    @property
    def first(self) -> Closeness:
        return self.found[0]


def reckon(name: str, tasks: Sequence[OwnTask], answers: Answers, *, files: int, whole: int) -> OwnResult:
    """Return what came of a set of `whole` files, whose holes are in so many `files`."""
    scored = {arm: _scored(tasks, responses) for arm, responses in answers.items()}
    return OwnResult(
        name=name,
        tasks=len(tasks),
        files=files,
        whole=whole,
        measures=tuple(_measures(scored)),
        differences=tuple(_differences(scored)),
        authors=_authors(next((own for own in scored.values() if own), {})),
    )


def _scored(tasks: Sequence[OwnTask], responses: Mapping[str, OwnAnswer]) -> dict[str, _Scored]:
    found = {}
    for task in tasks:
        answer = responses.get(task.task_id)
        if answer is not None:
            compared = tuple(task.compare(candidate.middle, answer.shown) for candidate in answer.answer.candidates)
            found[task.task_id] = _Scored(task, answer, compared, task.compare(answer.first, answer.shown))
    return found


def _measures(scored: Mapping[str, Mapping[str, _Scored]]) -> Iterator[Measure]:
    for facet, word_of in _FACETS.items():
        words = list(dict.fromkeys(word_of(item.task) for own in scored.values() for item in own.values()))
        if facet == "language" and len(words) < 2:  # one language is the whole
            continue
        for word in words:
            for arm, own in scored.items():
                there = [item for item in own.values() if word_of(item.task) == word]
                if there:
                    yield _measure(arm, facet, word, there)


_FACETS: Mapping[str, Callable[[OwnTask], str]] = {
    "": lambda _task: "",
    "kind": lambda task: task.kind,
    "language": lambda task: task.language,
}


def _measure(arm: str, facet: str, word: str, scored: Sequence[_Scored]) -> Measure:
    groups = {item.task.task_id: item.task.group for item in scored}
    shares = {name: _share([getattr(item.first, name) for item in scored]) for name in SHARES}
    cut = shares["exact_cut"].share
    answers = [item.response.answer for item in scored]
    return Measure(
        arm=arm,
        facet=facet,
        word=word,
        tasks=len(scored),
        similarity=mean([item.first.similarity for item in scored]),
        interval=bootstrap({item.task.task_id: item.first.similarity for item in scored}, groups),
        shares=shares,
        exact_of_cut=shares["exact"].share / cut if cut else None,
        any_exact=mean([any(one.exact for one in item.found) for item in scored]),
        best_similarity=mean([max(one.similarity for one in item.found) for item in scored]),
        length=median(item.first.length for item in scored),
        first_similarity=mean([item.offered.similarity for item in scored]),
        first_exact=mean([item.offered.exact for item in scored]),
        first_seconds=median(item.response.first_seconds for item in scored),
        seconds=median(item.response.last_seconds for item in scored),
        tokens=mean([answer.tokens for answer in answers]),
        candidates=mean([answer.samples for answer in answers]),
        prompt_tokens=mean([answer.prompt_tokens for answer in answers]),
        reused_tokens=mean([answer.reused_tokens for answer in answers]),
        asked=sum(not answer.same_as for answer in answers),
    )


def _share(values: Sequence[Any]) -> Share:
    known = [bool(value) for value in values if value is not None]
    return Share(mean(known), wilson(sum(known), len(known)), len(known))


def _differences(scored: Mapping[str, Mapping[str, _Scored]]) -> Iterator[ClosenessDifference]:
    for first, second in arms.pairs(list(scored)):
        one, other = scored[first], scored[second]
        groups = {name: item.task.group for name, item in one.items() if name in other}
        if groups:
            similarity, interval = difference(_values(one, "similarity"), _values(other, "similarity"), groups)
            exact, exact_interval = difference(_values(one, "exact"), _values(other, "exact"), groups)
            yield ClosenessDifference(first, second, len(groups), similarity, interval, exact, exact_interval)


def _values(scored: Mapping[str, _Scored], name: str) -> dict[str, float]:
    return {task: float(getattr(item.first, name)) for task, item in scored.items()}


def _authors(scored: Mapping[str, _Scored]) -> dict[str, float]:
    found: dict[str, list[bool]] = {"prefix": [], "suffix": [], "context": []}
    for item in scored.values():
        document = item.task.document
        around = {"prefix": document.prefix, "suffix": document.suffix, "context": item.response.shown}
        for name, text in around.items():
            found[name].append(echoes(document, "", item.task.canonical, text))
    return {name: mean(flags) for name, flags in found.items()}
