"""Where the user's hole ends.

A model rarely stops where the hole does: it goes on to write the suffix again, the next function, or the same line for
ever. Each rule here is one reason to end a candidate. It gets the hole and the text so far, and answers how many
characters to keep, or None. A rule decides only on evidence that more text cannot take back, so that the same rules
stop the model token by token while it streams.

The rules are cut-only: what they keep is byte for byte what the model wrote.
"""

from __future__ import annotations

from fim_magic.candidate import Cut
from fim_magic.line_ends import in_place_of_cr
from fim_magic.trimming.closes_block import closes_block
from fim_magic.trimming.closes_field import closes_field
from fim_magic.trimming.closes_outer import closes_outer
from fim_magic.trimming.code_fence import code_fence
from fim_magic.trimming.copies import copied_from, copies
from fim_magic.trimming.dead_code import dead_code
from fim_magic.trimming.dedent import dedent
from fim_magic.trimming.demonstration import demonstration
from fim_magic.trimming.end_of_line import end_of_line
from fim_magic.trimming.ends_query import ends_query
from fim_magic.trimming.ends_statement import ends_statement
from fim_magic.trimming.enough import enough
from fim_magic.trimming.extent import ends_in, goes_on_in_function, last_whole, says_nothing
from fim_magic.trimming.hole import Hole, Rule, end_before
from fim_magic.trimming.leaves_block import leaves_block
from fim_magic.trimming.never_runs import never_runs
from fim_magic.trimming.next_cell import next_cell
from fim_magic.trimming.only_comments import only_comments
from fim_magic.trimming.opens_block import opens_block
from fim_magic.trimming.parsed import or_by_layout, parsed_hole, whole_ends
from fim_magic.trimming.repeats_suffix import repeats_suffix
from fim_magic.trimming.repetition import repetition
from fim_magic.trimming.rewrites_suffix import rewrites_suffix
from fim_magic.trimming.shows_it import shows_it
from fim_magic.trimming.unreachable import unreachable

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


@or_by_layout
def trim(hole: Hole, text: str, *, final: bool) -> Cut | None:
    """Return where the earliest rule ends `text`, or None if it may stand (or go on) as it is.

    What one rule keeps, the others look at once more, as a text to which nothing more will come: where a copy or a
    fence begins, the answer had often ended before. `final` says that the model has ended, so that a line end or a
    bracket that is not there will not come.
    """
    return _trim(hole, in_place_of_cr(text, final=final), final=final)


def _trim(hole: Hole, text: str, *, final: bool) -> Cut | None:
    ends = ((name, rule(hole, text, final)) for name, rule in RULES.items())
    cuts = [Cut(name, end) for name, end in ends if end is not None and end < len(text)]
    cut = min(cuts, key=lambda cut: cut.at, default=None)
    if cut is None or not text[: cut.at].strip():
        return cut
    return _trim(hole, text[: cut.at], final=True) or cut


def adds_nothing(hole: Hole, middle: str) -> bool:
    """Whether a middle has no code where the hole asks for some, or only copies what stands elsewhere."""
    middle = in_place_of_cr(middle, final=True)
    return says_nothing(hole, middle) or bool(copied_from(hole, middle))


@or_by_layout
def statement_count(hole: Hole, text: str) -> int:
    """Return how many statements a text has, those of a block as one with what opens it.

    Of another language with a parser, that is how many of its lines could be its last.
    """
    text, parsed = in_place_of_cr(text, final=True), parsed_hole(hole)
    return sum(1 for _ in ends_in(hole, text, final=True)) if parsed is None else len(whole_ends(parsed, text))


@or_by_layout
def statement_ends(hole: Hole, text: str) -> list[int]:
    """Return where statements of a text end, behind their lines: of another language, if the whole text parses then.

    Also those inside blocks count.
    """
    text, parsed = in_place_of_cr(text, final=True), parsed_hole(hole)
    if parsed is not None:
        return [end + 1 for end in whole_ends(parsed, text)]
    positions = (event.position for event in hole.events(text) if event.ends_statement)
    return [position + 1 for position in positions if text[:position].strip()]


@or_by_layout
def own_statement_ends(hole: Hole, text: str) -> list[int]:
    """Return those of `statement_ends` where a statement of the hole's own block ends, with its block."""
    text = in_place_of_cr(text, final=True)
    ends = statement_ends(hole, text)
    if parsed_hole(hole) is not None:
        return ends
    own = {end.position + 1 for end in ends_in(hole, text, final=True)}
    return [end for end in ends if end in own]
