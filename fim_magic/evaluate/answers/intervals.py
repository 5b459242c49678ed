"""How sure a share of right answers is, and a difference of two."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_Z = 1.959963984540054  # of a two-sided 95 % interval
_RESAMPLES = 4000
_SEED = 20220728
_TAIL = 0.025


@dataclass(frozen=True)
class Interval:
    """A 95 % interval."""

    low: float  # its lower end
    high: float  # its upper end
    method: str  # "Wilson" or "bootstrap"


def wilson(successes: int, total: int) -> Interval:
    """Return Wilson's 95 % interval of a share (E. B. Wilson 1927, JASA 22:209), tasks taken as independent."""
    if not total:
        return Interval(0.0, 1.0, "Wilson")
    share = successes / total
    centre = share + _Z**2 / (2 * total)
    spread = _Z * math.sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2))
    scale = 1 + _Z**2 / total
    return Interval(max((centre - spread) / scale, 0.0), min((centre + spread) / scale, 1.0), "Wilson")


def bootstrap(values: Mapping[str, float], groups: Mapping[str, str]) -> Interval:
    """Return the 95 % percentile interval of a mean, resampling whole groups (Davison and Hinkley 1997, section 3.8).

    Holes in the same function stand or fall together, so that resampling single tasks would give too narrow an
    interval. The resamples are drawn with a fixed seed: the same values give the same interval.

    Args:
        values: For each task, its score; or its score in one arm less that in another, which makes the interval paired.
        groups: For each task, what it belongs to.
    """
    sums: dict[str, tuple[float, int]] = {}
    for task, value in values.items():
        total, count = sums.get(groups[task], (0.0, 0))
        sums[groups[task]] = (total + value, count + 1)
    clusters = list(sums.values())
    if not clusters:
        return Interval(-1.0, 1.0, "bootstrap")
    draw = random.Random(_SEED)  # not for secrets
    means = []
    for _ in range(_RESAMPLES):
        drawn = draw.choices(clusters, k=len(clusters))
        means.append(sum(total for total, _ in drawn) / sum(count for _, count in drawn))
    means.sort()
    index = int(_TAIL * _RESAMPLES)
    return Interval(means[index], means[-1 - index], "bootstrap")


def difference(
    first: Mapping[str, float], second: Mapping[str, float], groups: Mapping[str, str]
) -> tuple[float, Interval]:
    """Return the mean of the second's values less the first's on the tasks that both have, and its interval, paired."""
    changes = {task: second[task] - value for task, value in first.items() if task in second}
    return mean([*changes.values()]), bootstrap(changes, groups)


def mcnemar(gained: int, lost: int) -> float:
    """Return the two-sided p of McNemar's test, exact (McNemar 1947, Psychometrika 12:153), tasks independent."""
    different = gained + lost
    tail = sum(math.comb(different, k) for k in range(min(gained, lost) + 1))
    return min(1.0, float(2 * tail / 2**different))


def pass_at(k: int, samples: int, right: int) -> float:
    """Return the unbiased estimate of the chance that one of `k` samples is right (Chen et al. 2021, arXiv 2107.03374).

    Args:
        k: At most `samples`.
        samples: How many there are of the task.
        right: How many of them pass.
    """
    return 1.0 - math.comb(samples - right, k) / math.comb(samples, k)


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
