"""The hole is in another language than Python, whose parser is there (`fim_magic.languages`).

Where it is not, the other rules go by the layout of lines. A line is judged when it is complete: then the text with all
lines up to it in the hole is parsed, once for each line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fim_magic.languages import Place, Reading, children_between, defined_name, place
from fim_magic.trimming.hole import Hole, end_before

_ENDS_TEXT = re.compile(r"\*/|-->|`")
_SIGN = r"(?://|#|--|/\*|<!--)+[!\s*]*"
_HEADING = re.compile(_SIGN + r"(?:(?:unit|run|some)\s+)?(?:tests?|examples?|usage|samples?|driver)\b", re.IGNORECASE)
# Within a block, a comment may begin with such a word and be about the code: there, it has to say nothing else.
_TITLE = re.compile(
    _SIGN + r"(?:tests?|test cases?|(?:example |sample )?usage|examples?|usage examples?)\s*:?\s*(?:\*/|-->)?\Z",
    re.IGNORECASE,
)
_ENOUGH = 6  # characters of what follows the hole, to know it again
_MAY_GO_ON = re.compile(r"\w+|[-+/]")  # where no more is there, the next character decides


def parsed(hole: Hole) -> Place | None:
    """Return the hole as the parser of its language sees it, or None if there is no parser."""
    return None if hole.is_python else place(hole.language, hole.prefix, hole.suffix)


def leaves_block(hole: Hole, text: str, final: bool) -> int | None:
    """End before the token that closes a block or a bracket of the user's, if what follows the hole closes it too.

    Also before the end of the comment or template that the hole is in. A line that closes one and opens another
    (`} else {`, `a).then(b`) may be what is wanted if it comes first, or stands where the rest of a line is asked for.

    Where what follows closes a block that is not open, the text has to open it: if it leaves that one, it ends with the
    line that opened it.
    """
    seen = parsed(hole)
    if seen is None:
        return None
    if seen.inside:
        return _leaves_text(hole, seen, text, final)
    if seen.debt < 0:
        return _leaves_its_own(hole, seen, text, final)
    rest, start = _asks_for_rest(hole, text), 0
    for at in _line_ends(text, final):
        outer, depth = seen.read(text[:at]).leaves(seen.debt, start)
        start = at
        if outer is None:
            continue
        opens_another = depth >= -seen.debt and (rest or not text[:outer].strip())
        if not opens_another or not seen.sound(text[:at]):
            return end_before(hole, text, outer)
    return None


def ends_statement(hole: Hole, text: str, final: bool) -> int | None:
    """End with the statement whose rest is asked for: at the first line end at which the whole text parses.

    A line that leaves a bracket or a block open which what follows does not close is so taken up to the line that
    closes it. Where whole lines are asked for, they end when all is closed that the text after the hole leaves open;
    and a text that breaks off in a statement ends with the last whole one.
    """
    seen = parsed(hole)
    if seen is None:
        return None
    rest = _asks_for_rest(hole, text)
    last, statements = None, 0
    for at in _line_ends(text, final):
        kept = text[:at]
        if not kept.strip() or not seen.sound(kept) or not seen.parts(kept):
            continue
        last = at
        statements += 1
        if statements < (hole.least_statements or 1):
            continue
        paid = seen.debt > 0 and len(seen.read(kept).closes) == seen.debt
        if not rest and not paid:
            continue
        goes_on = _goes_on(hole, seen, text, at, final)
        if goes_on is None:
            return None
        if not goes_on:
            return end_before(hole, text, at)
    if not final or (last is None and not hole.within_line):
        return None
    if last is None:
        first = text.find("\n")
        return first if first >= 0 else None
    return None if seen.sound(text) else end_before(hole, text, last)


def never_runs(hole: Hole, text: str, final: bool) -> int | None:
    """End before a `return` or the like after which what follows the hole, in the same block, could never run.

    Where nothing stands before it, end with it.
    """
    seen = parsed(hole)
    if seen is None or seen.inside or not hole.following or _asks_for_rest(hole, text):
        return None
    for at in _line_ends(text, final):
        kept = text[:at].rstrip()
        if not kept or not seen.sound(kept):
            continue
        start = _jump(seen, seen.read(kept))
        if start is not None:
            return end_before(hole, text, start if text[:start].strip() else at)
    return None


def shows_it(hole: Hole, text: str, final: bool) -> int | None:
    """End after the first statements, where a comment says that tests or examples begin.

    With nothing after the hole, also after a definition, where it is shown or a main program begins. Not where the text
    before the hole speaks of tests or of printing: then they may be what is asked for.
    """
    seen = parsed(hole)
    if seen is None or hole.head.strip() or seen.inside or hole.asks_to_show:
        return None
    lines = [at for at in _line_ends(text, final) if text[:at].strip()]
    if not lines:
        return None
    reading = seen.read(text[: lines[-1]])
    tree, alone = reading.tree, not hole.suffix.strip() and not seen.open_here
    defined: list[str] = []
    for node in children_between(tree, reading.at, reading.end):
        start = tree.start(node) - reading.at
        if not text[:start].strip():
            defined += filter(None, [defined_name(tree, node)])
            continue
        said, name = tree.text_of(node), defined_name(tree, node)
        if "comment" in node.type and (_TITLE.match(said.rstrip()) or (alone and defined and _HEADING.match(said))):
            return end_before(hole, text, start)
        if alone and defined and _is_demonstration(hole, seen, said, name, defined):
            return end_before(hole, text, start)
        defined += filter(None, [name])
    return None


def whole_ends(hole: Hole, text: str) -> list[int]:
    """Return the line ends of a text at which it could end: what follows the hole goes well with all lines up to it."""
    seen = parsed(hole)
    if seen is None:
        return []
    return [
        at
        for at in _line_ends(text, final=True)
        if text[:at].strip() and seen.sound(text[:at]) and seen.parts(text[:at])
    ]


def _leaves_its_own(hole: Hole, seen: Place, text: str, final: bool) -> int | None:
    """Where the line ends that opens the block that what follows the hole closes, if the text leaves it again."""
    opened = None
    for at in _line_ends(text, final):
        kept = text[:at]
        if opened is None:
            opened = at if kept.strip() and seen.sound(kept) and seen.parts(kept) else None
        elif seen.read(kept).leaves(seen.debt, opened)[0] is not None:
            return end_before(hole, text, opened)
    return None


def _leaves_text(hole: Hole, seen: Place, text: str, final: bool) -> int | None:
    """Where the text ends the comment or template that the hole is in, if more of it follows."""
    if _asks_for_rest(hole, text):
        return None
    found = _ENDS_TEXT.search(text)
    if found is None or seen.sound(text[: text.find("\n", found.end())] if not final else text):
        return None
    return end_before(hole, text, found.start())


def _jump(seen: Place, reading: Reading) -> int | None:
    """Where the `return` or the like begins that the middle ends with, if what follows could never run after it."""
    between = reading.boundary.between
    before, after = reading.boundary.sides()
    if between is None or before is None or after is None or between.type not in seen.grammar.blocks:
        return None
    jumps = seen.grammar.jumps
    first = before.named_children[0] if before.named_child_count else before
    is_jump = before.type in jumps or (before.type == "expression_statement" and first.type in jumps)
    # A function is defined all the same, and a label may be jumped to.
    runs = after.is_named and not re.search(r"case|class|default|function|label", after.type)
    start = reading.tree.start(before) - reading.at
    return start if is_jump and runs and start >= 0 else None


def _is_demonstration(hole: Hole, seen: Place, said: str, name: str, defined: list[str]) -> bool:
    grammar = seen.grammar
    if grammar.main and name == grammar.main and not re.search(rf"\b{grammar.main}\s*\(", hole.prefix):
        return True
    words = "|".join(map(re.escape, grammar.shows))
    shows = bool(words) and re.match(rf"(?:await\s+|std::)?(?:{words})(?![\w])", said) is not None
    return shows and any(re.search(rf"\b{re.escape(each)}\b", said) for each in defined)


def _asks_for_rest(hole: Hole, text: str) -> bool:
    """Whether the hole is the rest of a line, and not a body that begins on the next one."""
    return bool(hole.head.strip()) and (bool(hole.tail.strip()) or bool(text.partition("\n")[0].strip()))


def _line_ends(text: str, final: bool) -> Iterator[int]:
    """Where the complete lines of a text end."""
    at = text.find("\n")
    while at >= 0:
        yield at
        at = text.find("\n", at + 1)
    if final:
        yield len(text)


def _goes_on(hole: Hole, seen: Place, text: str, at: int, final: bool) -> bool | None:
    """Whether the next line goes on with the statement that could have ended at `at`; None where more has to come."""
    grammar = seen.grammar
    if hole.tail.strip() or (grammar.ends and text[:at].rstrip().endswith(grammar.ends)):
        return False
    rest = text[at:].lstrip()
    if not rest:
        return False if final else None
    if grammar.by_indent:
        line = text[at : len(text) - len(rest)].rpartition("\n")[2]
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
