"""The text shows or tests what it has defined."""

from __future__ import annotations

import re

from fim_magic.trimming.hole import Hole, end_before
from fim_magic.trimming.layout import statements

_DEFINITION = re.compile(r"(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)")
_MAIN = re.compile(r"if[ \t]+__name__[ \t]*==")
_HEADING = re.compile(
    r"#[ \t]*(?:(?:unit|run|some)[ \t]+)?(?:tests?|examples?|usage|samples?|driver|check (?:the )?function)\b",
    re.IGNORECASE,
)
_SHOWS = re.compile(r"(?:print[ \t]*\(|assert\b)")


def demonstration(hole: Hole, text: str, final: bool) -> int | None:
    """For a hole with nothing after it: end after a function or class, where tests or examples of it begin.

    Not where the text before the hole speaks of tests or of printing: then they may be what is asked for.
    """
    if not hole.is_python or hole.suffix.strip() or not hole.state.in_code or hole.state.depth or hole.head.strip():
        return None
    if hole.asks_to_show:
        return None
    defined: list[str] = []
    for start, end in statements(text, hole.events(text), unfinished=True):
        line = text[start:end]
        complete = final or end < len(text)
        definition = _DEFINITION.match(line)
        if definition is not None:
            defined.append(definition.group(1))
        elif defined and _is_demonstration(line, defined, complete=complete):
            return end_before(hole, text, start)
    return None


def _is_demonstration(line: str, defined: list[str], *, complete: bool) -> bool:
    if _MAIN.match(line):
        return True
    if not complete:
        return False  # `# Test` may become `# Testament`, and a name may go on
    if _HEADING.match(line):
        return True
    return bool(_SHOWS.match(line)) and any(re.search(rf"\b{re.escape(name)}\b", line) for name in defined)
