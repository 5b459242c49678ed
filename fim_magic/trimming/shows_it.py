"""The text shows or tests what it has defined. For languages with a parser."""

from __future__ import annotations

import re

from fim_magic.languages import Grammar, children_between, defined_name
from fim_magic.trimming.hole import Hole, end_before
from fim_magic.trimming.parsed import line_ends, parsed_hole

_SIGN = r"(?://|#|--|/\*|<!--)+[!\s*]*"
_HEADING = re.compile(_SIGN + r"(?:(?:unit|run|some)\s+)?(?:tests?|examples?|usage|samples?|driver)\b", re.IGNORECASE)
# Within a block, a comment may begin with such a word and be about the code: there, it may have no other word.
_TITLE = re.compile(
    _SIGN + r"(?:tests?|test cases?|(?:example |sample )?usage|examples?|usage examples?)\s*(?::\s*)?(?:\*/|-->)?\Z",
    re.IGNORECASE,
)


def shows_it(hole: Hole, text: str, final: bool) -> int | None:
    """End after the first statements, where a comment says that tests or examples begin.

    With nothing after the hole, also after a definition, where it is shown or a main program begins. Not where the text
    before the hole speaks of tests or of printing: then they may be what is asked for.
    """
    parsed = parsed_hole(hole)
    if parsed is None or hole.head.strip() or parsed.inside or hole.asks_to_show:
        return None
    lines = [end for end in line_ends(text, final) if text[:end].strip()]
    if not lines:
        return None
    filled = parsed.fill(text[: lines[-1]])
    tree, alone = filled.tree, not hole.suffix.strip() and not parsed.open_here
    defined: list[str] = []
    for node in children_between(tree, filled.start, filled.end):
        start = tree.start(node) - filled.start
        source, name = tree.text_of(node), defined_name(tree, node)
        if text[:start].strip():
            is_comment, may_show = "comment" in node.type, alone and bool(defined)
            if is_comment and (_TITLE.match(source.rstrip()) or (may_show and _HEADING.match(source))):
                return end_before(hole, text, start)
            if may_show and _shows(hole, parsed.grammar, source, name, defined):
                return end_before(hole, text, start)
        defined += filter(None, [name])
    return None


def _shows(hole: Hole, grammar: Grammar, source: str, name: str, defined: list[str]) -> bool:
    """Whether a statement is a main program, or shows something that the text has defined."""
    if grammar.main and name == grammar.main and not re.search(rf"\b{grammar.main}\s*\(", hole.prefix):
        return True
    words = "|".join(map(re.escape, grammar.shows))
    shows = bool(words) and re.match(rf"(?:await\s+|std::)?(?:{words})(?![\w])", source) is not None
    return shows and any(re.search(rf"\b{re.escape(shown)}\b", source) for shown in defined)
