"""Secrets are left out of what is put into a prompt beside the user's own cell.

Prompts are shown, hashed, kept in notebooks and, with a server as the engine, sent; a key in another cell has no
business there. What looks like one is replaced by `…`. In Python a secret is a string, a number or said in a comment;
in any other text it may stand anywhere. This errs towards leaving out: a model misses little.
"""

from __future__ import annotations

import ast
import keyword
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from fim_magic import lexing
from fim_magic.cell_text import tree_of, without_magics
from fim_magic.context.secret_calls import secret_arguments
from fim_magic.context.secret_commands import secrets_in_lists_of_words
from fim_magic.context.secret_files import secrets_in_objects
from fim_magic.context.secret_logins import secrets_of_logins
from fim_magic.context.secret_names import HINT, Suspicion, has_digits, likelihood, secret_name
from fim_magic.context.secret_numbers import secret_numbers
from fim_magic.context.secret_pairs import PEOPLE_STEMS, is_login, is_second_of_pair, secrets_in_rows, used_as_secrets
from fim_magic.context.secret_settings import are_settings, are_words, is_ini, tell_of_login
from fim_magic.context.secret_shapes import Span, logins_in_urls, private_keys, random_runs, service_keys
from fim_magic.context.secret_text import is_table, secrets_in_text
from fim_magic.context.secret_values import is_dense, is_harmless, is_key_or_login, is_short_number, looks_secret

__all__ = ["GAP", "redacted", "requested_names", "secret_name", "secret_spans"]

GAP = "…"
_ASCII_GAP = "..."  # of bytes

_REQUEST = re.compile(r"\b(?:getpass|input|getenv|get_password|get_secret)[ \t]{0,9}\(|\benviron\b|\buserdata\.get\b")
_TARGETS = re.compile(r"\A[\w, \t]+")

_NEAR = 100  # characters before a literal that say what it is
_HINT = re.compile(  # in small letters: that takes a fifth of the time of any letters
    HINT.pattern + "|login|user|account|" + PEOPLE_STEMS
)
_OWNER = re.compile(
    r"""
    (?P<call>\b(?:get|getenv|set|setattr|setdefault|setenv|putenv|getattr|option|config|put|hset|define
      |add_field|setProperty|set_option|add_header|setHeader|Setenv)\((?:[\w"'.]{1,40},[ ]?)?["'])?
    (?<![\w.-])(?P<name>[\w.-]{1,64})(?:[:=]?[ ]?\\?["'`])?\]?[ \t]{0,9}(?::[ \t]{0,9}[\w\[\]., |]{0,40}?)?
    (?P<sep>==|!=|:=|<-|=>|=|:|,|\bin\b)\s{0,40}
    (?:\{\s{0,9}["'](?:value|default|plain)["']\s{0,9}:\s{0,9})?(?:[\w.]{0,30}?(?:SecretStr|SecretBytes|Secret|Field|Option|Argument|quote|quote_plus|b64encode|bytes|str)\()?
    [(\[]{0,2}\s{0,40}\Z
    """,
    re.VERBOSE,
)
"""What stands before a literal that belongs to a name: `x =`, `x: str =`, `x="`, `"x":`, `["x"] =`, `get("x",`."""
_OPTION = re.compile(
    r"""["']-{0,2}(?P<name>\w[\w.-]{1,63})["'](?:,[ ]?["']-{1,2}[\w-]{1,30}["']){0,3}[^"'()]{0,60}"""
    r"""(?:["']value["'][ ]?:|\b(?:default|value|const)[ ]?=)[ ]?\Z"""
)
_SETTER = re.compile(r"\b(?:set|use|with|add)_?(?P<name>\w{1,64})\((?:[ ]?[\"'][^\"'\n]{1,60}[\"'],)?\s{0,9}\Z")
_KEYWORD = re.compile(r"(?<!\w)(?P<name>\w{1,64})[ ]?=[ ]?\Z")
_KEY = re.compile(r"""["'](?P<name>[^"'\n]{1,64})["']\s{0,9}:\s{0,40}\Z""")
_OPEN_KEYS = frozenset(
    """
    account client_email database db driver email endpoint host id login name port region role server type url user
    username
    """.split()
)
"""What stands in the same dict as a secret, and is none."""
_TOKENS = re.compile(r"(?:\w{0,40}_)?tokens", re.IGNORECASE)
_COLUMN = re.compile(r"[a-z]+_[a-z0-9_]+|[a-z]+_?\d{4}")  # as another in a list of columns
_COLUMNS = re.compile(
    r"(?:\w\[\[|\b(?:columns|usecols|subset)[ ]?=[ ]?\[)[^\[\]]{0,90}\Z"
)  # what stands in them are names
_DEFAULTS = frozenset(("default", "value", "const"))
_FIELD = re.compile(r"""["'](?P<name>[\w.-]{1,64})["']\)?\.(?:send_keys|fill|type|setValue|set_value)\(\s{0,9}\Z""")
_WIDGET = re.compile(
    r"(?<!\w)(?P<name>\w{1,64}?)(?:_?(?:field|box|input|entry|edit|elem|element))?"
    r"\.(?:send_keys|fill|setText|set_text|set_value)\(\s{0,9}\Z"
)
_HOLDS = frozenset(("value", "text", "default"))  # of a widget or a cell: what it is called stands before
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


_MAGIC_LINE = re.compile(r"^[ \t]{0,40}[!%][^\n]*", re.MULTILINE)
_SHORT_WORD = re.compile(r"[A-Za-z0-9_-]{0,15}")  # says nothing of itself


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
    """Return where secrets stand in a text, which may be code with a hole, in order. Those that meet are one."""
    spans: list[Span] = []
    # Neither reading sees all of code with a hole. Of code, what reads as text has to look like a secret.
    is_code = _is_python(source)
    as_text = [cut for cut in _cuts(source, False) if not is_code or is_dense(source[cut[0] : cut[1]])]
    for start, end, _ in sorted((*_cuts(source, True), *as_text)):
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], end))
        else:
            spans.append((start, end))
    return tuple(spans)


def _cuts(source: str, python: bool | None) -> list[tuple[int, int, str]]:
    """Where secrets stand in a text, in order, and what takes the place of each. They may overlap."""
    if not (_is_python(source) if python is None else python):
        return sorted((start, end, GAP) for start, end in _in_text(source, hexadecimal=is_ini(source)))
    placed = (
        *secret_arguments(source),
        *secrets_of_logins(source),
        *secrets_in_objects(source),
        *secrets_in_rows(source),
        *secrets_in_lists_of_words(source),
    )
    cuts = [(start, end, _gap_after(source, start - 1)) for start, end in placed]
    for literal in (literals := _Literals(source)).found():
        gap = _gap_after(source, literal.opening)
        cuts += [(start, end, gap) for start, end in _in_literal(source, literal, literals)]
    # A private key in a comment may go on below it.
    cuts += [(start, end, GAP) for start, end in private_keys(source) if literals.in_comment(start)]
    for start, end in literals.comments:
        cuts += [(start + a, start + b, GAP) for a, b in _in_text(source[start:end], hexadecimal=False)]
    unquoted = chain(secret_numbers(source), _in_settings(source))
    cuts += [(start, end, f'"{GAP}"') for start, end in unquoted if literals.in_code(start, end)]
    return sorted(cuts)


def _gap_after(source: str, quote: int) -> str:
    """What stands for a secret in a literal whose quotes begin here: bytes are ASCII."""
    return _ASCII_GAP if "b" in source[max(0, quote - 2) : quote].lower() else GAP


@lru_cache(maxsize=64)
def _is_python(source: str) -> bool:
    """Whether a text is Python. Lines such as `PASSWORD=x` or `Password: x` may be, and are settings all the same."""
    if are_settings(source) or is_table(source):
        return False
    # A line that begins something may stand alone.
    rests = ("", *["\n    pass"] * (":" in source), *["\ndef _(): pass"] * ("@" in source))
    if any(tree_of(source + rest) is not None for rest in rests):
        return True
    # Between lines of IPython's there may be statements.
    plain = without_magics(source) if _MAGIC_LINE.search(source) else None
    tree = tree_of(plain) if plain and not are_settings(_MAGIC_LINE.sub("", source)) else None
    return tree is not None and not all(isinstance(node, ast.Pass) for node in tree.body)


def _in_text(text: str, before: str = "", *, hexadecimal: bool) -> Iterator[Span]:
    if _SHORT_WORD.fullmatch(text):
        return
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
    keeper: str  # the name that the innermost dict belongs to, or ""


def _lowered(source: str) -> str:
    """Return a text in small letters, each where it was: of some letters the small one has two characters."""
    lowered = source.lower()
    return lowered if len(lowered) == len(source) else "".join(character.lower()[0] for character in source)


class _Literals:
    """The string literals, comments and code of a text in Python."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.comments: list[Span] = []
        self.code: list[Span] = []
        self.hints = [match.start() for match in _HINT.finditer(_lowered(source))]
        self.used = used_as_secrets(source)

    def found(self) -> Iterator[_Literal]:
        source, statement, opening, start, code = self._source, 0, 0, 0, 0
        owners: list[str | None] = []  # of the open brackets; None for those of arguments, indexes and dicts
        keepers: list[str] = []  # likewise of those of dicts; "" for others
        hidden = 0

        def literal(end: int) -> _Literal:
            owner = (owners[-1] or "") if owners else ""
            keeper = keepers[-1] if keepers else ""
            return _Literal(start, end, opening, statement, hidden == 0, bool(owners), owner, keeper)

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
                keepers.append(self._keeper(event.position, statement))
                hidden += owners[-1] is None
            elif event.kind == "close" and owners:
                hidden -= owners.pop() is None
                keepers.pop()
            elif event.ends_statement:
                if start:
                    yield literal(event.position)  # left open by mistake
                    code = event.position
                statement, start, hidden, owners, keepers = event.position + 1, 0, 0, [], []
        if start:
            yield literal(len(source))
        else:
            self.code.append((code, len(source)))

    def _owner(self, position: int, statement: int, outer: str | None) -> str | None:
        """The name that a list belongs to, "" if it has none; None for another bracket."""
        if not self._is_display(position):
            return None
        return self._name_before(position, statement) or outer or ""

    def _keeper(self, position: int, statement: int) -> str:
        """The name that a dict belongs to, "" if it has none or is none."""
        return self._name_before(position, statement) if self._source[position] == "{" else ""

    def _name_before(self, position: int, statement: int) -> str:
        near = max(statement, position - _NEAR)
        owner = _OWNER.search(self._source[near:position]) if self.has_hint(near, position) else None
        return owner["name"] if owner and owner["sep"] != "," else ""

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

    def in_code(self, start: int, end: int) -> bool:
        index = bisect_right(self.code, (start, len(self._source))) - 1
        return index >= 0 and end <= self.code[index][1]

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
        if owner and _is_owned(owner, before, value):
            return True
        for pattern in (_OPTION, _FIELD, _WIDGET, _SETTER):
            owner = pattern.search(before)
            if owner and _is_secret(owner["name"], value, sure=True):
                return True
    if literal.owner and _is_secret(literal.owner, value, sure=True):
        return True
    if _is_kept(source, literal, before, value):
        return True
    argument = _KEYWORD.search(before) if literal.nested else None
    is_assigned = argument["name"] in _DEFAULTS if argument else literal.direct
    if is_assigned and (literals.used or literals.has_hint(literal.statement, head_end)):
        targets = _targets(source[literal.statement : head_end])
        return any(_is_secret(name, value, sure=True) for name in targets) or any(
            _is_secret(literals.used[name], value, sure=False) for name in targets if name in literals.used
        )
    return False


def _is_owned(owner: re.Match[str], before: str, value: str) -> bool:
    if owner["sep"] != "," or owner["call"]:
        return _is_secret(owner["name"], value, sure=owner["sep"] != "in")
    if owner["name"].startswith("--"):
        return _is_secret(owner["name"], value, sure=True)
    if _COLUMNS.search(before):
        return False
    opening = before[owner.start("name") - 2 : owner.start("name")]  # a bracket, and a quote
    if opening[1:] not in ("'", '"') and likelihood(owner["name"]) is Suspicion.MAYBE:
        return False  # `expect(token, "word1")`
    if opening[1:] in ("'", '"') and (_COLUMN.fullmatch(value) or likelihood(value.rstrip("0123456789"))):
        return False
    return _is_secret(owner["name"], value, sure=False)


def _is_kept(source: str, literal: _Literal, before: str, value: str) -> bool:
    """Whether a literal is one of a collection of secrets: of pairs, of people with their passwords, of a dict."""
    if not literal.nested:
        return False
    if is_second_of_pair(before, value, source[literal.end : literal.end + _NEAR]):
        return True
    if is_login(literal.owner or literal.keeper, before, value):
        return True
    keeps = likelihood(literal.keeper) is Suspicion.YES or _TOKENS.fullmatch(literal.keeper) is not None
    key = _KEY.search(before) if keeps else None
    return key is not None and key["name"].lower() not in _OPEN_KEYS and is_dense(value)


def _is_secret(name: str, value: str, *, sure: bool) -> bool:
    found = likelihood(name)
    if (is_short_number(value) and has_digits(name)) or is_key_or_login(name, value):
        return True
    if found is Suspicion.NO:
        return False
    return not is_harmless(value) if sure and found is Suspicion.YES else looks_secret(name, value)


def _targets(head: str) -> list[str]:
    """The names that a statement assigns to, as far as its beginning tells."""
    target, equals, value = head.partition("=")
    is_compared = target.endswith(("!", "<", ">", ":")) or value.startswith("=")
    if not equals or is_compared or target.count("(") != target.count(")"):
        return []
    names = [re.findall(r"[\w-]+", part.partition(":")[0]) for part in target.split(",")]
    return [found[-2] if found[1:] and found[-1] in _HOLDS else found[-1] for found in names if found]


def _in_settings(source: str) -> Iterator[Span]:
    """Yield where secrets stand in settings that Python can read, those in quotes among them."""
    is_sure = is_ini(source)
    if not is_sure and not are_words(source):
        return
    of_login = tell_of_login(source)
    for start, end in _in_text(source, hexadecimal=True):
        value = source[start:end]
        is_word = of_login and len(value) >= _LEAST_WORD and value.isalpha()
        if is_sure or is_word or is_dense(value):
            yield start, end


_LEAST_WORD = 6  # letters of a password in settings; names such as `pw` are shorter
