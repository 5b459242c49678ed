"""Commands behind others that run them: in `ssh HOST mysql …` and `sudo -u ada env X=1 mysql …` it is `mysql`."""

from __future__ import annotations

import re

_WORD = r"(?:\"[^\"\n]{0,80}\"|'[^'\n]{0,80}'|[^\s\"'|;&-][^\s|;&]{0,80})"
_SETTING = rf"[A-Za-z_]\w{{0,40}}=(?:{_WORD})?"

# Options, each with the blank behind it. In a group of letters only the last may have a value.
_OF_SUDO = (
    rf"(?:-[ABbEeHiKklnPSsVv]{{0,6}}(?:[CDghpRrTtUu][ ]?{_WORD})?"
    rf"|--(?:user|group|host|prompt|chdir|chroot|role|type)[= ]{_WORD}|--(?:[a-z-]{{2,20}})?|{_SETTING})[ ]"
)
_OF_ENV = rf"(?:-[i0v]{{0,3}}(?:[uCS][ ]?{_WORD})?|--(?:unset|chdir)[= ]{_WORD}|--(?:[a-z-]{{2,20}})?|{_SETTING})[ ]"
_OF_SSH = rf"(?:-[46AaCfGgKkMNnqsTtVvXxYy]{{0,8}}(?:[BbcDEeFIiJLlmOoPpQRSWw][ ]?{_WORD})?|--)[ ]"
_SWITCHES = (
    "(?:build|detach|init|interactive|no-deps|no-healthcheck|no-TTY|privileged|publish-all|quiet|read-only|rm"
    r"|service-ports|tty|use-aliases)(?![\w-])"
)
_OF_CONTAINER = (
    rf"(?:-[DdiPqTt]{{0,5}}(?:[aceghlmpuvw][ ]?{_WORD})?|--{_SWITCHES}(?:=\w{{1,5}})?"
    rf"|--(?!{_SWITCHES})[a-z][a-z-]{{1,30}}[= ]{_WORD})[ ]"
)
_GLOBAL = rf"(?:[ ](?:-[cfHnp]|--[a-z][a-z-]{{1,30}})[= ]{_WORD}){{0,4}}[ ]"

_RUNNER = re.compile(
    rf"""
    (?<![\w.-])(?:
      (?:sudo|doas)[ ](?:{_OF_SUDO}){{0,9}}
    | env[ ](?:{_OF_ENV}){{0,20}}
    | ssh[ ](?:{_OF_SSH}){{0,12}}{_WORD}[ ](?:{_OF_SSH}){{0,12}}
    | (?:docker|podman|nerdctl)(?:-compose)?{_GLOBAL}(?:(?:compose|container){_GLOBAL})?
      (?:exec|run)[ ](?:{_OF_CONTAINER}){{0,20}}{_WORD}[ ]
    | (?:kubectl|oc|lxc|incus){_GLOBAL}(?:exec|run|debug)[ ][^\n|;&]{{1,160}}?[ ]--[ ]
    )(?=[^\s-])
    """,
    re.VERBOSE,
)


def with_own_lines(text: str) -> str:
    """Return a text in which every command that another one runs begins a line.

    What stands before it, the other's name and options, becomes line ends: all else stays where it is.
    """
    return _RUNNER.sub(lambda match: "\n" * len(match.group()), text)
