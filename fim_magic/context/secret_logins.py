"""Passwords behind whom they belong to, in calls of any library and in the fields of a page.

No list of libraries says so: `GIS("https://…", "ada_gis", "…")` has a login by what its arguments look like, and
`field.send_keys("…")` by what the field was found with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fim_magic.context.secret_names import Suspicion, likelihood
from fim_magic.context.secret_shapes import Span
from fim_magic.context.secret_values import is_address, is_dense, is_harmless

_SECOND = re.compile(
    r",\s{0,40}[bru]?(?P<quote>[\"'])(?P<password>[^\"'\s\\,;:/]{6,40})(?P=quote)(?=\s{0,9}[,)\]])",
)
_FIRST = re.compile(
    r"""
    (?: (?P<quote>["'])(?P<user>(?![A-Z]{1,2}\d{0,4}["'])[A-Za-z+][\w.@+-]{0,80})(?P=quote)
      | (?<![\w."'])(?P<name>[A-Za-z_][\w.]{1,60}) )
    \s{0,9}\Z
    """,
    re.VERBOSE,
)
_LONGEST_FIRST = 100  # characters
_TEMPLATE = re.compile(r"://(?:%s|\{\w{0,20}\}):(?:%s|\{\w{0,20}\})@")  # of a URL, which a login comes into
_CALLEE = re.compile(r"(?<![\w.])[\w.]{1,60}\Z")
_OUTSIDE = re.compile(r"\w\[\s{0,3}\Z")  # of an index
_LONGEST_CALL = 200  # characters before a login, and behind it
_LOGS_IN = re.compile(
    r"(?:\w{0,40}(?:log_?in|log_?on|sign_?in|auth\w{0,9}|connect(?:ion)?|session|credentials?)|client|api)",
    re.IGNORECASE,
)
_SERVICE = re.compile(
    r"\w{0,40}(?:API|Api|Client|Session|Connection|Manager|Service|Scraper|Bot|Downloader)|[A-Z]{2,8}"
)
_PERSON = re.compile(
    r"\w{0,40}(?:user|admin|student|login|account|guest|e_?mail)\w{0,12}|root|sa|postgres|scott|me|demo", re.IGNORECASE
)
_HOST = re.compile(r"[\"'](?:https?://[^\"'\s]{3,160}|localhost|[\w-]{1,60}(?:\.[\w-]{1,60}){1,5}(?::\d{1,5})?)[\"']")
_URL_BEFORE = re.compile(r"[\"']https?://[^\"'\s]{3,160}[\"'],\s{0,40}\Z")
# A password of all kinds of characters is one whatever stands around it; of others more has to say so.
_OF_ALL_KINDS = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*\d)(?=.*[!@#$^&*])[\w!#$^&*.+?-][\w!@#$^&*.+?-]{6,39}")
_OF_SOME_KINDS = re.compile(
    r"(?=.*[a-z])(?=.*[A-Z])(?=.*\d)(?!.*\.[A-Za-z]\w{1,3}\Z)[\w.-]{8,40}|(?=.*[A-Za-z])(?=.*\d)(?=.*[!@#$^&*])[\w!#$^&*.+?-][\w!@#$^&*.+?-]{6,39}"
)
_LIKE_A_NAME = re.compile(r"(?:[A-Z][a-z]+){1,4}_?\d{0,4}|[a-z]+(?:[A-Z][a-z]+){1,4}\d{0,2}")
_WORD_AND_NUMBER = re.compile(r"(?=.*[a-z])(?=.*\d)[\w.!#$^&*+-]{6,40}")
_NUMBERED = re.compile(r"[A-Za-z]{1,4}[-_./]?\d{2,10}[-_./]?[A-Za-z]?|v?\d+(?:[.-]\d+)+\w{0,6}")

_ENTERED = re.compile(
    r"""
    \.(?:send_keys|fill|type|setValue|set_value|press_sequentially|input|clear_and_type)\(\s{0,9}
    (?P<quote>["'])(?P<value>[^"'\n\\]{3,60})(?P=quote)
    """,
    re.VERBOSE,
)
_IN_FIELD = re.compile(
    r"""
    \.(?:fill|type|press_sequentially|set_value|input_text|fill_in)\(\s{0,9}(?P<quote>["'])(?P<locator>[^\n]{1,120}?)(?P=quote),
    \s{0,9}(?P<other>["'])(?P<value>[^"'\n\\]{3,60})(?P=other)
    """,
    re.VERBOSE,
)
_NAME_BEFORE = re.compile(r"(?<![\w.])\w{1,40}\Z")
_ONE_OF_THEM = re.compile(r"\.(?:first|last|nth\(\d\))\Z")
_FARTHEST = 600  # characters between finding a field and filling it
_STATEMENT = re.compile(r"[\n;]")
_QUOTED = re.compile(r"[\"'][^\n]{1,200}")
_WORD = re.compile(r"[A-Za-z][\w-]{1,63}")


def secrets_of_logins(text: str) -> Iterator[Span]:
    """Yield what looks like a password behind a user's name in a call, and what is entered in a password's field."""
    if "(" not in text and "[" not in text:
        return
    for match in _SECOND.finditer(text):
        if _is_password(text, match):
            yield match.span("password")
    for match in _ENTERED.finditer(text):
        if _is_of_secret(_locator(text, match)) and not is_harmless(match["value"]):
            yield match.span("value")
    for match in _IN_FIELD.finditer(text):
        if _is_of_secret(f'"{match["locator"]}') and not is_harmless(match["value"]):
            yield match.span("value")


def _is_password(text: str, match: re.Match[str]) -> bool:
    password = match["password"]
    needed = _evidence_needed(password)
    if needed is None or not is_dense(password) or is_address(password) or _NUMBERED.fullmatch(password):
        return False
    near = max(0, match.start() - _LONGEST_FIRST)
    first = _FIRST.search(text[near : match.start()])
    if first is None:
        return False
    user, start = first["user"] or first["name"], near + first.start()
    is_person = is_address(user) or _PERSON.fullmatch(user.rpartition(".")[2]) is not None
    if (first["name"] and not is_person) or password.lower().startswith(user.lower()):
        return False
    if _OUTSIDE.search(text[max(0, start - 4) : start]):
        return False
    opening = text.rfind("(", max(0, start - _LONGEST_CALL), start)
    if _TEMPLATE.search(text[max(0, opening - _LONGEST_CALL) : max(0, opening)]):
        return True
    before = text[opening + 1 : start] if opening >= 0 else ")"
    callee = _CALLEE.search(text[max(0, opening - 60) : max(0, opening)])
    if callee is None or any(bracket in before for bracket in ")[]{}="):
        return is_person and needed == 0
    rest = text[match.end("password") : match.end("password") + _LONGEST_CALL].partition(")")[0]
    return _evidence(user, callee.group().rpartition(".")[2], before, rest) >= needed


def _evidence_needed(password: str) -> int | None:
    """How much around a password has to say that it is one; None for what is none."""
    if _OF_ALL_KINDS.fullmatch(password):
        return 0
    if _OF_SOME_KINDS.fullmatch(password) and not _LIKE_A_NAME.fullmatch(password):
        return 1
    return 3 if _WORD_AND_NUMBER.fullmatch(password) else None


def _evidence(user: str, callee: str, before: str, rest: str) -> int:
    of_user = 2 if is_address(user) else int(_PERSON.fullmatch(user) is not None)
    of_callee = 2 if _LOGS_IN.fullmatch(callee) else int(_SERVICE.fullmatch(callee) is not None)
    of_host = 2 if _URL_BEFORE.search(before) else int(_HOST.search(before + rest) is not None)
    return of_user + of_callee + of_host


def _locator(text: str, match: re.Match[str]) -> str:
    """What the field was found with that something is entered into; "" where that is not seen."""
    before = _ONE_OF_THEM.sub("", text[max(0, match.start() - _FARTHEST) : match.start()])
    name = _NAME_BEFORE.search(before)
    if name is None:
        return _last_arguments(before[:-1]) if before.endswith(")") else ""
    for statement in reversed(_STATEMENT.split(before)):
        target, equals, locator = statement.partition("=")
        if equals and target.strip() == name.group():
            return locator
    return ""


def _last_arguments(before: str) -> str:
    """What stands between the brackets the last of which comes behind a text."""
    depth = 1
    for index in range(len(before) - 1, max(-1, len(before) - _LONGEST_CALL), -1):
        depth += (before[index] == ")") - (before[index] == "(")
        if depth == 0:
            return before[index + 1 :].replace("\n", " ")
    return ""


def _is_of_secret(locator: str) -> bool:
    quoted = _QUOTED.search(locator)
    return quoted is not None and any(
        word.lower() == "pass" or likelihood(word) is Suspicion.YES for word in _WORD.findall(quoted.group())
    )
