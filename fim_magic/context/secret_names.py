"""Which names are names of secrets: `api_key`, `HF_TOKEN`, `dbPassword`; but not `pad_token` or `sort_key`."""

from __future__ import annotations

import re
from enum import IntEnum
from functools import lru_cache

from fim_magic.context.secret_words import STEMS, TELLS_OF, is_password, may_be, plain

LONGEST_NAME = 64  # characters, of longer ones the last


class Suspicion(IntEnum):
    """How likely what has a name is a secret."""

    NO = 0
    MAYBE = 1  # if it looks like one, too
    YES = 2  # unless it surely is something else


_PIN_CODE = re.compile(r"\A(?:\w*_)?pin[ _]?code", re.IGNORECASE)
_HAVE_DIGITS = frozenset(("otp", "pass", "pincode"))
_PIN = re.compile(r"(?:\w*_)?pin|\w*[a-z]Pin", re.ASCII)
"""With letters, it is one of a circuit."""

HINT = re.compile(
    r"pass|pw|psk|secret|cred|key|token|auth|bearer|jwt|otp|pin|cookie|sid|session|mnemonic|phrase|" + STEMS,
    re.IGNORECASE,
)
"""What stands in every name that is a secret's: without it, a text need not be looked at more closely."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")
_BEFORE = r"(?:api|access|auth|app|bot|bearer|client|consumer|csrf|db|hub|id|jwt|my|oauth|refresh|session|user|xsrf)"
_SECRET_WORD = re.compile(
    rf"""
    \A(?:\w*(?:password|passwort|passphrase|passcode|passwd)s? | \w{{0,8}}pwds? | pw | {_BEFORE}?secrets?
    | credentials? | creds? | {_BEFORE}token | (?:api|access|secret|private|signing|encryption|auth|app)keys?
    | (?:admin|db|ftp|login|mail|master|my|mysql|pg|require|root|smtp|ssh|ssid|user|wifi)pass | authorization
    | mnemonic | psk)
    """,
    re.VERBOSE,
)
# The last word, where the others would be a secret's: a field, a file, a limit.
_DESCRIBES = frozenset(
    """
    alphabet backend box button changed chars class col column columns config confirmed cost count counter digits dir
    disabled embedding embeddings enabled endpoint entropy enum env error errors expires expiry field fields file
    filename folder form format generator hasher help hint id ids in index input kind kwargs label len length level
    lifetime limit manager max message messages method min minutes mode model name names number page path pattern
    per option options placeholder policy prefix prompt provider rate ratio ref regex required requirement requirements
    reset rule rules santa scheme scope score seconds separator service setting settings size status store strategy
    strength suffix table text timeout title ttl type types uri url urls usage valid validator validators
    var variable verified version view widget word words
    """.split()
)
_ASKS = frozenset("allow ask forgot has hide invalid is max min n needs no num require requires show use uses".split())
_BEFORE_KEY = frozenset(
    """
    access account admin aes algolia anthropic api app auth aws azure bearer bot client cloud cohere consumer crypto
    deepseek deploy encryption fernet gcp gemini gh git github gitlab google groq hf hmac jwt kaggle license maps
    master mistral nasa npm oauth openai pat personal pinecone preshared private publishable pypi reset rsa sas
    refresh secret security sendgrid server service signing slack ssh storage stripe subscription tmdb twilio user
    verify wandb weather webhook
    """.split()
)
# Names that people who work with language models give to tokens of text.
_BEFORE_TOKEN = frozenset(
    """
    best bos class cls curr current delimiter each end eos first image input last mask max min n new next num output
    page pad per prev previous sep special start stop sub text this top unk
    """.split()
)
OTHER_KEYS = frozenset(
    """
    answer bucket cache candidate composite cookie dataset file foreign gbif hash idempotency inchi index legend map
    natural object partition primary public range record routing row s3 sort surrogate taxon test unique
    """.split()
)
"""Before `key`, they say that it names something, or is for everybody."""
_OF_TEXT = ("de", "multi", "non", "pre", "re", "sub", "tik", "un", "word")
_BEFORE_PASS = frozenset(
    """
    all any backward band bandpass batch boarding by compiler each first forward fourth full high highpass last long
    low lowpass max min multi n next num one optimizer per prior render second single third this two warmup
    """.split()
)
_MAYBE = frozenset("auth bearer cookie cookies jwt otp pass pincode sessionid sid token".split())


def words_of(name: str) -> list[str]:
    """Return the words of a name in lower case, without accents: `db`, `password` of `dbPassword`."""
    return [word.lower() for word in _WORD.findall(plain(name))]


@lru_cache(maxsize=4096)
def likelihood(name: str) -> Suspicion:
    """Return how likely what has this name is a key, a password or the like."""
    name = name[-LONGEST_NAME:]
    words = words_of(name)
    if not words:
        return Suspicion.NO
    last, before = words[-1], words[:-1]
    if words[-2:] == ["key", "id"] and len(words) > 2:
        last, before = "key", words[:-2]
    if words[-2:] in (["session", "id"], ["key", "id"]) and before[:-1] == []:
        return Suspicion.MAYBE
    if last in _DESCRIBES or last in TELLS_OF or words[0] in _ASKS:
        return Suspicion.NO
    if is_password(name, words):
        return Suspicion.YES
    if any(map(_SECRET_WORD.fullmatch, (last, *(word for word in before if word != "pw")))):
        return Suspicion.YES
    if last == "token" and before:
        is_key = name.isupper() or bool(_BEFORE_KEY & set(before))
        return Suspicion.NO if _BEFORE_TOKEN & set(before) else Suspicion.YES if is_key else Suspicion.MAYBE
    if last.endswith("token") and last != "token" and not last.startswith(_OF_TEXT):
        return Suspicion.MAYBE
    if last == "pass" and before:
        return Suspicion.NO if _BEFORE_PASS & set(before) else Suspicion.YES
    if last in ("key", "keys") and _BEFORE_KEY & set(before):
        return Suspicion.YES
    if words[-2:] in (["seed", "phrase"], ["recovery", "phrase"]):
        return Suspicion.YES
    is_maybe = last in _MAYBE or "jwt" in words or "auth" in words or may_be(name, words)
    return Suspicion.MAYBE if is_maybe else Suspicion.NO


def may_be_word(name: str) -> bool:
    """Whether what has this name may be a word as well: `token`, of a text, or `auth`, which says how."""
    return words_of(name[-LONGEST_NAME:])[-1:] in (["token"], ["auth"], ["cookie"], ["cookies"], ["bearer"])


def has_digits(name: str) -> bool:
    """Whether some digits are a secret where they are given to this name: `pin`, `otp`, `PIN_CODE`."""
    name = name[-LONGEST_NAME:]
    if likelihood(name) is Suspicion.MAYBE:
        return name.lower().rpartition("_")[2] in _HAVE_DIGITS
    return (
        likelihood(name) is Suspicion.YES
        or _PIN.fullmatch(name.lower()) is not None
        or _PIN_CODE.fullmatch(name) is not None
    )


def secret_name(name: str) -> bool:
    """Whether what has this name is likely a key, a password or the like: `api_key`, `HF_TOKEN`, `dbPassword`."""
    return likelihood(name) is not Suspicion.NO
