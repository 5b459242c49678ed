"""How much one request may ask for: of a user, and of the record of one in somebody's notebook."""

from __future__ import annotations

MOST_ANSWERS = 64
"""As for `--candidates`."""

MOST_HOLES = 100
"""In one text. Twice as many take four times as long."""

MOST_LINES = 10_000
"""As for `--lines`."""

SEED_RULE = "is a whole number of 64 bits"
"""As for `--seed`."""

SEEDS = (-(2**63), 2**64 - 1)
"""The least and the greatest: what torch takes."""


def is_seed(value: object) -> bool:
    """Whether an engine can sample with this seed."""
    return isinstance(value, int) and not isinstance(value, bool) and SEEDS[0] <= value <= SEEDS[1]
