"""What of the text around the hole goes into a model's context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_PREFIX_SHARE = 0.75  # what stands before the hole tells more; llama.cpp's infill endpoint splits 3:1 as well


@dataclass(frozen=True)
class File:
    """Another text that the model may see.

    Attributes:
        path: What it is called, in the repository's own terms.
        text: All of it.
    """

    path: str
    text: str


@dataclass(frozen=True)
class Context:
    """What is known beside the text with the hole.

    Attributes:
        repository: The repository's name, or "".
        path: What the text with the hole is called, or "".
        files: Others, the most useful first.
    """

    repository: str = ""
    path: str = ""
    files: tuple[File, ...] = ()


NOTHING_ELSE = Context()


@dataclass(frozen=True)
class Fitted:
    """Token ids that fit, and how many did not."""

    prefix: list[int]
    suffix: list[int]
    dropped_prefix: int
    dropped_suffix: int


def fit(prefix: Sequence[int], suffix: Sequence[int], room: int) -> Fitted:
    """Trim the prefix from its start and the suffix from its end, so that both fit into `room` tokens.

    Each keeps what is nearest the hole. What one side does not need of its share, the other gets.
    """
    room = max(room, 0)
    for_suffix = min(len(suffix), max(room - len(prefix), room - int(room * _PREFIX_SHARE)))
    for_prefix = min(len(prefix), room - for_suffix)
    return Fitted(
        list(prefix[len(prefix) - for_prefix :]),
        list(suffix[:for_suffix]),
        len(prefix) - for_prefix,
        len(suffix) - for_suffix,
    )
