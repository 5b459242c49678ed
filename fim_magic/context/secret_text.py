"""Secrets in texts of any kind, by what stands before them: settings, headers, comments, commands, prose."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fim_magic.context.secret_calls import secret_arguments
from fim_magic.context.secret_commands import secrets_in_commands
from fim_magic.context.secret_files import secrets_in_files, secrets_in_objects
from fim_magic.context.secret_logins import secrets_of_logins
from fim_magic.context.secret_names import LONGEST_NAME, OTHER_KEYS, Suspicion, has_digits, likelihood, words_of
from fim_magic.context.secret_numbers import keys_of_bytes
from fim_magic.context.secret_pairs import secrets_in_rows
from fim_magic.context.secret_shapes import Span
from fim_magic.context.secret_values import (
    SCHEMES,
    is_dense,
    is_harmless,
    is_jumbled,
    is_key,
    is_made_up,
    is_short_number,
    looks_secret,
)
from fim_magic.context.secret_words import IN_SCRIPT

_NAME = re.compile(
    rf"""
    \\[nrt]
    | (?P<known>
        (?i:(?:api|access|secret|private|license|encryption|signing)[ ](?:access[ ])?keys? | access[ ]token
          | identified[ ](?:by|with[ ]\w{{1,40}}[ ](?:by|as))
          | pin[ ]code | pass[ -]phrase | pragma[ ](?:re)?key | one-time[ ]code | convertto-securestring(?:[ ]-string)?
          | key[ ](?:for|to|of)[ ](?:the[ ])?(?:api|account|service|server)
          | mot[ ]de[ ]passe | parola | kata[ ]sandi | mật[ ]khẩu | κωδικός
        )(?!_?[^\W_]|[.-]\w)
        | {IN_SCRIPT}
      )
    | [A-Za-z\u00c0-\u024f\u0370-\u04ff][A-Za-z0-9_\u00c0-\u024f\u0300-\u04ff]*
      (?:[.-][A-Za-z0-9_\u00c0-\u024f\u0300-\u04ff]+)*
    """,
    re.VERBOSE,
)

# What stands between a name and its value. Blanks are bounded, so that each name costs as much as any other.
_BETWEEN = re.compile(
    r"""
    (?P<closed>(?:\[\d{0,4}\](?=[ ]?=))?(?:\\?["'`*_\]>)]|\*\*|[ ]?</?\w{1,9}>){0,4})
    (?:
        ["']?[ \t]{0,4},?\s{1,20}(?:["']?(?P<attribute>value)["']?[:=][ ]?
          |\{(?:\s{1,9}\w{1,20}[ ]{1,9}=[ ][^\n{}]{1,80}){0,3}\s{1,20}(?P<default>default)[ ]{1,9}=[ ])
        | :?(?:[ \t]{1,2}[\w'-]{1,15}){0,4}?[ \t]
          (?P<verb>is|was|are|ist|lautet|es|est|é|è|är|er|jest|será|to|like|with)[ \t]{0,4}:?[ \t]{1,4}
        | (?P<of>[ ](?:for|of|to|in|fürs?|zu[mr]|vom|beim|[ia]m|de[rslmn]?|du|pour|para|d[oa]s?|per|di|от|для|к|voor|van
              |till?|dla|na)
            (?:[ ][\w'-]{1,15}){1,3}[ ]?[:=](?!//)[ ]{0,4})
        | (?:[ ]\([^()\n]{0,40}\))?[ \t]{0,20}
          (?:
            :[ ]?[&A-Za-z][\w<>\[\]?|.& ]{0,30}?[ ]?=(?!=|[ \t]{0,20}(?:\n|\Z))    # with a type
            | => | [:=!]?={1,2} | -> | <- | → | :=? | [\uff1a\uff1d] | (?P<cell>\|{1,2}) | (?P<comma>,)
          )
          [ \t]{0,20}(?:\\?\n[ \t]{1,20})?
          (?:\{\s?["'](?:value|default|plain)["']\s?:\s?|ENC\()?
        | [ \t]{0,2}(?P<said>是|为|為|は|는|은|「)[ \t]{0,2}「?
        | [ \t]{1,4}(?P<dash>[–—-])[ \t]{1,4}
        | (?P<called>\()
        | (?P<blank>[ ]{1,2})
        | (?<=>)(?!@)                                          # `<token>@host` stands for a login
    )
    (?:\*\*|__|[*_(\[])?[ \t]{0,4}
    """,
    re.VERBOSE,
)
_VALUE = re.compile(
    rf"""
    [rRbBfFuUN]{{0,2}}(?P<open>\\?["'`“「])(?![ ])
        (?:(?:{SCHEMES})[ ]+)?
        (?P<quoted>(?:\\(?!["'])[^\n]|[^\\\n"'`”」…]|(?!(?P=open))["'`]){{0,400}})
    | (?:(?:bearer|{SCHEMES})[ ]+(?=\S))?(?P<bare>
        (?:[a-z]{{4}}[ ]){{3}}[a-z]{{4}}(?=[\n"'*`]|\Z)  # as Google shows a password for one program
        | [^\s"'`<>|,;&…()\[\]{{}}\\”」“「]{{1,400}})
    """,
    re.VERBOSE,
)
_NEXT = 12  # characters behind a value, or before a name, that say whether it is one
_IS_SET = re.compile(r"(?:(?:ENV|ARG|setx|%env|%set_env|set(?:[ ]-\w{1,4}){1,3})[ ]|(?<!\w)--?)\Z")
_BARE_ENDS = ".,:;!?*_/"
_SETTING = re.compile(r"\A\w{1,64}=(?!=)")  # the next one, behind a name without a value
_LATIN = re.compile(r"[A-Za-z]|\d{4}")
_MORE_WORDS = re.compile(r"\A[ \t]{1,9}(?:[^\W\d_]{2,}|[aàáeéèiouyàó]\b)")
_CALLED = re.compile(r"\A(?:[(\[{]|\.\w|:(?:\s|\Z))")

_TAG = re.compile(r"!(?:secret|password|vault\w*)[ ]")  # of YAML; what follows is a name
_OF_TABLE = re.compile(r"[ ](?:prim[aá]ri|for[aá]ne|estrangeir|étrang|estern|extern)", re.IGNORECASE)

_AUTHORIZATION = re.compile(r"\b(?:[Bb]earer|BEARER)[ ]+([\w.~+/-]{4,2000}=*)|\bBasic[ ]+([A-Za-z0-9+/]{8,2000}={0,2})")
_MOST_COLUMNS = 50
_USERS = frozenset(("user", "username", "user name", "login", "email", "account"))
_OF_MYSTERY = re.compile(r"[ ](?!key|token|value|is\b|for\b|of\b|to\b|in\b|here\b|=)[a-z]{3,15}[ ](?:is|was)[ ]")
_NO_CELL = re.compile(r"[()\[\]{}=]")
_WORD_BEFORE = re.compile(r"(\w{1,20})[ _-]\Z")
_NEAR = 24  # characters before a name that say of what it is
_PREFIX = re.compile(r":\d{12}:\Z|\b(?:get|describe|delete|edit|patch|apply)[ ]\Z")  # of what is kept elsewhere
_IN_QUERY = re.compile(r"[?&#](?P<name>[\w.-]{1,40})=(?P<value>[^&;\s\"'#<>`{}…]{1,2000})", re.IGNORECASE)
_IN_PATH = re.compile(
    r"/(?<=[\w.]/)(?:v\d|keys?|token|forecast|webhook|IncomingWebhook)/(?P<value>[A-Za-z0-9_-]{20,100})(?![\w-])"
)
_BEHIND_ADDRESS = re.compile(
    r"@(?<=\w@)[\w-]{1,40}(?:\.[\w-]{1,40}){1,4}[ ]?[:/|][ ]?"
    r"(?P<value>(?=\S{0,30}[a-z])(?=\S{0,30}[A-Z])(?=\S{0,30}\d)(?=\S{0,30}[!@#$^&*])[\w!@#$^&*.+?-]{7,40})(?![\w/:])"
)
_QUERY_NAMES = re.compile(
    r"key|sig|signature|x-amz-signature|x-amz-security-token|appid|app_id|code|auth|pwd|pass|sid", re.I
)


def secrets_in_text(text: str) -> Iterator[Span]:
    """Yield where secrets stand in a text by what is said of them: `password: …`, `X-Api-Key=…`, `curl -u me:…`."""
    for match in _NAME.finditer(text):
        found = Suspicion.YES if match["known"] else likelihood(match.group()[-LONGEST_NAME:])
        if found is Suspicion.NO and not has_digits(match.group()) and not _names_key(text, match):
            continue
        if _PREFIX.search(text[max(0, match.start() - _NEAR) : match.start()]) and match.group().islower():
            continue
        if _OF_TABLE.match(text, match.end()) or _TAG.match(text[max(0, match.start() - 1) : match.end() + 1]):
            continue
        if span := _value_after(text, match.end(), match.group(), found):
            yield span
    yield from secrets_in_columns(text)
    for match in _AUTHORIZATION.finditer(text):
        if is_dense(match[match.lastindex or 0]):
            yield match.span(match.lastindex or 0)
    for match in _IN_QUERY.finditer(text):
        value = match["value"]
        if _QUERY_NAMES.fullmatch(match["name"]) and (is_dense(value) or is_jumbled(value)):
            yield match.span("value")
    for pattern in (_IN_PATH, _BEHIND_ADDRESS):
        for match in pattern.finditer(text):
            if is_key(match["value"]) or pattern is _BEHIND_ADDRESS:
                yield match.span("value")
    yield from secrets_in_files(text)
    yield from secrets_in_objects(text)
    yield from secrets_in_commands(text)
    yield from secret_arguments(text)
    yield from secrets_of_logins(text)
    yield from secrets_in_rows(text)
    yield from keys_of_bytes(text)


def secrets_in_columns(text: str) -> Iterator[Span]:
    """Yield what stands in columns of tables, in Markdown or with commas, under a heading such as `password`."""
    secret: dict[str, list[int]] = {}
    widths: dict[str, int] = {}
    start = 0
    for line in text.splitlines(keepends=True):
        for delimiter in "|,;\t":
            if delimiter not in line:
                widths.pop(delimiter, None)
                continue
            cells = line.split(delimiter)
            headed = [index for index, cell in enumerate(cells) if is_heading(cell)] or (
                _passes(cells) if "pass" in line else []
            )
            if headed and len(line) <= 1000:
                secret[delimiter] = headed
                widths[delimiter] = len(cells)
            elif len(cells) != widths.get(delimiter):
                widths.pop(delimiter, None)
            else:
                yield from _cells(cells, secret[delimiter], start, is_table=delimiter == "|")
        start += len(line)


def is_table(text: str) -> bool:
    """Whether a text is rows with commas or semicolons, under a heading such as `password`. Python may read them."""
    lines = [line for line in text.split("\n") if line.strip()]
    for delimiter in ",;":
        headings = lines[0].split(delimiter) if lines[1:] else []
        if len(headings) > 1 and any(map(is_heading, headings)) and not _NO_CELL.search(text):
            return all(line.count(delimiter) == len(headings) - 1 for line in lines)
    return False


def is_heading(cell: str) -> bool:
    name = cell.strip(" \t\n\"'`#*")
    return len(name) <= LONGEST_NAME and name.replace(" ", "_").isidentifier() and likelihood(name) is Suspicion.YES


def _passes(cells: list[str]) -> list[int]:
    """Which cells of a heading are `pass`, beside one of a user: of a test it says something else."""
    names = [cell.strip(" \t\n\"'`#*").lower() for cell in cells[:_MOST_COLUMNS]]
    return [index for index, name in enumerate(names) if name == "pass"] if _USERS.intersection(names) else []


def _cells(cells: list[str], secret: list[int], start: int, *, is_table: bool) -> Iterator[Span]:
    for index, cell in enumerate(cells):
        value = cell.strip(" \t\n\"'`*")
        if index in secret and (not is_harmless(value) if is_table else is_dense(value)):
            position = start + cell.index(value)
            yield position, position + len(value)
        start += len(cell) + 1


def _names_key(text: str, match: re.Match[str]) -> bool:
    """Whether a name ends with `key`, and no word before that says that it is no secret: `Kaggle Key`."""
    if match.group()[-3:].lower() != "key":
        return False
    words = words_of(match.group()[-LONGEST_NAME:])
    if not words[-1].endswith("key") or not OTHER_KEYS.isdisjoint(words):
        return False
    word = _WORD_BEFORE.search(text[max(0, match.start() - _NEAR) : match.start()])
    return word is None or word[1].lower() not in OTHER_KEYS


def _value_after(text: str, position: int, name: str, found: Suspicion) -> Span | None:
    between = _BETWEEN.match(text, position)
    if between is None:
        return None
    value = _VALUE.match(text, between.end())
    if value is None:
        return None
    if _OF_MYSTERY.match(between.group()) and name.lower() == "secret":
        return None  # "the secret ingredient is …"
    if value["open"] == "`" and between.group()[-1:] == "=" and " " in value["quoted"]:
        return None  # what a command prints
    start, end = value.span("bare" if value["open"] is None else "quoted")
    sure = found is Suspicion.YES and not any(
        between[kind] for kind in ("comma", "verb", "of", "called", "blank", "attribute", "dash")
    )
    if value["open"] is not None:
        secret = text[start:end]
        sure = sure or (found is Suspicion.YES and between["comma"] is None)
        if between["called"] and found is not Suspicion.YES:
            return None
        looks_like_one = is_key(secret) if found is Suspicion.NO else looks_secret(name, secret)
        good = not is_harmless(secret) if sure else looks_like_one or (is_short_number(secret) and has_digits(name))
        return (start, end) if good and end > start else None
    span = _bare(text, start, end, name, sure, between)
    if span is None or found is not Suspicion.NO:
        return span
    bare = text[slice(*span)]
    is_secret = is_key(bare) if name.lower().endswith("key") else is_short_number(bare)
    return span if is_secret else None


def _bare(text: str, start: int, end: int, name: str, sure: bool, between: re.Match[str]) -> Span | None:
    """Where a value without quotes stands, if it is a secret. A comma says that it is a name or a number."""
    if is_harmless(text[start:end], quoted=False):
        return None
    end = start + len(text[start:end].rstrip(_BARE_ENDS))
    value = text[start:end]
    if (between["blank"] and name.lower() == "pass") or (between.group().startswith("=") and _SETTING.match(value)):
        return None  # the verb; or nothing, before the next setting
    if between["said"] and not _LATIN.search(value):
        return None  # "the password is a secret", in a language without blanks
    if not value or between["comma"] or between["called"] or is_harmless(value, quoted=False):
        return None
    if _CALLED.match(text[end : end + _NEXT]) and not value.isdigit():
        return None  # a call, an index, a type with parameters
    before = between.start() - len(name)
    is_set = between["blank"] is not None and _IS_SET.search(text[max(0, before - _NEXT) : before]) is not None
    sure = sure or (is_set and likelihood(name) is Suspicion.YES)
    if value.isdigit():
        is_number = (sure or between["blank"] is None) and is_short_number(value) and has_digits(name)
        return (start, end) if is_number else None
    if is_dense(value):
        is_type = (
            likelihood(name) is Suspicion.MAYBE
            and value.isidentifier()
            and likelihood(value.rstrip("0123456789")) is not Suspicion.NO
        )
        return None if is_type or not looks_secret(name, value) else (start, end)
    if not sure or value[:1] in "-$%?" or (likelihood(value) is not Suspicion.NO and not is_made_up(value)):
        return None
    is_sentence = between.group() != "=" and _MORE_WORDS.match(text[end : end + _NEXT]) is not None
    return None if is_sentence else (start, end)
