"""What stands where a secret might: which values are none, such as placeholders, names, types, paths and sentences."""

from __future__ import annotations

import re

from fim_magic.context.secret_names import LONGEST_NAME, OTHER_KEYS, Suspicion, likelihood, may_be_word, words_of
from fim_magic.context.secret_words import is_label

_LEAST_DIFFERENT = 5  # characters of a key
_LEAST_KEY = 20  # characters of one that is letters and digits
LONGEST = 200
"""Characters of a value that are looked at."""

_PLACEHOLDER = re.compile(
    r"""
    \A(?: \[.*\] | \{.*\} | \$.* | %.{0,2} | %\w{1,40}% | %\(\w+\)s | .{0,12}(?:\.\.\.|…).{0,20} | @\w+@
    | (?:[a-z]{2,5}[-_])?(?: <.*>  # as a service's keys begin
      | (?:your|insert|replace|enter|put|paste|change|todo|fixme|redacted|hidden|dummy|placeholder)(?:[ _-].*|me)?)
    | .*[ _-](?:here|goes[ _-]here|redacted)
    | (?:some|the|an?|any|new|old)[ _-](?:password|secret|token|key|api[ _-]?key)
    | -{1,2}[a-z][a-z-]* | --[a-z][\w-]*=.* | (?:process\.)?env[.:(].* | .{0,12}x{4,}.* | [a-z]{2,5}[-_]x{3} | example
    | test | foo | bar | null | none)
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_PLAIN_WORDS = frozenset(
    """
    a an and any are array async await basic bearer bool boolean bytes const default def del disabled empty enabled fail
    failed false float from function if import in int integer is invalid lambda let missing n/a new nil no none not null
    number object of off ok on optional or pass passed read required return secretstr see self str string text the this
    to true undefined unknown valid varchar was with write wrong yes yield
    """.split()
)
_PLAIN = re.compile(r"\A(?:not?[ _-](?:required|needed|set)|see[ ].*)", re.IGNORECASE)
SCHEMES = "Bearer|Basic|[Tt]oken|ApiKey|Digest"
"""What stands before a key in a header, as a part of a regular expression."""

_SCHEME = re.compile(rf"\A(?:{SCHEMES})(?:[ ]+|\Z)")
_PATH = re.compile(
    r"\A(?:(?:~|\.{1,2})?/(?=[\w.]).*/.*|[A-Za-z]:\\.*|[\w./~-]*\.(?:json|txt|pem|key|toml|ya?ml|env|cfg|ini|csv|crt|p12)|\w+://.*)"
)
_ENVIRONMENT = re.compile(r"\A[A-Z]+(?:_[A-Z]+)+")
_NAME = re.compile(r"\A[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_WORDS = re.compile(r"\A[A-Za-z][A-Za-z .:/_-]*")
_MADE_UP = re.compile(  # of words that are also names
    r"(?:my|super|very|top)-?(?:super|very|top)?-?secret-?(?:pass(?:word|wd|phrase)?|pw|key|token)", re.IGNORECASE
)
_SENTENCE = re.compile(
    r"\b(?:a|an|and|are|be|field|for|has|have|in|invalid|is|must|not?|of|or|please|the|this|to|too|with|your?)\b",
    re.IGNORECASE,
)
_DENSE = re.compile(r"\A(?:(?=\D*\d)(?=[^A-Za-z]*[A-Za-z])\S{5,}|(?=[^A-Za-z]*[A-Za-z])(?=[^!@#$%^&]*[!@#$%^&])\S{6,})")
_KEY = re.compile(r"(?=[A-Z]{0,40}\d)(?=\d{0,40}[A-Z])[A-Z0-9]{16,40}")
_TAG = re.compile(r"![A-Za-z]+(?:[_/.:-][A-Za-z]+){0,9}")  # of YAML
_BYTES = re.compile(r"(?:[^\\]{0,4}\\x[0-9a-fA-F]{2}){8,64}[^\\]{0,4}")
_UUID = re.compile(r"(?:\d{1,9}:)?[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_HEX = re.compile(r"[0-9a-f]{32}(?:[0-9a-f]{8}){0,12}|[0-9A-F]{32}(?:[0-9A-F]{8}){0,4}")
_MIXED = re.compile(r"(?=[^a-z]{0,99}[a-z])(?=[^A-Z]{0,99}[A-Z])(?=\D{0,99}\d)[A-Za-z0-9_-]{20,100}")
_PIECE = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
_OF_BOTH_CASES = re.compile(r"(?=[A-Z]{0,40}[a-z])(?=[a-z]{0,40}[A-Z])[A-Za-z]{8,40}")
_NO_SYLLABLE = re.compile(r"[b-df-hj-np-tv-xz]{4}", re.IGNORECASE)
_NUMBERED_WORD = re.compile(r"(?:\#\#|Ġ|▁)?[A-Za-z]{3,}\d")
_USER = frozenset(("user", "login", "userpwd"))
_ORDINARY = re.compile(
    r"\A(?:(?:utf|latin|sha|md|base|mp|h|int|uint|float|rs|hs|es|v|col|column|layer|step|name|item|test)[_-]?\d+|\d+[a-z]{1,2}|n?(?:var)?char2?(?:\(\d+\))?"
    r"|[\d.]+(?:ms|s|k|M|G|MB|GB|px|%)?|\d{1,3}(?:\.\d+)+|\d{4}-\d\d-\d\d.*|[\w.+-]+@[\w-]+(?:\.[\w-]+)+)",
    re.IGNORECASE,
)


_ADDRESS = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,6}")


def is_short_number(value: str) -> bool:
    """Whether a value may be a PIN or a number in the place of a password."""
    return value.isdigit() and 4 <= len(value) <= 20 and len(set(value)) > 1


def is_address(value: str) -> bool:
    """Whether a value is the address of a mailbox."""
    return _ADDRESS.fullmatch(value) is not None


def is_made_up(value: str) -> bool:
    """Whether a value that could be a name is a secret out of an example: `mysecretpassword`."""
    return _MADE_UP.fullmatch(value) is not None


def is_key_or_login(name: str, value: str) -> bool:
    """Whether a value is a secret where others of this name are none: `key="AKIA…"`, `user = "me:…"`."""
    if name.lower() == "key":
        return any(pattern.fullmatch(value) for pattern in (_KEY, _BYTES, _UUID))
    if name.lower().endswith("key") and OTHER_KEYS.isdisjoint(words_of(name[-LONGEST_NAME:])):
        return is_key(value) and (":" in value or not _UUID.fullmatch(value))
    user, colon, password = value.partition(":")
    return name.lower() in _USER and bool(colon) and user.isidentifier() and is_dense(password)


def is_dense(value: str) -> bool:
    """Whether a value looks like a secret by itself: letters with digits or signs, without a blank."""
    value = value[:LONGEST]
    return _DENSE.fullmatch(value) is not None and not _ORDINARY.fullmatch(value) and not is_harmless(value)


def is_key(value: str) -> bool:
    """Whether a value has the form of a key: a long number in base 16, a UUID, letters of both kinds with digits."""
    has_form = _UUID.fullmatch(value) or _HEX.fullmatch(value)
    return len(set(value)) > _LEAST_DIFFERENT if has_form else _is_mixed(value)


def _is_mixed(value: str) -> bool:
    """Whether letters and digits are as mixed as in what has been drawn by chance: those of names are not."""
    has_kinds = _MIXED.fullmatch(value) is not None or _KEY.fullmatch(value) is not None
    return has_kinds and len(value) >= _LEAST_KEY and len(_PIECE.findall(value)) * 3 >= len(value)


def is_jumbled(value: str) -> bool:
    """Whether letters are no words: some of both kinds, and four in a row that nobody can say."""
    return _OF_BOTH_CASES.fullmatch(value) is not None and _NO_SYLLABLE.search(value) is not None


def looks_secret(name: str, value: str) -> bool:
    """Whether a value that is given to a name, which may be a secret's, looks like one."""
    return is_dense(value) and not (_NUMBERED_WORD.fullmatch(value) and may_be_word(name))


def is_harmless(value: str, *, quoted: bool = True) -> bool:
    """Whether a value that is given to the name of a secret is none.

    Args:
        value: Without its quotes.
        quoted: Whether it has any. What has none may be a name of a program.
    """
    value = _SCHEME.sub("", value.strip()[:LONGEST])
    letters = {character for character in set(value.lower()) if character.isalnum()}
    if not letters or (len(letters) == 1 and len(value) >= 3):
        return True
    if value.lower() in _PLAIN_WORDS:
        return True
    if any(pattern.fullmatch(value) for pattern in (_PLACEHOLDER, _PLAIN, _PATH, _ENVIRONMENT)):
        return True
    if is_label(value):
        return True
    if value.startswith(("^", ".*")) or "(?" in value:
        return True  # a pattern that a value has to fit
    if _WORDS.fullmatch(value) and not is_made_up(value) and _are_names(value):
        return True
    if value.count(" ") >= 2 and (value[-1] in ".?!:" or _SENTENCE.search(value)):
        return True
    return not quoted and _is_code(value)


def _are_names(value: str) -> bool:
    """Whether a value consists of names of secrets: `password`, `X-Api-Key`, `USER:PASSWORD`."""
    if len(value) > LONGEST_NAME:
        return False
    parts = [part for part in re.split(r"[ :/.]", value) if part]
    known = ("user", "username", "me", "api", "key", "key's", "name", "access")
    return all(likelihood(part) is not Suspicion.NO or part.lower() in known for part in parts) and any(
        likelihood(part) is not Suspicion.NO for part in parts
    )


def _is_code(value: str) -> bool:
    """Whether a value without quotes is an expression: `args.password`."""
    if _TAG.fullmatch(value):
        return True
    return "." in value and _NAME.fullmatch(value) is not None and not any(map(str.isdigit, value))
