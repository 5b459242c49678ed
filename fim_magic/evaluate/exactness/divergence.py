"""How far one distribution of the next token is from another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fim_magic.engines.arithmetic import Logits


def divergence(reference: Logits, other: Logits) -> float:
    """Return the Kullback-Leibler divergence of the other distribution from the reference's, in nats; 0 or more.

    Args:
        reference: (vocabulary,), float32: logits.
        other: The same of the other. Where one has more columns, which pad its matrix, those count for neither.
    """
    width = min(len(reference), len(other))
    expected, found = _logprobs(reference[:width]), _logprobs(other[:width])
    # What the reference never says adds nothing: 0 times the logarithm of 0 is 0 here, and not NaN.
    said = expected > -np.inf
    total = float(np.sum(np.exp(expected[said]) * (expected[said] - found[said])))
    return max(total, 0.0)  # rounding can take it below


def agrees(reference: Logits, other: Logits) -> bool:
    """Whether both have the same most probable token."""
    width = min(len(reference), len(other))
    return bool(reference[:width].argmax() == other[:width].argmax())


def _logprobs(logits: Logits) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64) - float(logits.max())
    found: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum())
    return found
