"""Secrets in calls that have a place for them: `login("me", "…")`, `bind("cn=…", "…")`, `from_key("…")`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import MappingProxyType

from fim_magic.context.secret_shapes import Span
from fim_magic.context.secret_values import is_address, is_dense, is_harmless

# A group for each place that passwords have.
_CALL = re.compile(
    r"""
    (?<![\w-])(?:
      (?P<third>
        (?:ftp|ftp_tls | imbox | register_session)\(
        | new[ ](?:pdo | mysqli)\( | (?:mysqli?_p?connect | hash_hmac | openssl_(?:en|de)crypt)\(
        | (?:imap_open | ftp_login | ldap_bind | ssh2_auth_password | drivermanager\.getconnection)\(
        | (?:mysqldb | pymysql | mysql\.connector | mariadb)\.connect(?:ion)?\(
        | create_(?:super)?user\(
      )
    | (?P<fourth>add_password\( | connect\((?=[^,()\n]{1,80},[ ]?\d{2,5},))
    | (?P<second>
        plaincredentials | (?-i:\w{0,30}(?<![a-z])Credentials)
        | pbkdf2_hmac | yagmail\.smtp | plaintextauthprovider | username_pw_set | smbconnection
        | (?:cx_oracle | oracledb | hdbcli\.dbapi)\.connect
        | (?:wlan | wifi | sta | sta_if | station | nic | wifi\.radio | wl)\.(?:connect | begin | softap)
        | (?:jwt | jsonwebtoken)(?:\.|::)(?:sign | verify | (?:en|de)code) | create(?:hmac | (?:de)?cipher(?:iv)?)
        | cryptojs\.\w{1,12}\.(?:en|de)crypt | oci_p?connect | firebase\.begin
      )\(
    | (?P<first>(?:aes|des3?|arc4|blowfish|chacha20)\.new | pbkdf2(?:hmac)? | kdf\.derive | \w{0,12}timedserializer
        | (?:reader|writer|pdf|doc|document)\.(?:en|de)crypt | cookieparser | bcrypt\.hash(?:sync|pw)?
        | blynk\.begin | redis(?:->|\.)auth)\(
    | (?P<login>\w{0,20}?(?:login|auth|from_credentials|(?:sym|aes)_(?:en|de)crypt))["']?[ ]?[=:]?[ ]?\(
    | (?P<known_later>
        \w{0,20}?(?:connect|set_password|getconnection|create_user|create_superuser|authenticate|credentials?)
        | github | check_password_hash
      )["']?[ ]?[=:]?[ ]?\(
    | (?P<known>fernet | hmac\.new)["']?[ ]?[=:]?[ ]?\(
    )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_LAST = 99
_SURE = MappingProxyType(
    {
        "first": range(1),
        "second": range(1, 2),
        "third": range(2, 3),
        "fourth": range(3, 4),
        "login": range(1, _LAST),
    }
)
"""Where a call has its password, whatever it is."""
_LIKELY = MappingProxyType({"known": 0, "second": 1, "known_later": 1, "third": 2, "fourth": 3})
"""From which of a call's arguments on what looks like a password is one."""

_ARGUMENT = re.compile(
    r"""
    (?P<comma>,) | (?P<named>=[ ]?)?[bru]?(?P<quote>\\?["'])(?P<value>[^"'\\\n]{1,200})(?P=quote)
    | [^()"'{},=\\]+ | \{[^{}\n]{0,60}\} | =
    """,
    re.VERBOSE,
)
_LONGEST_CALL = 300  # characters
_SHORTEST = 3  # characters of what is no name in an example
_HANDLER = re.compile(r"on_\w{1,60}")  # of an event
_NUMBER_AT_END = re.compile(r"\d{1,3}\Z")

_DECLARED = re.compile(
    r"\b(?:char|String)[ ]?(?:\*[ ]?)?(?:const[ ]?)?(?:\w{1,20}_)?pass[ ]?(?:\[\w{0,20}\])?[ ]?=[ ]?"
    r"\"(?P<value>[^\"\n\\ ]{3,100})\"",
    re.IGNORECASE,
)
"""In C, where the name is given to nothing else."""

_PLACES = (
    # Behind the name that a directory knows somebody by.
    re.compile(
        r"""
        (?:bind(?:_s)?|Connection)\([^\n]{0,120}?["'](?:\w{1,20}=[^"'\n]{1,160}|\w{1,20}\\{1,2}[\w.-]{1,60})["']\s{0,9},\s{0,40}
        ["'](?P<value>[^"'\n(][^"'\n=]{2,100})["']
        """,
        re.VERBOSE,
    ),
    re.compile(
        r"(?:from_?key|privateKeyToAccount|\bWallet|sign_?transaction|signTransaction|PrivateKey|(?<![\w.])Key)"
        r"\([^\"'\n()]{0,60}[\"'](?P<value>(?:0x)?[0-9a-fA-F]{64})[\"']"
    ),
    re.compile(r"\bnew[ ]Key\([\"'](?P<value>[^\"'\n]{3,200})[\"'],[ ]?[\"'](?:HS|RS|ES|PS|Ed)\d"),
    re.compile(
        r"\b(?:wlan|wifi|sta|sta_if|station|nic|radio|wl)\.(?:connect|begin)\([^()\n]{0,80}?\b(?:key|auth)[ ]?=[ ]?"
        r"(?:\([^()\n]{0,60}?,[ ]?)?[\"'](?P<value>[^\"'\n]{4,100})[\"']",
        re.IGNORECASE,
    ),
    # What is sent where a password is asked for.
    re.compile(
        r"""
        (?:read_until|expect|expect_exact|sendlineafter|sendafter)\([^\n]{0,40}?assw(?:or)?d[^\n]{0,20}\n?
        [^\n]{0,40}?(?:\.(?:write|send|sendline)\(|,[ ]?)b?["'](?P<value>[^"'\n\\]{3,60})(?:\\[rn]){0,2}["']
        """,
        re.VERBOSE,
    ),
)


def secret_arguments(text: str) -> Iterator[Span]:
    """Yield where passwords stand in calls that have them in a place: `login("me", "…")`, `auth=("me", "…")`."""
    for match in _DECLARED.finditer(text):
        if not is_harmless(match["value"]):
            yield match.span("value")
    if "(" not in text:
        return
    for call in _CALL.finditer(text):
        position, stop, index, last = call.end(), call.end() + _LONGEST_CALL, 0, ""
        while position < stop and (part := _ARGUMENT.match(text, position)):
            position = part.end()
            index += part["comma"] is not None
            if part["value"] and not part["named"]:
                if _is_password(part["value"], call.lastgroup or "", index, last):
                    yield part.span("value")
                last = part["value"]
    for pattern in _PLACES:
        for match in pattern.finditer(text):
            if not is_harmless(match["value"]):
                yield match.span("value")


def _is_password(value: str, kind: str, index: int, last: str) -> bool:
    if index in _SURE.get(kind, ()):
        return len(value) >= _SHORTEST and not is_harmless(value) and not is_address(value)
    # One of a row is none: `connect("node1", "node2")`.
    is_next = _NUMBER_AT_END.sub("", value) == _NUMBER_AT_END.sub("", last)
    return index >= _LIKELY.get(kind, _LAST) and is_dense(value) and not is_next and not _HANDLER.match(value)
