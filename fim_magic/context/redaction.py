"""Secrets are left out of what is put into a prompt beside the user's own cell.

Prompts are shown, hashed, kept in notebooks and, with a server as the engine, sent; a key in another cell has no
business there. What looks like one is replaced by `…`. This errs towards leaving out: a model misses little.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from fim_magic import lexing

GAP = "…"

_SECRET_WORD = re.compile(
    r"""
    password | passwords | passwd | passphrase | passcode | pwd | pw | secret | secrets | credential |
    credentials | creds | apikey | apikeys | accesskey | secretkey | privatekey | bearer | auth |
    authorization | jwt | otp
    """,
    re.VERBOSE,
)
_BEFORE_KEY = re.compile(
    r"""
    api | access | secret | private | auth | account | ssh | signing | encryption | aws | azure | gcp |
    openai | anthropic | hf | client | service | storage | subscription | master | deploy
    """,
    re.VERBOSE,
)
# Names that people who work with language models give to tokens of text.
_OF_TEXT_TOKENS = re.compile(
    r"""
    pad | eos | bos | sep | mask | cls | unk | special | next | last | first | this | each | new | per |
    previous | prev | current | start | stop | end | max | min | num | n | input | output | image | sub
    | best | top
    """,
    re.VERBOSE,
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

_KEY_SHAPES = re.compile(
    r"""
    -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----(?:.*?-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|.*)
    | \b(?:AKIA|ASIA)[0-9A-Z]{16}\b                                   # Amazon
    | \bgh[opsur]_[A-Za-z0-9]{20,} | \bgithub_pat_\w{20,}             # GitHub
    | \bglpat-[\w-]{16,}                                              # GitLab
    | \b[sr]k-(?=[\w-]*\d)[\w-]{16,}                                  # OpenAI, Anthropic
    | \b[spr]k_(?:live|test)_[A-Za-z0-9]{10,}                         # Stripe
    | \bhf_[A-Za-z0-9]{16,}                                           # Hugging Face
    | \bxox[a-z]-[\w-]{10,} | \bhooks\.slack\.com/services/[\w/]+     # Slack
    | \bAIza[\w-]{30,}                                                # Google
    | \b(?:pypi-|npm_)[\w-]{30,}
    | \bSG\.[\w-]{16,}\.[\w-]{16,}                                    # SendGrid
    | \beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?                          # JSON web tokens
    | (?<=AccountKey=)[A-Za-z0-9+/=]{20,}                             # Azure
    | (?i:(?<=bearer\ )|(?<=basic\ ))[\w.~+/-]{16,}=*
    """,
    re.VERBOSE | re.DOTALL,
)
_LOGIN_IN_URL = re.compile(r"(?<=://)[^\s/:@\"'{}…]*:[^\s/@\"'{}…]+(?=@)")
_SAID_IN_COMMENT = re.compile(
    r"((?:pass(?:word|wd|phrase)|pwd|secret|api[ _-]?key|access[ _-]?key|token)\s*(?:[:=]|is\b)\s*)(\S+)", re.IGNORECASE
)

_LONG_RUN = re.compile(r"[A-Za-z0-9+/=_-]{24,}")
_HEX = re.compile(r"[0-9a-fA-F]{32,}")
_PUBLIC = re.compile(r"sha|hash|digest|checksum|commit|revision|md5|etag|fingerprint|uuid", re.IGNORECASE)
_NEAR = 100  # characters before a literal that say what it is
_LEAST_ENTROPY = 4.0  # bits a character; English words in snake_case have about 3.5, random base64 of 32 about 4.6
_LEAST_CHANGES = 4  # between letters and digits; names and paths change once or twice

_ASSIGNED = re.compile(r"^\s*(?P<target>[\w\s,.*()\[\]\"']+?)\s*(?::[^=]*)?(?<![=!<>])=(?!=)")
_REQUESTED = re.compile(
    r"^[ \t]*([\w, \t]+?)\s*(?::[^=\n]*)?=(?!=)[^\n#]*"
    r"(?:\b(?:getpass|input|getenv|get_password|get_secret)\s*\(|\benviron\b|\buserdata\.get\b)",
    re.MULTILINE,
)
_NAMED = re.compile(r"(?P<name>\w+)[\"']?\]?\s*(?::\s*[\w\[\]., |]*?)?(?:=|==|!=|:|,)\s*\(?\s*$")
"""What stands before a literal that belongs to a name: `x =`, `x: str =`, `x="`, `"x":`, `["x"] =`, `get("x",`."""


def secret_name(name: str) -> bool:
    """Whether what has this name is likely a key, a password or the like: `api_key`, `HF_TOKEN`, `dbPassword`."""
    words = [word.lower() for word in _WORD.findall(name)]
    if not words:
        return False
    if any(map(_SECRET_WORD.fullmatch, words)) or words[-1] == "pass" or name.startswith("AWS_"):
        return True
    last, before = words[-1].removesuffix("s"), words[:-1]
    if words[-1] == "token":
        return not any(map(_OF_TEXT_TOKENS.fullmatch, before))
    return last == "key" and any(map(_BEFORE_KEY.fullmatch, before))


def requested_names(source: str) -> frozenset[str]:
    """Return the names that code gives to what it asks the user or the environment for: `x = getpass.getpass()`."""
    return frozenset(name for match in _REQUESTED.finditer(source) for name in re.findall(r"\w+", match[1]))


def redacted(source: str) -> str:
    """Return code, complete or not, or any text, without what looks like a secret in it.

    Keys of known services, private keys and logins in URLs go wherever they stand; of string literals also those that
    are given to a name like `password`, and long random ones. A git commit in a comment stays.
    """
    cuts: list[tuple[int, int]] = [match.span() for match in _KEY_SHAPES.finditer(source)]
    cuts += [match.span() for match in _LOGIN_IN_URL.finditer(source)]
    for literal in _literals(source):
        cuts += _in_literal(source, literal)
    for start, end in _comments(source):
        cuts += [match.span(2) for match in _SAID_IN_COMMENT.finditer(source, start, end)]
    return _without(source, cuts)


@dataclass(frozen=True)
class _Literal:
    start: int  # of what stands between the quotes
    end: int
    opening: int  # of its quotes
    statement: int  # where its statement begins


def _literals(source: str) -> Iterator[_Literal]:
    statement = opening = start = 0
    for event in lexing.events(source):
        if event.kind == "string":
            opening, start = event.position, event.position + len(event.state.string)
        elif event.kind == "end of string":
            yield _Literal(start, event.position, opening, statement)
            start = 0
        elif event.ends_statement:
            if start:
                yield _Literal(start, event.position, opening, statement)  # left open by mistake
            statement, start = event.position + 1, 0
    if start:
        yield _Literal(start, len(source), opening, statement)


def _comments(source: str) -> Iterator[tuple[int, int]]:
    for event in lexing.events(source):
        if event.kind == "comment":
            end = source.find("\n", event.position)
            yield event.position, len(source) if end < 0 else end


def _in_literal(source: str, literal: _Literal) -> Iterator[tuple[int, int]]:
    # Of a long list of strings each would otherwise be looked for in all that stands before it.
    head = source[literal.statement : min(literal.opening, literal.statement + _NEAR)]
    before = source[max(literal.statement, literal.opening - _NEAR) : literal.opening].rstrip("rRbBfFuU")
    if literal.end > literal.start and _belongs_to_secret(head, before):
        yield literal.start, literal.end
        return
    public = _PUBLIC.search(before) is not None
    for match in _LONG_RUN.finditer(source, literal.start, literal.end):
        is_hex = _HEX.fullmatch(match.group()) is not None
        if (is_hex and not public) or (not is_hex and _random(match.group())):
            yield match.span()


def _belongs_to_secret(head: str, before: str) -> bool:
    named = _NAMED.search(before)
    if named and secret_name(named["name"]):
        return True
    assigned = _ASSIGNED.match(head)
    return assigned is not None and any(map(secret_name, re.findall(r"\w+", assigned["target"])))


def _random(run: str) -> bool:
    changes = sum(a.isdigit() != b.isdigit() for a, b in itertools.pairwise(run) if a.isalnum() and b.isalnum())
    counts = Counter(run)
    entropy = -sum(n / len(run) * math.log2(n / len(run)) for n in counts.values())
    return changes >= _LEAST_CHANGES and entropy >= _LEAST_ENTROPY


def _without(source: str, cuts: list[tuple[int, int]]) -> str:
    kept, position = "", 0
    for start, end in sorted(cuts):
        if start >= position:
            kept += source[position:start] + GAP
        position = max(position, end)
    return kept + source[position:]
