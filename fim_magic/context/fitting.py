"""How much of the text around the hole goes into a model's context."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_PREFIX_SHARE = 0.75  # what stands before the hole tells more; llama.cpp's infill endpoint splits 3:1 as well

# The prefix's share falls into this many steps. A token typed before the hole costs eight on average, however large the
# room: the whole share is read anew once in a step. More steps cost more; fewer leave more empty (here at most an
# eighth of the share, a sixteenth on average).
_STEPS = 8


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

    Cuts fall in steps, so that an edit near the hole rarely moves them: an engine that kept the last prompt's KV cache
    reads anew from the first token that differs. That is why the prefix loses a multiple of the step, counted from its
    start, while the suffix keeps its share and a multiple of the step: a suffix-first prompt begins with what it keeps.
    Less than a step of the room stays empty. The step depends on `room` alone, since texts change with every edit.
    """
    room = max(room, 0)
    share = int(room * _PREFIX_SHARE)
    step = max(1, share // _STEPS)
    spare = max(0, share - len(prefix))
    kept = len(suffix)
    if kept > room - share + spare:
        kept = room - share + spare // step * step
    over = max(0, len(prefix) + kept - room)
    dropped = math.ceil(over / step) * step
    return Fitted(list(prefix[dropped:]), list(suffix[:kept]), dropped, len(suffix) - kept)
