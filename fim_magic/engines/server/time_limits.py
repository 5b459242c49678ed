"""How long a server is waited for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TimeLimits:
    """How long a server is waited for, each in seconds.

    Attributes:
        connect: For a connection.
        answer: For an answer that is no stream, between two parts of it.
        first: For the first token of a stream: a long prompt is read meanwhile, behind those of other users.
        following: For each token after it.
        patience: In all, until a server that is starting or too busy takes a request.
        drain: For what still comes behind an answer that is whole.
    """

    connect: float = 5.0
    answer: float = 30.0
    first: float = 300.0
    following: float = 120.0
    patience: float = 20.0
    drain: float = 0.25


USUAL = TimeLimits()

OF_A_CROWD = TimeLimits(first=3600.0, following=3600.0)
"""Where many ask at once to see how long it takes: a server reads their prompts between the tokens of others."""
