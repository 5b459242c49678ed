"""Choosing among several candidates: which is offered first, and why.

A failing candidate is never hidden, only placed later. What the user has asked to be checked decides first. Then what
ended comes before what was cut (arXiv 2207.14255, appendix H.3, on best-of-n with a stop token), then what parses and
knows its names, then what the model finds probable together with what follows the hole.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fim_magic.branching import read_tokens
from fim_magic.candidate import Candidate, Check, Ending, known_of
from fim_magic.cell_text import UNREADABLE
from fim_magic.quiet import without_warnings

_SUFFIX_COUNTS = 16  # tokens of what follows count as much as a whole answer
_A_COPY_COSTS = 4.0
"""Nats that what is copied from above, or from what the model was shown, has to be more probable by.

More or less of them choose fewer right answers, or more copies: `.github/DECISIONS.md` has the figures.
"""

_UNFINISHED = (Ending.LENGTH, Ending.INTERRUPTED, Ending.BROKEN_OFF)


def merged(candidates: Sequence[Candidate], rebuild: Callable[[str], str]) -> tuple[Candidate, ...]:
    """Return one candidate for all that mean the same to Python; blanks and comments make no difference.

    Args:
        candidates: Those of one request. The best of those that mean the same is kept.
        rebuild: Puts a middle into the text.
    """
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(_meaning(rebuild(candidate.middle)), []).append(candidate)
    return tuple(
        replace(max(group, key=_standing), same=sum(candidate.same for candidate in group)) for group in groups.values()
    )


def ranked(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the candidates, the best first, each with the reason for its place if there are several."""
    ordered = sorted(candidates, key=_standing, reverse=True)
    if len(ordered) < 2:  # nothing to choose from
        return tuple(ordered)
    return tuple(replace(candidate, reason=_reason(candidate, ordered)) for candidate in ordered)


def contenders(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return those of several candidates among which only their probability decides; none of the others can be best."""
    standings = [_standing(candidate).without_probability for candidate in candidates]
    best = max(standings, default=None)
    return tuple(candidate for candidate, standing in zip(candidates, standings, strict=True) if standing == best)


@dataclass(frozen=True, order=True)
class _Standing:
    """What speaks for a candidate; the first difference decides."""

    tests_passed: float
    ended: bool
    sound: int
    likely: float

    @property
    def without_probability(self) -> tuple[float, bool, int]:
        return self.tests_passed, self.ended, self.sound


def _standing(candidate: Candidate) -> _Standing:
    tests = [check for check in candidate.checks if check.name not in _SOUND]
    static = [check for check in candidate.checks if check.name in _SOUND]
    return _Standing(
        tests_passed=sum(1.0 if check.passed else check.share for check in tests),
        ended=candidate.ending not in _UNFINISHED,
        sound=-sum(check.passed is False for check in static),
        # What is copied from above may be right; what says something new is so more often.
        likely=_likely(candidate) - _A_COPY_COSTS * any(map(_is_doubted_as_copy, static)),
    )


def _is_doubted_as_copy(check: Check) -> bool:
    return check.name == "original" and check.passed is None


def _likely(candidate: Candidate) -> float:
    """The log-probability of a candidate with what follows the hole, by Bayes' rule (`ranking` says why).

    Where the model infills, that is the probability of the answer's tokens times that of what follows. An answer of
    many tokens has to make what follows so much more probable: it is not longer than it must be. Where it reads from
    left to right, it does not know what it is to end at, and means over tokens choose better. An answer of no token is
    as probable as its one stop token, of which nothing is known.
    """
    mean = candidate.mean_logprob
    if mean is None:
        return -math.inf
    following = candidate.suffix_logprob or 0.0
    if candidate.read_logprob is None:
        return sum(known_of(candidate.logprobs[: len(read_tokens(candidate))])) + following
    return mean + candidate.read_logprob + following / _SUFFIX_COUNTS


def _reason(candidate: Candidate, ordered: Sequence[Candidate]) -> str:
    """Say what put a candidate before the next one, or after the one before it."""
    other = ordered[1 if candidate is ordered[0] else 0]
    standing, its_standing = _standing(candidate), _standing(other)
    for name, (better, worse) in _WORDS.items():
        mine, its = getattr(standing, name), getattr(its_standing, name)
        if mine == its:
            continue
        if name != "sound":
            return better if mine > its else worse
        return _SOUND[_failed(other, candidate)][0] if mine > its else _SOUND[_failed(candidate, other)][1]
    return "equally probable"


def _failed(candidate: Candidate, better: Candidate) -> str:
    """Return the first check of our own that a candidate failed and a better one did not."""
    failed, also_failed = (
        [check.name for check in one.checks if check.passed is False and check.name in _SOUND]
        for one in (candidate, better)
    )
    return next((name for name in failed if name not in also_failed), failed[0])  # it may fail one more often


_WORDS = {
    "tests_passed": ("passes more of your checks", "passes fewer of your checks"),
    "ended": ("it is finished", "it is not finished"),
    "sound": ("", ""),  # as `_SOUND` says
    "likely": ("the most probable with what follows", "less probable with what follows"),
}
_SOUND = {
    "parses": ("parses", "does not parse"),
    "names": ("knows its names", "uses names that are not defined"),
    "columns": ("takes columns that are there", "takes a column that is not there"),
    "original": ("adds something new", "adds nothing new"),
}


def _meaning(text: str) -> str:
    """Return what Python reads in `text`; of what it cannot read, the text without its blanks."""
    try:
        with without_warnings():
            return ast.dump(ast.parse(text))
    except UNREADABLE:
        return "".join(text.split())
