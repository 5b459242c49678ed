"""Choosing tokens from logits with NumPy, for engines that need no torch. As `engines/local.py` does with it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fim_magic.engines import Sampling

Logits = npt.NDArray[np.float32]


def choose(
    logits: Logits, sampling: Sampling, generator: np.random.Generator, allowed: Sequence[int] | None = None
) -> int:
    """Choose the next token.

    Args:
        logits: (vocabulary,), float32.
        sampling: Greedy at temperature 0.0, else temperature and then top-p (arXiv 1904.09751).
        generator: Draws one number, whatever the logits are.
        allowed: The only ids that may come; None where any may.
    """
    if allowed is not None:
        ids = [at for at in allowed if at < len(logits)]
        return ids[choose(logits[ids], sampling, generator)]
    if sampling.temperature == 0.0:
        return int(logits.argmax())
    probabilities = np.exp((logits - logits.max()) / np.float32(sampling.temperature))
    probabilities /= probabilities.sum()
    if sampling.top_p < 1.0:
        probabilities *= _nucleus(probabilities, sampling.top_p)
    total = probabilities.cumsum(dtype=np.float64)
    drawn = int(np.searchsorted(total, generator.random() * total[-1], side="right"))
    return min(drawn, len(total) - 1)


def _nucleus(probabilities: Logits, top_p: float) -> npt.NDArray[np.bool_]:
    """Return which tokens are among the most probable ones that together have `top_p`."""
    # All that are rarer than this have less than 1 - top_p even together, so they need not be sorted.
    likely = np.flatnonzero(probabilities >= (1.0 - top_p) / len(probabilities))
    ranked = likely[np.argsort(-probabilities[likely], kind="stable")]
    before = probabilities[ranked].cumsum(dtype=np.float64) - probabilities[ranked]
    inside = np.zeros(len(probabilities), np.bool_)
    inside[ranked[before < top_p]] = True
    return inside


def logprob(logits: Logits, token: int) -> float:
    """Return the natural log-probability of a token."""
    highest = logits.max()
    return float(logits[token] - highest) - math.log(np.exp(logits - highest).sum(dtype=np.float64))
