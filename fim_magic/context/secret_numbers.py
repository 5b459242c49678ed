"""Secrets that are numbers: `pin = 4921`, and a byte each `APPKEY[16] = { 0x2b, … }`, `key = bytes([43, 126, …])`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from fim_magic.context.secret_names import Suspicion, has_digits, likelihood
from fim_magic.context.secret_shapes import Span
from fim_magic.context.secret_values import is_short_number

_NUMBER = re.compile(
    r"(?<!\w)(?P<name>[^\W\d]\w{0,63})[\"']?\]?[ \t]{0,9}(?::[ \t]{0,9}\w{0,20})?[ \t]{0,9}(?:==|!=|=|:)[ \t]{0,9}"
    r"(?P<value>\d[\d_]*(?:\.\d+)?)(?![\w.])"
)
_KEY = re.compile(
    r"(?:\w{0,40}_)?(?:app|nwk|net|aes|des|enc|master|secret|private|signing|hmac|dev|lora|psk|session|cipher)?s?_?key",
    re.IGNORECASE,
)
_NO_KEY = re.compile(r"pub|sort|primary|foreign|hot|press|scan|map", re.IGNORECASE)
_BYTES = re.compile(
    r"""
    (?: \bAES\.new\([ ]?(?:key[ ]?=[ ]?)?(?:bytes|bytearray)\([ ]?[\[(]
      | (?<![\w.-])(?P<name>\w{1,64})[ ]?(?: \[[ ]?\w{0,20}[ ]?\][ ]?(?:PROGMEM[ ]?)?=[ ]?\{           # C
      | (?::[ ]?(?:bytes|bytearray)[ ]?)?=[ ]?(?:bytes|bytearray|Uint8Array\.from|new[ ]Uint8Array|Buffer\.from)
        \([ ]?[\[(] ))                                            # Python, JavaScript
    \s{0,9}(?P<value>(?:(?:0x[0-9a-fA-F]{1,2}|\d{1,3}),\s{0,40}){15,63}(?:0x[0-9a-fA-F]{1,2}|\d{1,3}))
    """,
    re.VERBOSE,
)
_LEAST_DIFFERENT = 5  # bytes; of an example, or where none is set, they are alike or counted up


def secret_numbers(source: str) -> Iterator[Span]:
    """Yield where numbers stand that are given to the name of a secret, or are the bytes of a key."""
    for match in _NUMBER.finditer(source):
        digits = match["value"].replace(".", "").replace("_", "")
        if is_short_number(digits) and has_digits(match["name"]):
            yield match.span("value")
    yield from keys_of_bytes(source)


def keys_of_bytes(text: str) -> Iterator[Span]:
    """Yield where the numbers of keys stand, without the brackets around them."""
    for match in _BYTES.finditer(text):
        if match["name"] is None or _is_key(match["name"]):
            numbers = [int(number, 0) for number in re.findall(r"0x\w+|[1-9]\d*|0", match["value"])]
            steps = {after - before for before, after in itertools.pairwise(numbers)}
            if len(set(numbers)) >= _LEAST_DIFFERENT and len(steps) > 1:
                yield match.span("value")


def _is_key(name: str) -> bool:
    if _NO_KEY.search(name):
        return False
    return _KEY.fullmatch(name) is not None or likelihood(name) is Suspicion.YES
