"""What secrets look like that are known by their form alone: keys of services, private keys, logins in URLs.

The forms are those that the services' own documentation has, or that their keys have shown. Every pattern takes time
that grows with the length of the text: repetitions that can begin in many places are bounded.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator

from fim_magic.context.secret_public import is_public

Span = tuple[int, int]

_SERVICE_KEY = re.compile(
    r"""
    (?<![A-Za-z0-9_-])(?:
      (?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}                         # Amazon
    | gh[opsur]_[A-Za-z0-9]{20,} | github_pat_\w{20,}             # GitHub
    | gl(?:pat|ptt|dt|rt|cbt|ft|soat|agent|oas|imt)-[\w-]{16,}    # GitLab
    | [sr]k-(?=[\w-]{0,200}\d)[\w-]{16,}                          # OpenAI, Anthropic, OpenRouter, LangFuse
    | [spr]k_(?:live|test|prod)_[A-Za-z0-9]{10,} | whsec_[A-Za-z0-9+/=]{16,}  # Stripe
    | (?:gsk|xai|pplx|pcsk|nvapi|fw|r8|lin_api|lsv2_[a-z]{2}|ntn|sbp|pnu|glsa|glc|dop_v1|doo_v1|figd|figo|npm
        |dckr_pat|dckr_oat|rubygems|pscale_(?:tkn|pw|oauth)|sntry[su]|shp(?:at|ca|pa|ss)|tskey|esecret|re|cio
        |PMAK|NRAK|NRJS|NRII|HRKU|ATATT3xFfGF0|ATBB|EZAK|EZTK|GOCSPX|xkeysib|fio-u|pul|pypi|api_org|key|aio|secret
        |shippo_(?:live|test)|sq0[a-z]{3}|duffel_(?:live|test)|ghost|tfp)[_-]
      (?=[\w-]{0,40}?(?=[A-Za-z]{0,40}\d)[A-Za-z0-9]{12})[\w-]{20,}
    | hf_[A-Za-z0-9]{16,}                                         # Hugging Face
    | xox[a-z]-[\w-]{10,} | xapp-\d-[\w-]{20,}                    # Slack
    | AIza[\w-]{30,} | ya29\.[\w-]{20,} | 1//0[\w-]{20,}          # Google
    | SG\.[\w-]{16,}\.[\w-]{16,}                                  # SendGrid
    | (?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)? | [ps]k\.eyJ[\w-]{20,}(?:\.[\w-]*)?  # JSON web tokens, Mapbox
    | dp\.(?:pt|st|ct|scim|audit)\.[A-Za-z0-9]{40,}               # Doppler
    | hv[sbr]\.[\w-]{20,}                                         # Vault
    | [A-Za-z0-9]{14}\.atlasv1\.[\w-]{40,}                        # Terraform
    | pat[A-Za-z0-9]{14}\.[0-9a-f]{64}                            # Airtable
    | dapi[0-9a-f]{32}(?:-\d)? | dt0[a-z]\d\d\.[A-Z0-9]{24}\.[A-Z0-9]{64}  # Databricks, Dynatrace
    | EAA[A-Za-z0-9]{60,} | LTAI[A-Za-z0-9]{12,24} | AKID[A-Za-z0-9]{32,}  # Meta, Alibaba, Tencent
    | (?:AC|SK)[0-9a-f]{32}                                       # Twilio
    | [0-9a-f]{32}-us\d{1,2}                                      # Mailchimp
    | [MNO][A-Za-z\d]{23,27}\.[\w-]{6}\.[\w-]{27,}                # Discord
    | FlyV1[ ]fm\d_[A-Za-z0-9+/=,_]{40,}
    | AGE-SECRET-KEY-1[A-Z0-9]{58}
    | \d{8,10}:AA[\w-]{32,}                                       # Telegram
    )
    | (?<=/bot)\d{8,10}:AA[\w-]{32,}
    | (?<=hooks\.slack\.com/services/)[\w/]+ | (?<=/api/webhooks/)\d+/[\w-]+  # Slack, Discord
    | (?<=AccountKey=)[A-Za-z0-9+/=]{20,} | (?<=SharedAccessKey=)[A-Za-z0-9+/=]{20,}  # Azure
    | (?<=\$2[aby]\$\d\d\$)[./A-Za-z0-9]{53} | (?<=\$6\$)[./A-Za-z0-9$=]{60,}  # hashes of passwords
    | (?<=\$apr1\$)[./A-Za-z0-9$]{24,}
    """,
    re.VERBOSE,
)
_PRIVATE_KEY = re.compile(
    r"-{4,5}[ ]?BEGIN[ ][A-Z0-9 ]{0,30}PRIVATE[ ]KEY(?:[ ]BLOCK)?[ ]?-{4,5}"
    r"(?:.*?-{4,5}[ ]?END[ ][A-Z0-9 ]{0,30}PRIVATE[ ]KEY(?:[ ]BLOCK)?[ ]?-{4,5}|.*)"
    r"|(?<=Private-Lines: )\d+(?:\s+[A-Za-z0-9+/=]{40,64}(?![A-Za-z0-9+/=])){1,99}(?:\s+[A-Za-z0-9+/=]{4,64})?",
    re.DOTALL,
)
_LOGIN_IN_URL = re.compile(r"(?<=://)(?P<user>[^\s/:@\"'<>…]{0,80}):(?P<password>[^\s\"'<>…]{1,200})@(?=[\w\[{%*.-])")
_LOGIN_OF_DATABASE = re.compile(
    r"(?:(?<=[\"'])|\A)(?P<user>[\w.-]{1,60}):(?P<password>[^\s:/@\"'<>…{}]{3,100})@[\w.-]{1,100}(?::\d{1,5})?/\w{1,60}(?=[\"'?]|\Z)"
)
"""As in `user:password@host/database`, which a scheme is put before later."""
_KEY_IN_URL = re.compile(r"(?<=://)[A-Za-z0-9_-]{20,200}(?=:?@)")
_KEY_OF_HOST = re.compile(
    r"(?<=://)[\w.-]{1,80}(?::\d{1,5})?=(?P<key>[^\s\"'<>…]{1,200})"
)  # as FIM_MAGIC_SERVER_KEYS has it
_PORT = re.compile(r"\d{1,5}(?:[/?#]|$)")

_LONG_RUN = re.compile(r"[A-Za-z0-9+/=_-]{24,}")
_PARTS = re.compile(r"[/_=-]")
_LEAST_OF_PATH = 24  # characters
_LEAST_PART = 14  # characters of a random run without a sign; the parts of names are shorter
_HEX = re.compile(r"[0-9a-fA-F]{32,}")
_WORDS_OF_PATH = re.compile(r"(?<![^/])[a-z_-]{3,}(?![^/])")
_NO_SECRET = re.compile(
    r"""
    [a-z][a-z0-9+.-]{0,20}://[^\s"'<>`]*                # of URLs other rules see to logins, queries and known paths
    | InChI=\S*
    | (?:runs|models|mlflow-artifacts|dbfs):/[^\s"'<>`]*  # as MLflow names what it keeps
    | data:[\w/+.-]{3,60};base64,[A-Za-z0-9+/=_-]*
    | (?:ssh-(?:rsa|ed25519|dss)|ecdsa-[\w-]{4,30})[ ]AAAA[A-Za-z0-9+/=]*
    | -----BEGIN[ ](?:CERTIFICATE|(?:RSA[ ]|EC[ ])?PUBLIC[ ]KEY|PGP[ ](?:PUBLIC|SIGN)[A-Z ]{3,20})-----
      [A-Za-z0-9+/=\s\\:.-]*
    """,
    re.VERBOSE,
)
_NEAR = 100  # characters before a run that may say what it is
_LEAST_ENTROPY = 4.0  # bits a character; English words in snake_case have about 3.5, random base64 of 32 about 4.6
_LEAST_CHANGES = 4  # between letters and digits; names and paths change once or twice
_LEAST_DIFFERENT = 5  # characters of a hexadecimal number
_STANDS_FOR_ANY = re.compile(r"[xX0._*-]+")  # as in `sk-xxxxxxxxxxxxxxxx`


def private_keys(text: str) -> Iterator[Span]:
    """Yield where private keys stand; one without an end goes to that of the text."""
    return (match.span() for match in _PRIVATE_KEY.finditer(text))


def service_keys(text: str) -> Iterator[Span]:
    """Yield where keys of known services stand."""
    for match in _SERVICE_KEY.finditer(text):
        if not _STANDS_FOR_ANY.fullmatch(match.group()[-16:]):
            yield match.span()


def logins_in_urls(text: str) -> Iterator[tuple[Span, str]]:
    """Yield where logins stand in URLs, each with its password."""
    for match in _LOGIN_IN_URL.finditer(text):
        if not _PORT.match(match["password"]):
            yield (match.start("user"), match.end("password")), match["password"]
    for match in _LOGIN_OF_DATABASE.finditer(text):
        yield match.span("password"), match["password"]
    for match in _KEY_IN_URL.finditer(text):
        yield match.span(), match.group()
    for match in _KEY_OF_HOST.finditer(text):
        yield match.span("key"), match["key"]


def random_runs(text: str, before: str = "", *, hexadecimal: bool = True) -> Iterator[Span]:
    """Yield where long random runs of characters stand, but for those that are said to be a hash.

    Args:
        text: A string's content, or any text.
        before: What stands before it.
        hexadecimal: Whether runs that may be a git commit count.
    """
    runs = [match.span() for match in _LONG_RUN.finditer(text)]
    if not runs:
        return
    harmless = iter([match.span() for match in _NO_SECRET.finditer(text)])
    start = end = -1
    for run in runs:
        while end <= run[0] and (following := next(harmless, None)):
            start, end = following
        inside = start <= run[0] < end
        if not inside and _is_random(
            text[slice(*run)], (before + text[max(0, run[0] - _NEAR) : run[0]])[-_NEAR:], hexadecimal
        ):
            yield run


def _is_random(run: str, before: str, hexadecimal: bool) -> bool:
    if run.isdigit() or is_public(run, before):
        return False
    if len(_WORDS_OF_PATH.findall(run)) > 1:  # what a path ends with may be a hash, as caches have them
        longest = max(run.split("/"), key=len)
        return (
            len(longest) >= _LEAST_OF_PATH and not _HEX.fullmatch(longest) and _is_random(longest, before, hexadecimal)
        )
    if _HEX.fullmatch(run):
        return hexadecimal and len(set(run)) >= _LEAST_DIFFERENT
    if max(map(len, _PARTS.split(run))) < _LEAST_PART:
        return False
    changes = sum(a.isdigit() != b.isdigit() for a, b in itertools.pairwise(run) if a.isalnum() and b.isalnum())
    counts = Counter(run)
    entropy = -sum(n / len(run) * math.log2(n / len(run)) for n in counts.values())
    return changes >= _LEAST_CHANGES and entropy >= _LEAST_ENTROPY
