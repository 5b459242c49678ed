"""How much one request may ask for: of a user, and of the record of one in somebody's notebook."""

from __future__ import annotations

MOST_ANSWERS = 64
"""As for `--candidates`."""

MOST_HOLES = 100
"""In one text. Twice as many take four times as long."""

MOST_LINES = 10_000
"""As for `--lines`."""

TEMPERATURES = (1e-6, 1e6)
"""The least above 0.0 and the greatest: beyond, an answer is greedy or noise, and logits overflow in 32 bits."""

TEMPERATURE_RULE = f"is 0 (greedy), or from {TEMPERATURES[0]:f} to {TEMPERATURES[1]:.0f}"
"""As for `--temperature`."""

SEED_RULE = "is a whole number of 64 bits"
"""As for `--seed`."""

SEEDS = (-(2**63), 2**64 - 1)
"""The least and the greatest: what torch takes."""


def is_temperature(value: float) -> bool:
    """Whether an engine can sample with this temperature."""
    return value == 0 or TEMPERATURES[0] <= value <= TEMPERATURES[1]


def is_seed(value: object) -> bool:
    """Whether an engine can sample with this seed."""
    return isinstance(value, int) and not isinstance(value, bool) and SEEDS[0] <= value <= SEEDS[1]
