"""Secrets in files whose place says what they are: of a cluster, of the devices of a network, and words of a wallet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

from fim_magic.context.nested_commands import with_own_lines
from fim_magic.context.secret_names import Suspicion, likelihood
from fim_magic.context.secret_shapes import Span
from fim_magic.context.secret_values import is_dense, is_harmless

_IN_BRACES = re.compile(r"^[ \t]{0,20}(?:data|stringData):[ ]\{(?P<values>[^{}\n]{1,2000})\}[ \t]{0,9}$", re.MULTILINE)
_IN_LINE = re.compile(r":[ ]{1,4}[\"']?(?P<value>[^,\"'\n]{1,400})")
_KIND = re.compile(r"^[ \t]{0,20}(?:-[ ])?kind:[ ]{1,4}[\"']?Secret[\"']?[ \t]{0,9}$", re.MULTILINE)
_DATA = re.compile(r"(?P<indent>[ \t]{0,20})(?:-[ ])?(?:data|stringData):[ \t]{0,9}\r?\n?\Z")
_ENTRY = re.compile(
    r"(?P<indent>[ \t]{1,40})(?:[\"']?[\w./-]{1,120}[\"']?:[ \t]{1,9})?(?P<quote>[\"']?)(?P<value>[^\r\n]{0,4000})"
)
_BLOCK = re.compile(r"[|>][+-]?\d?")
_IN_OBJECT = re.compile(
    r"""
    (?: ["']kind["']\s{0,9}:\s{0,9}["']Secret["'] [^\0]{0,400}? ["'](?:data|stringData|string_data)["']\s{0,9}:
      | \bV1Secret\( [^\0]{0,400}? \b(?:data|string_data)[ ]?= )
    \s{0,9}\{(?P<values>[^{}]{1,2000})\}
    """,
    re.VERBOSE,
)
_REGISTRY_LOGIN = re.compile(
    r"\bauths[\"']?\s{0,9}:[^\0]{0,200}?[\"']auth[\"']\s{0,9}:\s{0,9}[\"'](?P<value>[A-Za-z0-9+/]{8,2000}={0,2})[\"']"
)
# Kaggle's file, and what is like it: a key beside somebody's name.
_USER_AND_KEY = re.compile(
    r"""
    (?<!\w)\\?["'](?:user(?:_?name)?|login)\\?["']\s{0,9}:\s{0,9}\\?["'][^"'\n\\]{1,80}\\?["']\s{0,9},\s{0,40}
      \\?["']key\\?["']\s{0,9}:\s{0,9}\\?["'](?P<second>[\w+/=-]{16,200})(?=\\?["'])
    | (?<!\w)\\?["']key\\?["']\s{0,9}:\s{0,9}\\?["'](?P<first>[\w+/=-]{16,200})(?=\\?["']\s{0,9},\s{0,40}
      \\?["'](?:user(?:_?name)?|login)\\?["']\s{0,9}:)
    """,
    re.VERBOSE,
)
_ELEMENTS = re.compile(
    r"<(?P<tag>name|key|param-name|string)>\s{0,9}(?P<name>[\w.-]{1,64})\s{0,9}</(?P=tag)>\s{0,40}"
    r"(?:<description>[^<]{0,200}</description>\s{0,40})?"
    r"<(?P<other>value|string|param-value)>\s{0,9}(?P<value>[^<>\n]{1,200}?)\s{0,9}</(?P=other)>"
)
_ATTRIBUTES = re.compile(
    r"<(?!input|button|option)\w{1,20}[ ](?:\w{1,20}=[\"'][^\"'<>]{0,80}[\"'][ ]){0,3}?"
    r"value=[\"'](?P<value>[^\"'<>\n]{1,200})[\"']\s{1,9}"
    r"(?:key|name)=[\"'](?P<name>[\w.-]{1,64})[\"']"
)
_VALUE = re.compile(r":\s{0,9}[\"'](?P<value>[^\"'\n]{1,400})[\"']")

_TYPE = (
    r"(?:(?:level[ ]\d{1,2}[ ])?"
    r"(?:[0-9]|ENC|encrypted|cipher|simple|md5|hex|ascii(?:-text)?|sha\S{0,6}|local|remote)[ ])"
    r"{0,3}"
)
_DEVICE = re.compile(
    rf"""
    ^(?:[\w.@-]{{1,30}}(?:\([\w-]{{1,20}}\))?[\#>])?[ \t\#!"']{{0,12}}(?:
      enable[ ](?:secret|password)[ ]
    | username[ ]\S{{1,60}}[ ](?:(?:privilege|role)[ ]\S{{1,20}}[ ])?(?:secret|password)[ ]
    | snmp-server[ ]community[ ] | (?:set[ ])?snmp[ ]community[ ] | r[ow]community6?[ ]
    | snmp-server[ ]host[ ]\S{{1,40}}[ ](?:(?:traps|informs)[ ])?version[ ]\S{{1,3}}[ ](?:(?:auth|priv|noauth)[ ])?
    | snmp-server[ ]user[ ][^\n]{{1,80}}[ ]priv[ ](?:3?des|aes[ ]?\d{{0,3}})[ ]
    | (?:(?:set[ ][\w -]{{1,60}}|ikev\d)[ ])?pre-shared-key[ ](?:=[ ]|address[ ]\S{{1,40}}[ ]key[ ])?
    | (?:[\w ]{{1,40}}[ ])?key-string[ ]
    | crypto[ ]isakmp[ ]key[ ]
    | (?:tacacs|radius)-server[ ](?:host[ ]\S{{1,40}}[ ])?(?:[\w-]{{1,20}}[ ]\d{{1,5}}[ ]){{0,4}}key[ ]
    | (?:ip[ ]ospf[ ]|area[ ]\S{{1,15}}[ ]|ntp[ ])(?:message-digest-key|authentication-key)[ ](?:\d{{1,5}}[ ]md5[ ])?
    | (?:neighbor[ ]\S{{1,40}}|ip[ ]ftp|ip[ ]http[ ]client|ppp[ ](?:chap|pap[ ]sent-username[ ]\S{{1,40}}))
      [ ]password[ ]
    | wpa-psk[ ] | set[ ](?:passwd|psksecret|password)[ ]
    | set[ ][\w -]{{1,60}}[ ](?:plain-text-password-value|encrypted-password)[ ]
    | (?:key|password|secret)[ ](?=[0-9][ ])
    ) {_TYPE}["']?(?P<value>[^\s"'…]{{3,100}})["']?[ \t]{{0,9}}
    (?=["']?,?$|[.\d/]{{1,18}}[ \t]{{0,9}}$|(?:RO|RW|ro|rw|address|authorization|encrypted|role|privilege|view|group)\b)
    """,
    re.VERBOSE | re.MULTILINE,
)
_OF_LINE = re.compile(
    r"^line[ ](?:vty|con|console|aux)\b[^\n]{0,20}\n(?:[ \t]{1,4}[^\n]{0,80}\n){0,5}?[ \t]{1,4}password[ ](?:\d[ ])?"
    r"(?P<value>\S{3,100})$",
    re.MULTILINE,
)
_OF_SNMP_USER = re.compile(
    r"\bsnmp-server[ ]user[ ][^\n]{1,60}[ ]auth[ ](?:md5|sha)[ ](?P<value>\S{3,100})", re.MULTILINE
)
_IS_DEVICE = re.compile(r"community|key|snmp|passw|psk|secret")
_NO_VALUE = frozenset(
    """
    authentication encryption expiry generation hashing key length login management option options password policy
    protection recovery reset rotation scanning secret strength
    """.split()
)
"""What stands behind `enable password` in prose."""

_PHRASE = re.compile(
    r"""
    (?:seed|mnemo(?:nic)?|phrase|recovery|wallet|bip_?39|(?P<words>(?<![\w.])words?))[^\n"'=:(]{0,30}["'\]]{0,2}
    [ ]?[:=(][ ]?(?:\w{1,20}[ ]?=[ ]?)?["']{0,3}
    (?P<value>(?:[a-z]{3,8}[ ]){11,23}[a-z]{3,8})(?!\w|[ ][a-z])(?P<split>["']{1,3}\.split)?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_COUNTS = frozenset((12, 15, 18, 21, 24))  # of the words that a wallet is restored with
_OF_SENTENCES = frozenset("and are but for has her his its not our the was were with your".split())


def secrets_in_files(text: str) -> Iterator[Span]:
    """Yield what is secret by its place in a manifest, in the configuration of a device, or by its name in XML."""
    if "Secret" in text:
        yield from _of_manifests(text)
    for match in chain(_ELEMENTS.finditer(text), _ATTRIBUTES.finditer(text)):
        found = likelihood(match["name"])
        if is_dense(match["value"]) if found is Suspicion.MAYBE else found and not is_harmless(match["value"]):
            yield match.span("value")
    if _IS_DEVICE.search(text):
        lines = with_own_lines(text)  # of `ssh ROUTER enable secret …`
        behind = _DEVICE.finditer(lines) if lines != text else ()
        for match in chain(*(pattern.finditer(text) for pattern in (_DEVICE, _OF_LINE, _OF_SNMP_USER)), behind):
            if match["value"].lower() not in _NO_VALUE and not is_harmless(match["value"].lstrip("$")):
                yield match.span("value")


def secrets_in_objects(text: str) -> Iterator[Span]:
    """Yield the values of a cluster's secrets in JSON and in Python, and the words of wallets."""
    if "Secret" in text:
        for found in _IN_OBJECT.finditer(text):
            for match in _VALUE.finditer(text, *found.span("values")):
                if not is_harmless(match["value"]):
                    yield match.span("value")
    for found in _REGISTRY_LOGIN.finditer(text):
        yield found.span("value")
    for found in _USER_AND_KEY.finditer(text):
        if is_dense(found[found.lastgroup or 0]):
            yield found.span(found.lastgroup or 0)
    for found in _PHRASE.finditer(text):
        words = found["value"].lower().split()
        if len(words) in _COUNTS and not _OF_SENTENCES & set(words) and not (found["words"] and found["split"]):
            yield found.span("value")


def _of_manifests(text: str) -> Iterator[Span]:
    """Yield each value below `data:` in the documents of YAML whose kind is a secret."""
    for start, end in _documents(text):
        if _KIND.search(text, start, end):
            yield from _values(text, start, end)
            for found in _IN_BRACES.finditer(text, start, end):
                for match in _IN_LINE.finditer(text, *found.span("values")):
                    if not is_harmless(match["value"]):
                        yield match.span("value")


def _documents(text: str) -> Iterator[Span]:
    start = 0
    for mark in re.finditer(r"^---[^\n]{0,80}$", text, re.MULTILINE):
        yield start, mark.start()
        start = mark.end()
    yield start, len(text)


def _values(text: str, start: int, end: int) -> Iterator[Span]:
    outer: int | None = None  # the indentation of the `data:` that the line may stand below
    for line in text[start:end].splitlines(keepends=True):
        if data := _DATA.fullmatch(line):
            outer = len(data["indent"])
        elif outer is not None and line.strip():
            entry = _ENTRY.match(line)
            if entry is None or len(entry["indent"]) <= outer:
                outer = None
            else:
                value = entry["value"].rstrip().removesuffix(entry["quote"] or "\0")
                if not _BLOCK.fullmatch(value) and not is_harmless(value):
                    yield start + entry.start("value"), start + entry.start("value") + len(value)
        start += len(line)
