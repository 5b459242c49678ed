"""Which answer comes first, and why: checks in its place, the model's own judgement, and the choice among several."""

from __future__ import annotations

from fim_magic.selection.choosing import merged, ranked
from fim_magic.selection.doubt import is_doubtful, lacks_column
from fim_magic.selection.judging import judged
from fim_magic.selection.weighing import best_ended, weighed

__all__ = ["best_ended", "is_doubtful", "judged", "lacks_column", "merged", "ranked", "weighed"]
