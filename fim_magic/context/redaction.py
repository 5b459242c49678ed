"""Secrets are left out of what is put into a prompt beside the user's own cell.

Prompts are shown, hashed, kept in notebooks and, with a server as the engine, sent; a key in another cell has no
business there. What looks like one is replaced by `…`. In Python a secret is a string, a number or said in a comment;
in any other text it may stand anywhere. This errs towards leaving out: a model misses little.
"""

from __future__ import annotations

import keyword
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from fim_magic import lexing
from fim_magic.cell_text import tree_of
from fim_magic.context.secret_commands import secret_arguments
from fim_magic.context.secret_names import Suspicion, has_digits, likelihood, secret_name
from fim_magic.context.secret_shapes import Span, logins_in_urls, private_keys, random_runs, service_keys
from fim_magic.context.secret_text import secrets_in_text
from fim_magic.context.secret_values import is_dense, is_harmless, is_short_number

__all__ = ["GAP", "redacted", "requested_names", "secret_name", "secret_spans"]

GAP = "…"
_ASCII_GAP = "..."  # of bytes

_REQUEST = re.compile(r"\b(?:getpass|input|getenv|get_password|get_secret)[ \t]{0,9}\(|\benviron\b|\buserdata\.get\b")
_TARGETS = re.compile(r"\A[\w, \t]+")
_SETTING = re.compile(r"\A(?:[A-Z][\w-]*[ ]?:[ \t].*|[A-Za-z_][\w.]*=\S+|[^\W\d][\w.]*:(?:[ \t]*\S+)?)")

_NEAR = 100  # characters before a literal that say what it is
_HINT = re.compile(
    r"pass|pwd|pw|secret|cred|key|token|auth|bearer|jwt|otp|pin|cookie|sid|session|mnemonic|phrase|login|connect|ftp"
    r"|encode|decode|fernet|hmac|create_",
    re.IGNORECASE,
)
_OWNER = re.compile(
    r"""
    (?P<call>\b(?:get|getenv|set|setattr|setdefault|setenv|putenv|getattr)\((?:[\w"'.]{1,40},[ ]?)?["'])?
    (?<![\w.-])(?P<name>[\w.-]{1,64})(?:[:=]?[ ]?\\?["'`])?\]?[ \t]{0,9}(?::[ \t]{0,9}[\w\[\]., |]{0,40}?)?
    (?P<sep>==|!=|:=|<-|=>|=|:|,|\bin\b)\s{0,40}
    (?:\{\s{0,9}["'](?:value|default|plain)["']\s{0,9}:\s{0,9})?[(\[]{0,2}\s{0,40}\Z
    """,
    re.VERBOSE,
)
"""What stands before a literal that belongs to a name: `x =`, `x: str =`, `x="`, `"x":`, `["x"] =`, `get("x",`."""
_OPTION = re.compile(
    r"""["']-{0,2}(?P<name>[\w.-]{1,64})["'][^"'()]{0,60}(?:["']value["'][ ]?:|\b(?:default|value|const)[ ]?=)[ ]?\Z"""
)
_SETTER = re.compile(r"\b(?:set|use|with|add)_?(?P<name>\w{1,64})\((?:[ ]?[\"'][^\"'\n]{1,60}[\"'],)?\s{0,9}\Z")
_KEYWORD = re.compile(r"(?<!\w)(?P<name>\w{1,64})[ ]?=[ ]?\Z")
_DEFAULTS = frozenset(("default", "value", "const"))
_FIELD = re.compile(r"""["'](?P<name>[\w.-]{1,64})["']\)?\.(?:send_keys|fill|type|setValue|set_value)\(\s{0,9}\Z""")
_DISPLAYED_BY = frozenset(
    "Field Param Setting Variable join str bytes bytearray SecretStr Secret b64decode fromhex unhexlify encode".split()
)


def requested_names(source: str) -> frozenset[str]:
    """Return the names that code gives to what it asks the user or the environment for: `x = getpass.getpass()`."""
    return frozenset(name for line in source.split("\n") for name in _requested_in(line))


def _requested_in(line: str) -> list[str]:
    target, equals, value = line.partition("=")
    target = target.partition(":")[0]
    if not equals or value.startswith("=") or not _TARGETS.fullmatch(target):
        return []
    return re.findall(r"\w+", target) if _REQUEST.search(value.partition("#")[0]) else []


def redacted(source: str, *, python: bool | None = None) -> str:
    """Return code, complete or not, or any text, without what looks like a secret in it.

    Keys of known services, private keys and logins in URLs go wherever they stand, and so does what is given to a name
    like `password`; of string literals also long random ones. A git commit in a comment stays. Python stays Python.

    Args:
        source: The text.
        python: Whether it is Python; None where that is not known.
    """
    kept, position = [], 0
    for start, end, gap in _cuts(source, python):
        if start >= position:
            kept += [source[position:start], gap]
        position = max(position, end)
    return "".join([*kept, source[position:]])


def secret_spans(source: str) -> tuple[Span, ...]:
    """Return where in a text `redacted` sees secrets, in order. Those that meet are one."""
    spans: list[Span] = []
    for start, end, _ in _cuts(source, None):
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], end))
        else:
            spans.append((start, end))
    return tuple(spans)


def _cuts(source: str, python: bool | None) -> list[tuple[int, int, str]]:
    """Where secrets stand in a text, in order, and what takes the place of each. They may overlap."""
    if not (_is_python(source) if python is None else python):
        return sorted((start, end, GAP) for start, end in _in_text(source, hexadecimal=False))
    cuts = [(start, end, _gap_after(source, start - 1)) for start, end in secret_arguments(source)]
    for literal in (literals := _Literals(source)).found():
        gap = _gap_after(source, literal.opening)
        cuts += [(start, end, gap) for start, end in _in_literal(source, literal, literals)]
    # A private key in a comment may go on below it.
    cuts += [(start, end, GAP) for start, end in private_keys(source) if literals.in_comment(start)]
    for start, end in literals.comments:
        cuts += [(start + a, start + b, GAP) for a, b in _in_text(source[start:end], hexadecimal=False)]
    for start, end in _numbers(source, literals.code):
        cuts.append((start, end, f'"{GAP}"'))
    return sorted(cuts)


def _gap_after(source: str, quote: int) -> str:
    """What stands for a secret in a literal whose quotes begin here: bytes are ASCII."""
    return _ASCII_GAP if "b" in source[max(0, quote - 2) : quote].lower() else GAP


@lru_cache(maxsize=64)
def _is_python(source: str) -> bool:
    """Whether a text is Python. Lines such as `PASSWORD=x` or `Password: x` may be, and are settings all the same."""
    return not all(map(_is_setting, source.split("\n"))) and tree_of(source) is not None


def _is_setting(line: str) -> bool:
    text = line.strip()
    is_value = line != line.lstrip() and len(text.split(maxsplit=1)) == 1  # of the name above it
    return not text or is_value or _SETTING.fullmatch(text) is not None


def _in_text(text: str, before: str = "", *, hexadecimal: bool) -> Iterator[Span]:
    yield from private_keys(text)
    yield from service_keys(text)
    for span, password in logins_in_urls(text):
        if not is_harmless(password) and not any(sign in password for sign in "{}<>"):
            yield span
    yield from secrets_in_text(text)
    yield from random_runs(text, before, hexadecimal=hexadecimal)


@dataclass(frozen=True)
class _Literal:
    start: int  # of what stands between the quotes
    end: int
    opening: int  # of its quotes
    statement: int  # where its statement begins
    direct: bool  # whether it is no argument, index or key: what is assigned is this, or a list with this
    nested: bool  # whether it stands in brackets
    owner: str  # the name that the innermost list belongs to, or ""


class _Literals:
    """The string literals, comments and code of a text in Python."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.comments: list[Span] = []
        self.code: list[Span] = []
        self.hints = [match.start() for match in _HINT.finditer(source)]

    def found(self) -> Iterator[_Literal]:
        source, statement, opening, start, code = self._source, 0, 0, 0, 0
        owners: list[str | None] = []  # of the open brackets; None for those of arguments, indexes and dicts
        hidden = 0

        def literal(end: int) -> _Literal:
            owner = (owners[-1] or "") if owners else ""
            return _Literal(start, end, opening, statement, hidden == 0, bool(owners), owner)

        for event in lexing.events(source):
            if event.kind == "string":
                opening, start = event.position, event.position + len(event.state.string)
                self.code.append((code, opening))
            elif event.kind == "end of string":
                yield literal(event.position)
                start, code = 0, event.position
            elif event.kind == "comment":
                end = source.find("\n", event.position)
                end = len(source) if end < 0 else end
                self.comments.append((event.position, end))
                self.code.append((code, event.position))
                code = end
            elif event.kind == "open":
                owners.append(self._owner(event.position, statement, owners[-1] if owners else None))
                hidden += owners[-1] is None
            elif event.kind == "close" and owners:
                hidden -= owners.pop() is None
            elif event.ends_statement:
                if start:
                    yield literal(event.position)  # left open by mistake
                    code = event.position
                statement, start, hidden, owners = event.position + 1, 0, 0, []
        if start:
            yield literal(len(source))
        else:
            self.code.append((code, len(source)))

    def _owner(self, position: int, statement: int, outer: str | None) -> str | None:
        """The name that a list belongs to, "" if it has none; None for another bracket."""
        if not self._is_display(position):
            return None
        near = max(statement, position - _NEAR)
        owner = _OWNER.search(self._source[near:position]) if self.has_hint(near, position) else None
        return owner["name"] if owner and owner["sep"] != "," else outer or ""

    def _is_display(self, position: int) -> bool:
        """Whether a bracket holds a list, or a part of an expression, and not arguments, an index or a dict."""
        before = self._source[max(0, position - 40) : position].rstrip()
        if self._source[position] == "{":
            return False
        word = re.search(r"(?<!\w)\w*\Z", before)
        name = word.group() if word else ""
        if name:
            return keyword.iskeyword(name) or (self._source[position] == "(" and name in _DISPLAYED_BY)
        return not before.endswith((")", "]", "'", '"'))

    def in_comment(self, position: int) -> bool:
        index = bisect_right(self.comments, (position, len(self._source)))
        return index > 0 and position < self.comments[index - 1][1]

    def has_hint(self, start: int, end: int) -> bool:
        index = bisect_left(self.hints, start)
        return index < len(self.hints) and self.hints[index] < end


def _in_literal(source: str, literal: _Literal, literals: _Literals) -> Iterator[Span]:
    near = max(literal.statement, literal.opening - _NEAR)
    before = source[near : literal.opening].rstrip("rRbBfFuU")
    value = source[literal.start : literal.end]
    if value and _belongs_to_secret(source, literal, literals, before, value):
        yield literal.start, literal.end
        return
    for start, end in _in_text(value, before, hexadecimal=True):
        yield literal.start + start, literal.start + end


def _belongs_to_secret(source: str, literal: _Literal, literals: _Literals, before: str, value: str) -> bool:
    head_end = min(literal.opening, literal.statement + _NEAR)
    if literals.has_hint(literal.opening - _NEAR, literal.opening):
        owner = _OWNER.search(before)
        if owner and _is_secret(
            owner["name"], value, sure=owner["sep"] not in (",", "in") or owner["call"] is not None
        ):
            return True
        for pattern in (_OPTION, _FIELD, _SETTER):
            owner = pattern.search(before)
            if owner and _is_secret(owner["name"], value, sure=True):
                return True
    if literal.owner and _is_secret(literal.owner, value, sure=True):
        return True
    argument = _KEYWORD.search(before) if literal.nested else None
    is_assigned = argument["name"] in _DEFAULTS if argument else literal.direct
    if is_assigned and literals.has_hint(literal.statement, head_end):
        return any(_is_secret(name, value, sure=True) for name in _targets(source[literal.statement : head_end]))
    return False


def _is_secret(name: str, value: str, *, sure: bool) -> bool:
    found = likelihood(name)
    if is_short_number(value) and has_digits(name):
        return True
    if found is Suspicion.NO:
        return False
    return not is_harmless(value) if sure and found is Suspicion.YES else is_dense(value)


def _targets(head: str) -> list[str]:
    """The names that a statement assigns to, as far as its beginning tells."""
    target, equals, value = head.partition("=")
    is_compared = target.endswith(("!", "<", ">", ":")) or value.startswith("=")
    if not equals or is_compared or target.count("(") != target.count(")"):
        return []
    names = [re.findall(r"[\w-]+", part.partition(":")[0]) for part in target.split(",")]
    return [found[-1] for found in names if found]


_NUMBER = re.compile(
    r"(?<!\w)(?P<name>[A-Za-z_]\w{0,63})[\"']?\]?[ \t]{0,9}(?::[ \t]{0,9}\w{0,20})?[ \t]{0,9}(?:==|!=|=|:)[ \t]{0,9}"
    r"(?P<value>\d[\d_]*(?:\.\d+)?)(?![\w.])"
)


def _numbers(source: str, code: list[Span]) -> Iterator[Span]:
    """Yield where numbers stand that are given to the name of a secret."""
    starts = [start for start, _ in code]
    for match in _NUMBER.finditer(source):
        index = bisect_left(starts, match.start("value") + 1) - 1
        if index < 0 or not code[index][0] <= match.start("value") < code[index][1]:
            continue
        digits = match["value"].replace(".", "").replace("_", "")
        if is_short_number(digits) and has_digits(match["name"]):
            yield match.span("value")
