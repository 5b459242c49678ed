"""Settings that Python can read as well: an INI file is lists of one name, and names that are given to names."""

from __future__ import annotations

import re

_SECTION = re.compile(r"\[[\w .:@/\"'*-]{1,80}\](?:\s{0,9}[#;].*)?")
_COMMENT = re.compile(r"[#;].*|//.*|rem\b.*", re.IGNORECASE)
_SETTING = re.compile(r"(?P<name>[^\W\d][\w.-]{0,80})[ \t]{0,20}[=:][ \t]{0,20}(?P<value>[^\s(){}=].*)?")
_INDEXES_OR_CALLS = re.compile(r"\w[(\[]|[)\]]")
_BESIDE_PASSWORD = re.compile(r"\s{0,20}(?:user|username|login|host|hostname|server|email|database)[ ]?[=:]")
_WORD = re.compile(r"[^\W\d]\w*")
_NO_WORD = re.compile(r"(?!\w+(?:\.\w+)+\Z)[\w.+*/%&|^~-]{1,200}")  # as no formatter of code leaves a sum
_ONE_LINE = re.compile(r"\A(?:[A-Z][\w-]*[ ]?:[ \t].*|[A-Za-z_][\w.]*=\S+|[^\W\d][\w.]*:(?:[ \t]*\S+)?)")


def are_settings(source: str) -> bool:
    """Whether each line is such as `PASSWORD=x` or `Password: x`: Python may read them, and they are settings."""
    return all(map(_is_setting, source.split("\n")))


def _is_setting(line: str) -> bool:
    text = line.strip()
    is_value = line != line.lstrip() and len(text.split(maxsplit=1)) == 1  # of the name above it
    return not text or is_value or _ONE_LINE.fullmatch(text) is not None


def is_ini(source: str) -> bool:
    """Whether a text is sections with settings in them, as no code is: none of their values is a call or an index."""
    lines = _without_comments(source)
    if not lines or not _SECTION.fullmatch(lines[0]):
        return False
    return len(lines) > 1 and all(_SECTION.fullmatch(line) or _is_plain(line) for line in lines)


def are_words(source: str) -> bool:
    """Whether a text is settings of several words without quotes, none of which is a name that it has given before."""
    lines = _without_comments(source)
    settings = [_SETTING.fullmatch(line) for line in lines]
    values = [match["value"] for match in settings if match and match["value"]]
    names = {match["name"] for match in settings if match}
    return (
        len(values) == len(lines)
        and all(_WORD.fullmatch(value) or value.isdigit() or _NO_WORD.fullmatch(value) for value in values)
        and (len(lines) > 1 or not all(map(_WORD.fullmatch, values)))
        and not names & set(values)
    )


def tell_of_login(source: str) -> bool:
    """Whether settings name a user or a host, beside which a password may be any word."""
    return any(_BESIDE_PASSWORD.match(line) for line in source.split("\n"))


def _without_comments(source: str) -> list[str]:
    return [text for line in source.split("\n") if (text := line.strip()) and not _COMMENT.fullmatch(text)]


def _is_plain(line: str) -> bool:
    setting = _SETTING.fullmatch(line)
    if setting is None:
        return False
    value = setting["value"] or ""
    return value[:1] in ("'", '"', "[") or _INDEXES_OR_CALLS.search(value) is None
