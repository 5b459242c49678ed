"""Secrets whose names do not stand right before them: in pairs, in lists of names, in lines that use them later."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from fim_magic.context.secret_names import LONGEST_NAME, Suspicion, likelihood
from fim_magic.context.secret_shapes import Span
from fim_magic.context.secret_values import is_dense, is_harmless

# `[("password", "…")`, `("a", "b"), ("password", "…")`, `append(("password", "…"))`; not `df[["password", "age"]]`.
_FIRST_OF_PAIR = re.compile(
    r"""
    (?: (?<![\w)\]])\[ | [)\]],(?:[ ]?\#[^\n]{0,60})? | \( (?=\s{0,40}\() | \{ | [(=]\[ )\s{0,40}
    [(\[]\s{0,40}[bru]?["'](?P<name>[^\s"'\\]{1,64})["']\s{0,40},\s{0,40}\Z
    """,
    re.VERBOSE,
)
_END_OF_PAIR = re.compile(r"[\"']{1,3}\s{0,40},?\s{0,40}[)\]]")
_OF_FIELD = re.compile(
    r"""
    [A-Z]\w*(?:Field|Type|Input|Widget|Column|String|Text|Str|Box|Validator|Entry) | (?:str|string|text|varchar|char
    |object|category|bytes|int|float|bool)\d*(?:\(\d{1,5}\))? | required | optional | hidden | hash(?:ed)? | mask(?:ed)?
    | min | max | unique | nullable | encrypted | plain | weak | strong | email | name | age | user(?:name)? | login
    | id | role | count | mean | first | last | sum | asc | desc
    """,
    re.VERBOSE,
)

# The first strings of pairs are people, and the second what they log in with, if it looks like that.
_PEOPLE = re.compile(
    r"""
    (?:\w{0,40}_)?(?:users?|accounts?|logins?|admins?|usu[aá]rios?|cuentas|contas|utilisateurs?|comptes?|benutzer|nutzer
    |konten|utent[ei]|gebruikers?|用[户戶]|使用者|[帳账]号|帳號|ユーザー|사용자|пользователи)(?:_(?:db|list|data|table|map|dict))?
    """,
    re.VERBOSE | re.IGNORECASE,
)
PEOPLE_STEMS = "admin|usu|cuenta|conta|utilisat|compte|nutzer|konten|utent|gebruik"
"""What stands in their ASCII names beside `user`, `account` and `login`, as a part of a regular expression."""
_SECOND = re.compile(
    r"[(\[]\s{0,40}[\"'][\w.@+-]{1,60}[\"']\s{0,40},\s{0,40}\Z|[\"'][\w.@+-]{1,60}[\"']\s{0,9}:\s{0,40}\Z"
)
_CHOSEN = re.compile(r"(?!@)(?=.*[a-z])(?:(?=.*[A-Z])(?=.*\d).*|.*[A-Za-z]\d+[A-Za-z].*|.*[!@#$%^&*].*)")
_NUMBERED = re.compile(r"[A-Za-z]{1,4}[-_./]?\d{2,10}[-_./]?[A-Za-z]?")  # of accounts that hold money: `A-1000b`
_LONGEST_CHOSEN = 24  # characters of a password that somebody has made up

# `passwords = dict(users)`, `OpenAI(api_key=k)`, `{"Authorization": f"Bearer {k}"}`
_USED = re.compile(
    r"""
    (?<![\w.-])(?P<name>[\w.-]{1,64})["']?\]?[ ]?(?::[ ]?\w{1,20}[ ]?)?[=:][ ]?
    (?:(?:dict|list|tuple|set|str|SecretStr)\()?(?P<used>[^\W\d]\w{0,63})
    (?=\)?[ ]?(?:[,)}\];\n]|\Z))
    | \b(?:AES|DES3?|ARC[24]|Blowfish|ChaCha20)\.new\([ ]?(?P<cipher>[^\W\d]\w{0,63})(?=[,)])
    | \b(?:Bearer|Token|token)[ ](?:\{(?P<inserted>[^\W\d]\w{0,63})[^\w{}]{0,3}\}
      | ["'][ ]?\+[ ]?(?P<added>[^\W\d]\w{0,63})(?![\w.(\[]))
    """,
    re.VERBOSE,
)
_ZIPPED = re.compile(
    r"\bzip\(\s{0,40}[(\[](?P<names>[^()\[\]]{1,300})[)\]]\s{0,40},\s{0,40}[(\[](?P<values>[^()\[\]]{1,600})[)\]]"
)
_ROWS = re.compile(
    r"""
    \w{1,40}\(\s{0,40}(?:data[ ]?=[ ]?)?\[(?P<values>(?:\s{0,40}[(\[][^()\[\]]{1,300}[)\]],?){1,50})\s{0,40}\],
    \s{0,40}(?:columns|names|schema|headers)[ ]?=[ ]?[(\[](?P<names>[^()\[\]]{1,300})[)\]]
    """,
    re.VERBOSE,
)
_ROW = re.compile(r"[(\[]([^()\[\]]{1,300})[)\]]")
_INSERTED = re.compile(
    r"""
    \bINSERT[ ]INTO[ ][^\n(]{1,80}\((?P<names>[^\n()]{1,300})\)\s{0,9}VALUES
    (?P<values>(?:\s{0,40}\([^()]{1,600}\)[ ]?,?){1,50})
    """,
    re.VERBOSE | re.IGNORECASE,
)
_ITEM = re.compile(r"[NbruE]?'([^'\n]{0,200})'|\"([^\"\n]{0,200})\"|[^,\"'\s]{1,200}")


def is_second_of_pair(before: str, value: str, after: str) -> bool:
    """Whether a string stands behind the name of a secret, in a list of pairs.

    Args:
        before: What stands before its quotes.
        value: What stands between them.
        after: What begins with the last of them.
    """
    pair = _FIRST_OF_PAIR.search(before)
    if pair is None or _END_OF_PAIR.match(after) is None or any(map(str.isspace, value)):
        return False
    is_kind = _OF_FIELD.fullmatch(value) or likelihood(value) is not Suspicion.NO
    return likelihood(pair["name"].lstrip("-")) is Suspicion.YES and not is_kind and not is_harmless(value)


def is_login(owner: str, before: str, value: str) -> bool:
    """Whether a string is what somebody logs in with, in a list or a dict of people: `users = [("ada", "…")]`."""
    return (
        len(value) <= _LONGEST_CHOSEN
        and is_dense(value)
        and _PEOPLE.fullmatch(owner) is not None
        and _SECOND.search(before) is not None
        and _CHOSEN.fullmatch(value) is not None
        and _NUMBERED.fullmatch(value) is None
    )


def used_as_secrets(source: str) -> Mapping[str, str]:
    """Return the names that code gives to the name of a secret, each with that: `k` in `Client(api_key=k)`."""
    used = {}
    for match in _USED.finditer(source):
        if alias := match["inserted"] or match["added"]:
            used[alias] = "bearer_token"
        elif match["cipher"]:
            used[match["cipher"]] = "secret_key"
        elif likelihood(match["name"]) is Suspicion.YES:
            used[match["used"]] = match["name"]
    return used


def secrets_in_rows(text: str) -> Iterator[Span]:
    """Yield what has the name of a secret by its place: in zipped lists, in rows of a frame, in what SQL inserts."""
    for match in _ZIPPED.finditer(text):
        yield from _by_place(text, match, [match.span("values")])
    for pattern in (_ROWS, _INSERTED):
        for match in pattern.finditer(text):
            yield from _by_place(text, match, [row.span(1) for row in _ROW.finditer(text, *match.span("values"))])


def _by_place(text: str, match: re.Match[str], rows: list[Span]) -> Iterator[Span]:
    names = [_inside(item) for item in _ITEM.finditer(match["names"])]
    secret = [likelihood(name[-LONGEST_NAME:].strip("`")) is Suspicion.YES for name in names]
    for row in rows if any(secret) else ():
        for is_secret, item in zip(secret, _ITEM.finditer(text, *row), strict=False):
            if is_secret and item.lastindex and not is_harmless(_inside(item)):
                yield item.span(item.lastindex)


def _inside(item: re.Match[str]) -> str:
    """What stands between the quotes of an item, if it has any."""
    return item[item.lastindex] if item.lastindex else item.group()
