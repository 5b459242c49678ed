"""Arithmetic sampling: several answers that differ, each found by itself.

Put in order token by token, the most probable first, all answers of a model divide the interval from 0 to 1 among
them, each with a part as long as it is probable, as an arithmetic coder divides it. A point of the interval then is an
answer, and a random point one sampled in the usual way. Points that are spread evenly fall upon one answer twice only
if its part is long: `n` of them find no answer twice whose probability is below 1/n. (Vilnis et al., Arithmetic
Sampling, arXiv 2210.15458.) Each candidate needs nothing but its own point, so that they run in one batch.

The point 0.0 is the greedy answer, whatever the temperature.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fim_magic.engines import Sampling

Logits = npt.NDArray[np.float32]

# Parts shorter than this hold one candidate only. In them tokens are drawn as usual: each further one would magnify the
# rounding of the logits, until a seed no longer repeated an answer where the KV cache was filled in another way.
_FINEST = 2.0**-10


class Point:
    """Where one candidate is among all answers; from token to token, where it is among those that go on as it does.

    Attributes:
        position: From 0.0 up to, but not, 1.0.
    """

    def __init__(self, position: float, seed: int) -> None:
        """Begin where no token has been chosen.

        Args:
            position: Among all answers.
            seed: Of the random numbers that take its place as soon as it is alone.
        """
        self.position = position
        self._random = random.Random(seed)  # not for secrets
        self._length = 1.0  # of the part of the first interval that is left

    @property
    def greedy(self) -> bool:
        """Whether it takes the most probable token each time."""
        return self.position == 0.0

    def choose(self, probabilities: npt.NDArray[np.floating], top_p: float) -> int:
        """Return which token the point falls upon, and go into its part.

        Args:
            probabilities: (tokens,), falling; all that together have `top_p`, at least.
            top_p: Only the most probable tokens that together have it may come; one at least.
        """
        total = probabilities.cumsum(dtype=np.float64)
        kept = min(1 + int(np.searchsorted(total[:-1], top_p)), int(np.count_nonzero(probabilities)))
        target = self.position * total[kept - 1]
        index = min(int(np.searchsorted(total, target, side="right")), kept - 1)
        start = total[index - 1] if index else 0.0
        length = total[index] - start
        self.position = min(max(float((target - start) / length), 0.0), math.nextafter(1.0, 0.0))
        self._length *= length / total[kept - 1]
        if self._length < _FINEST and not self.greedy:
            self.position = self._random.random()
        return index


def points(sampling: Sampling, candidates: int) -> list[Point]:
    """Return a point for each candidate, spread evenly. Of several the first is greedy, so that more are never worse.

    Args:
        sampling: Its seed says where the others are; at temperature 0.0 all are greedy.
        candidates: How many.
    """
    drawn = random.Random(sampling.seed)  # not for secrets
    shift = drawn.random()
    alone = candidates == 1
    return [
        Point((index + shift) / candidates if sampling.temperature and (index or alone) else 0.0, drawn.getrandbits(63))
        for index in range(candidates)
    ]


def choose(logits: Logits, sampling: Sampling, point: Point, allowed: Sequence[int] | None = None) -> int:
    """Choose the next token with NumPy, for engines that need no torch.

    Args:
        logits: (vocabulary,), float32.
        sampling: Temperature and then top-p (arXiv 1904.09751).
        point: The candidate's.
        allowed: The only ids that may come; None where any may.
    """
    if allowed is not None:
        ids = [token for token in allowed if token < len(logits)]
        return ids[choose(logits[ids], sampling, point)]
    if point.greedy:
        return int(logits.argmax())
    probabilities = np.exp((logits - logits.max()) / np.float32(sampling.temperature))
    probabilities /= probabilities.sum()
    # All that are rarer than this have less than 1 - top_p even together, so they need not be sorted.
    likely = np.flatnonzero(probabilities >= (1.0 - sampling.top_p) / len(probabilities))
    ranked = likely[np.argsort(-probabilities[likely], kind="stable")]
    return int(ranked[point.choose(probabilities[ranked], sampling.top_p)])


def logprob(logits: Logits, token: int) -> float:
    """Return the natural log-probability of a token."""
    highest = logits.max()
    return float(logits[token] - highest) - math.log(np.exp(logits - highest).sum(dtype=np.float64))


def most_probable(logits: Logits, count: int) -> list[int]:
    """Return the ids of the most probable tokens, falling."""
    likely = np.argpartition(-logits, min(count, len(logits)) - 1)[:count]
    return [int(token) for token in likely[np.argsort(-logits[likely], kind="stable")]]
