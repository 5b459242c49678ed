"""The text has ended the statement that the hole is in. For languages with a parser."""

from __future__ import annotations

import re

from fim_magic.languages import ParsedHole
from fim_magic.trimming.hole import Hole, end_before
from fim_magic.trimming.parsed import asks_for_rest, is_whole, line_ends, parsed_hole

_ENOUGH = 6  # characters of what follows the hole, to know it again
_MAY_GO_ON = re.compile(r"\w+|[-+/]")  # where no more is there, the next character decides


def ends_statement(hole: Hole, text: str, final: bool) -> int | None:
    """End with the statement whose rest is asked for: at the first line end at which the whole text parses.

    A line that leaves a bracket or a block open which what follows does not close is so taken up to the line that
    closes it. Where whole lines are asked for, they end when all is closed that the text after the hole leaves open;
    and a text that breaks off in a statement ends with the last whole one.
    """
    parsed = parsed_hole(hole)
    if parsed is None:
        return None
    rest = asks_for_rest(hole, text)
    last, statements = None, 0
    for end in line_ends(text, final):
        if not is_whole(parsed, text[:end]):
            continue
        last = end
        statements += 1
        if statements < (hole.least_statements or 1):
            continue
        paid = parsed.debt > 0 and len(parsed.fill(text[:end]).closes) == parsed.debt
        if not rest and not paid:
            continue
        goes_on = _goes_on(hole, parsed, text, end, final)
        if goes_on is None:
            return None
        if not goes_on:
            return end_before(hole, text, end)
    if not final or (last is None and not hole.within_line):
        return None
    if last is None:
        first = text.find("\n")
        return first if first >= 0 else None
    return None if parsed.is_sound(text) else end_before(hole, text, last)


def _goes_on(hole: Hole, parsed: ParsedHole, text: str, end: int, final: bool) -> bool | None:
    """Whether the next line goes on with the statement that could have ended at `end`; None where more has to come."""
    grammar = parsed.grammar
    if hole.tail.strip() or (grammar.ends and text[:end].rstrip().endswith(grammar.ends)):
        return False
    rest = text[end:].lstrip()
    if not rest:
        return False if final else None
    if grammar.by_indent:
        line = text[end : len(text) - len(rest)].rpartition("\n")[2]
        return len(line) > len(hole.head) - len(hole.head.lstrip())
    return _continues(hole, grammar.goes_on, rest, final) if grammar.goes_on else False


def _continues(hole: Hole, pattern: str, rest: str, final: bool) -> bool | None:
    """Whether a text begins as what goes on with a statement, and is not what follows the hole."""
    line, following = rest.partition("\n")[0].rstrip(), hole.following[0].strip() if hole.following else ""
    if following.startswith(line):  # it may be what follows the hole that goes on
        return False if final or len(line) >= min(len(following), _ENOUGH) else None
    if not final and _MAY_GO_ON.fullmatch(rest):
        return None
    return re.match(pattern, rest) is not None
