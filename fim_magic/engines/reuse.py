"""How much of a prompt need not be read again."""

from __future__ import annotations

from collections.abc import Sequence


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two sequences have in common at their beginning."""
    pairs = zip(one, other, strict=False)
    return next((index for index, (left, right) in enumerate(pairs) if left != right), min(len(one), len(other)))


def known_tokens(read: Sequence[int], prompt: Sequence[int]) -> int:
    """Return how many of a prompt's first tokens need not be read again, after `read` has been.

    The last one is never among them, since the logits after it are wanted, and those are not kept.
    """
    return min(common_prefix(read, prompt), len(prompt) - 1)
