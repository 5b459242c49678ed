"""Where the user's hole ends.

A model rarely stops where the hole does: it goes on to write the suffix again, the next function, or the same line for
ever. Each rule here is one reason to end a candidate. It gets the hole and the text so far, and answers how many
characters to keep, or None. A rule decides only on evidence that more text cannot take back, so that the same rules
stop the model token by token while it streams.

The rules are cut-only: what they keep is byte for byte what the model wrote.
"""

from __future__ import annotations

from fim_magic.candidate import Cut
from fim_magic.trimming.blocks import dead_code, dedent, opens_block, unreachable
from fim_magic.trimming.brackets import closes_outer
from fim_magic.trimming.cells import next_cell
from fim_magic.trimming.closing import closes_block
from fim_magic.trimming.copies import copied_from, copies
from fim_magic.trimming.demonstration import demonstration
from fim_magic.trimming.extent import (
    enough,
    goes_on_in_function,
    last_whole,
    only_comments,
    own_ends,
    says_nothing,
)
from fim_magic.trimming.fence import code_fence
from fim_magic.trimming.fields import closes_field
from fim_magic.trimming.hole import Hole, Rule, end_before
from fim_magic.trimming.line import end_of_line
from fim_magic.trimming.parsed import ends_statement, leaves_block, never_runs, parsed, shows_it, whole_ends
from fim_magic.trimming.query import ends_query
from fim_magic.trimming.repetition import repetition
from fim_magic.trimming.rewriting import rewrites_suffix
from fim_magic.trimming.suffix import repeats_suffix

__all__ = [
    "RULES",
    "Hole",
    "Rule",
    "adds_nothing",
    "copied_from",
    "copies",
    "end_before",
    "goes_on_in_function",
    "last_whole",
    "own_statement_ends",
    "says_nothing",
    "statement_count",
    "statement_ends",
    "trim",
]

RULES: dict[str, Rule] = {
    "repeats-suffix": repeats_suffix,
    "rewrites-suffix": rewrites_suffix,
    "closes-field": closes_field,
    "closes-outer": closes_outer,
    "closes-block": closes_block,
    "ends-query": ends_query,
    "leaves-block": leaves_block,
    "ends-statement": ends_statement,
    "never-runs": never_runs,
    "shows-it": shows_it,
    "end-of-line": end_of_line,
    "enough": enough,
    "only-comments": only_comments,
    "opens-block": opens_block,
    "unreachable": unreachable,
    "dead-code": dead_code,
    "dedent": dedent,
    "demonstration": demonstration,
    "next-cell": next_cell,
    "copies": copies,
    "code-fence": code_fence,
    "repetition": repetition,
}
"""Every rule by the name that a result shows. Where two end a candidate at the same place, the first is named."""


def trim(hole: Hole, text: str, *, final: bool) -> Cut | None:
    """Return where the earliest rule ends `text`, or None if it may stand (or go on) as it is.

    What one rule keeps, the others look at once more, as a text to which nothing more will come: where a copy or a
    fence begins, the answer had often ended before.

    Args:
        hole: Where the text goes.
        text: What the model wrote so far.
        final: Whether the model has ended, so that a line end or a bracket that is not there will not come.
    """
    cuts = [
        Cut(name, at) for name, rule in RULES.items() if (at := rule(hole, text, final)) is not None and at < len(text)
    ]
    cut = min(cuts, key=lambda cut: cut.at, default=None)
    if cut is None or not text[: cut.at].strip():
        return cut
    return trim(hole, text[: cut.at], final=True) or cut


def adds_nothing(hole: Hole, middle: str) -> bool:
    """Whether a middle has no code where the hole asks for some, or only copies what stands elsewhere."""
    return says_nothing(hole, middle) or bool(copied_from(hole, middle))


def statement_count(hole: Hole, text: str) -> int:
    """Return how many statements a text has, those of a block as one with what opens it.

    Of another language with a parser, that is how many of its lines could be its last.
    """
    return len(whole_ends(hole, text) if parsed(hole) is not None else own_ends(hole, text))


def statement_ends(hole: Hole, text: str) -> list[int]:
    """Return where statements of a text end, behind their lines: of another language, if the whole text parses then.

    Also those inside blocks count.
    """
    if parsed(hole) is not None:
        return [at + 1 for at in whole_ends(hole, text)]
    return [event.at + 1 for event in hole.events(text) if event.ends_statement and text[: event.at].strip()]


def own_statement_ends(hole: Hole, text: str) -> list[int]:
    """Return those of `statement_ends` where a statement of the hole's own block ends, with its block."""
    if parsed(hole) is not None:
        return statement_ends(hole, text)
    own = {at + 1 for at in own_ends(hole, text)}
    return [at for at in statement_ends(hole, text) if at in own]
