"""Secrets in commands that have a place for them: `curl -u me:…`, `mysql -p…`, `--from-literal=db=…`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fim_magic.context.nested_commands import with_own_lines
from fim_magic.context.secret_shapes import Span
from fim_magic.context.secret_values import is_dense, is_harmless

# A tool's option that takes a password. Only so much of a command is looked through.
_OPTION = re.compile(
    r"""
    (?<![\w.-])(?:
      sshpass[ ](?:(?:-[ev]|-[dfP][ ]?\S{1,40})[ ]){0,4}-p[ ]?
    | (?:(?:docker|podman|az)[ ]login|mongo(?:sh|s|dump|restore|export|import)?|twine|cqlsh|cypher-shell
        |beeline|psexec|rdesktop|steghide)[ ][^\n|;]{0,120}?(?<=[ ])-p[ ]?
    | (?:mysql(?:dump|admin)?|7z[ar]?|rar|unrar)[ ][^\n|;]{0,120}?(?<=[ ])["']?-h?p(?=\S)
    | (?:zip|unzip|sqlcmd|bcp|osql|isql|ipmitool|mosquitto_(?:pub|sub|rr))[ ][^\n|;]{0,120}?(?<=[ ])-P[ ]?
    | redis-cli[ ][^\n|;]{0,120}?(?<=[ ])(?:-a|--pass)[ ]
    | ldap\w{3,10}[ ][^\n|;]{0,120}?(?<=[ ])-w[ ]
    | openssl[ ][^\n|;]{0,120}?(?<=[ ])-k[ ]
    | keytool[ ][^\n|;]{0,120}?(?<=[ ])-(?:store|key)pass[ ]
    | (?:smbclient|smbget|rpcclient|net[ ]rpc)[ ][^\n|;]{0,120}?(?<=[ ])(?:-U[ ]?|--user=)["']?[\w\\/.-]{1,40}%
    | lftp[ ][^\n|]{0,120}?(?<=[ ])(?:-u|--user)[ ]["']?[\w@.-]{1,40},
    | htpasswd[ ](?=(?:-\w{1,5}[ ](?:\d{1,2}[ ])?){0,3}-\w{0,4}b)
      (?:(?=(?:-\w{1,5}[ ](?:\d{1,2}[ ])?){0,3}-\w{0,4}n)(?:-\w{1,5}[ ](?:\d{1,2}[ ])?){1,4}
        | (?:-\w{1,5}[ ](?:\d{1,2}[ ])?){1,4}[^\s-]\S{0,80}[ ])[\w@.-]{1,40}[ ]
    | (?:curl|wget|xh)[ ][^\n|;]{0,120}?(?<=[ ])(?:-u|--user|--proxy-user|-U)[ =]?["']?[\w.@+-]{1,60}:
    | snmp\w{2,9}[ ][^\n|;]{0,120}?(?<=[ ])-A[ ]
    | (?:plink|pscp|psftp)[ ][^\n|;]{0,120}?(?<=[ ])-pw[ ]
    | wpa_passphrase[ ]["']?[\w.-]{1,32}["']?[ ]
    | ssh-keygen[ ][^\n|;]{0,120}?(?<=[ ])-[NP][ ]
    | mc[ ](?:alias|config[ ]host)[ ](?:set|add)[ ]\S{1,40}[ ]\S{1,80}[ ]
    | https?[ ][^\n|;]{0,120}?(?<=[ ])(?:-a|--auth)[ ][\w.@-]{1,40}:
    | net[ ]use[ ][^\n]{0,60}?\\\\[\w.\\-]{1,60}[ ]
    | --from-literal[= ]["']?[\w.-]{1,60}=
    )["']?(?P<value>[^\s"'<>$/-][^\s"'<>]{2,99})
    """,
    re.VERBOSE,
)
_SNMP = r"(?<![\w-])snmp(?!trapd)\w{2,9}[ ][^\n|;]{0,160}?(?<=[ ])-c[ ]?[\"']?"
_SNMP_VALUE = r"[^\s\"'<>$/-][^\s\"'<>]{2,99}"
_OF_ANY_COMMAND = re.compile(
    r"(?<=[ ])(?:-[uUl]|--user(?:name)?)[ =]?[^\s-][^\s.]{0,60}(?:@\S{1,60})?[ ](?:[^\n|;]{0,80}[ ])?-[pP][ ]?"
    r"(?P<value>[^\s\"'<>$/-][^\s\"'<>]{4,99})"
    rf"|{_SNMP}(?P<community>{_SNMP_VALUE})"
)
_HAS_P = re.compile(r"-[pP]|snmp")
_OTHER_P = re.compile(r"(?<!\w)(?:mysql\w{0,9}|mariadb|psql|ssh|scp|rsync|nmap|docker|podman)[ ]")  # with another `-p`
_END_OF_COMMAND = re.compile(r"[\n;|&]")
_FARTHEST = 100  # characters of a command before an option
_SNMP_PRIVACY = re.compile(rf"(?<![\w-])snmp\w{{2,9}}[ ][^\n|;]{{0,160}}?(?<=[ ])-X[ ][\"']?(?P<value>{_SNMP_VALUE})")
_SNMP_COMMUNITY = re.compile(
    rf"(?=snmp\w{{2,9}}[ ][^\n|;]{{0,160}}?-v[ ]?[12]){_SNMP}(?!(?:community|private|public)\b)(?P<value>{_SNMP_VALUE})"
)
_FTP_LINES = re.compile(
    r"(?<![\w-])ftp[ ][^\n]{0,80}<<[^\n]{0,20}\n(?:[^\n]{0,80}\n){0,3}?[ \t]{0,8}(?:quote[ ])?user[ ]\S{1,40}[ ]"
    r"(?P<value>[^\s$]{3,100})[ \t]{0,8}$",
    re.MULTILINE,
)
_PIPED = re.compile(
    r"""
    \becho[ ]{1,9}(?:-n[ ]{1,9})?["']?(?P<value>[^\s"'|$]{3,100})["']?[ ]{0,9}\|
    [^\n]{0,80}?(?:--password-stdin|sudo[ ]-S|passwd|--passphrase-fd)
    """,
    re.VERBOSE,
)
_LOGIN_COMMAND = re.compile(
    r"\b(?:wandb|kaggle|comet|railway)[ ](?:login|config)[ ](?:[\w-]{1,20}[ ]){0,5}(?P<value>[0-9A-Za-z]{20,100})\b"
)
_PASSPHRASE_SOURCE = re.compile(r"\bpass:(?P<value>[^\s\"'<>$]{3,100})")  # as OpenSSL has it
_USER_PASS = re.compile(
    r"(?<![\w/:.@-])[\w.@-]{1,40}[:/](?P<value>[^\s:/@]{3,60})[ ](?:as[ ])?\(?(?:user|login)(?:name)?[:/]pass",
    re.IGNORECASE,
)
_OF_POSTGRES = r":(?:1?54\d\d|6[45]\d\d|\*)"  # its ports, or that of its pool
_PGPASS = re.compile(
    r"(?<![\w.:/*-])(?:[A-Za-z*]|\d{1,3}\.)[\w.*-]{0,60}"
    rf"{_OF_POSTGRES}:(?:\*|[\w-]{{2,60}}):(?:\*|[\w-]{{2,60}}):(?P<value>[^\s\"':]{{3,100}})"
)
_ORACLE = re.compile(
    r"(?<![\w/.])\w{1,30}/(?P<value>[^\s/@\"']{3,60})@(?:(?://)?[\w.-]{1,60}:\d{1,5}/|\w{1,30}(?![\w.]))"
)
_LOGIN = re.compile(
    r"""
    (?<![\w-])(?:
      (?:log|sign)[ -]?in(?:[ ](?:as|with))? | user/pass(?:word)? | credentials? | creds | account | access[ ]with
    | sqlplus | zugangsdaten | identifiants | zugang | acceso | accès | accesso | --user | -u | -U | user(?:name)?
    )
    ["'`]?(?:[ ]?[:=][ ]{0,4}|[ ](?:is[ ])?)["'`]?
    [\w.@+-]{1,40}["'`]?(?:[ ]?[/:%|][ ]?|[ ],[ ]|[ ]with[ ])["'`]?(?P<value>[^\s"'`,;|()…/]{3,100})
    """,
    re.VERBOSE | re.IGNORECASE,
)
_NETRC = re.compile(
    r"""
    \b(?:machine[ \t]{1,9}(?:localhost|[\w-]{1,60}\.[\w.-]{1,80})|default)\s{1,9}(?:login|user)[ \t]{1,9}\S{1,80}\s{1,9}
    password[ \t]{1,9}(?P<value>\S{1,200})
    """,
    re.VERBOSE,
)
_NETRC_LINES = re.compile(
    r"^[ \t]{0,9}login[ \t]{1,9}\S{1,80}[ \t]{0,9}\n[ \t]{0,9}password[ \t]{1,9}(?P<value>\S{1,200})$", re.MULTILINE
)
_SET_PASSWORD = re.compile(
    r"\bSET[ ]PASSWORD(?:[ ]FOR[ ][^\s=]{1,80})?[ ]?=[ ]?(?:N|(?:OLD_)?PASSWORD\()?\\?[\"']"
    r"(?P<value>[^\"'\n\\]{1,100})",
    re.IGNORECASE,
)
_HERE_STRING = re.compile(
    r"--(?:with-token|password-stdin|token-stdin)[ ]{0,4}<<<[ ]{0,4}[\"']?(?P<value>[^\s\"'$]{3,200})"
)
_PGPASS_LINE = re.compile(
    r"^(?:localhost|\*|[\w-]{1,40}(?:\.[\w-]{1,40}){1,6})"
    rf"{_OF_POSTGRES}:[\w*-]{{1,60}}:[\w*-]{{1,60}}:(?P<value>[^\s\"':]{{3,100}})$",
    re.MULTILINE,
)
_WHATEVER_IT_IS = (
    _NETRC,
    _NETRC_LINES,
    _PGPASS_LINE,
    _SET_PASSWORD,
    _HERE_STRING,
    _OPTION,
    _SNMP_PRIVACY,
    _SNMP_COMMUNITY,
    _FTP_LINES,
    _PIPED,
    _LOGIN_COMMAND,
    _PASSPHRASE_SOURCE,
    _USER_PASS,
)
_IF_IT_LOOKS_LIKE_ONE = (_PGPASS, _ORACLE, _LOGIN)

_LIST_OF_WORDS = re.compile(
    r"""[\[(]\s{0,40}["'][\w./-]{1,40}["'](?:\s{0,40},\s{0,40}(?:["'][^"'\s]{0,120}["']|[\w.()*]{1,40})){1,30}"""
)
_WORD = re.compile(r"[\"'](?P<word>[^\"'\s]{0,120})[\"']")


def secrets_in_commands(text: str) -> Iterator[Span]:
    """Yield where passwords stand in commands, or behind a user's name."""
    for pattern in _WHATEVER_IT_IS:
        for match in pattern.finditer(text):
            if not is_harmless(match["value"]):
                yield match.span("value")
    for pattern in _IF_IT_LOOKS_LIKE_ONE:
        for match in pattern.finditer(text):
            if is_dense(match["value"]):
                yield match.span("value")
    lines = with_own_lines(text) if _HAS_P.search(text) else ""
    for match in _OF_ANY_COMMAND.finditer(lines):
        command = _END_OF_COMMAND.split(lines[max(0, match.start() - _FARTHEST) : match.start()])[-1]
        has_other = match["community"] is None and _OTHER_P.search(command) is not None
        if is_dense(match[match.lastgroup or 0]) and not has_other:
            yield match.span(match.lastgroup or 0)


def secrets_in_lists_of_words(text: str) -> Iterator[Span]:
    """Yield where passwords stand in commands that are lists of strings: `["mysql", "-pSECRET"]`."""
    for found in _LIST_OF_WORDS.finditer(text):
        words = [match.span("word") for match in _WORD.finditer(text, *found.span())]
        command = " ".join(text[slice(*word)] for word in words)
        for start, end in secrets_in_commands(command):
            position = 0
            for first, last in words:
                if position <= start and end <= position + last - first:
                    yield first + start - position, first + end - position
                position += last - first + 1
