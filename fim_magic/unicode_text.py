"""Text that is whole, as every door has it checked: bytes that are no UTF-8, half characters, byte order marks.

What a user hands over to be filled is refused where it is not whole, in a paragraph that says where; what is shown to a
model beside it has `\N{REPLACEMENT CHARACTER}` instead.
"""

from __future__ import annotations

import codecs
import re

from fim_magic.errors import UnreadableTextError
from fim_magic.line_ends import line_and_column

BYTE_ORDER_MARK = "\ufeff"

HALF = re.compile(r"[\ud800-\udfff]")
"""Half a character, which no UTF-8 can hold."""

_PAIR = re.compile(r"[\ud800-\udbff][\udc00-\udfff]")
_OTHER_ENCODINGS = (  # the longer first: the mark of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_LONGEST_LOOK = 4096  # bytes that are looked at for zeros


def decoded(data: bytes, name: str) -> str:
    """Return the text of a file, with its line ends and its byte order mark.

    Args:
        data: All of its bytes.
        name: What it is called, for people.

    Raises:
        UnreadableTextError: It is not UTF-8.
    """
    encoding = next((encoding for mark, encoding in _OTHER_ENCODINGS if data.startswith(mark)), "")
    if not encoding and _is_utf16(data[:_LONGEST_LOOK]):
        encoding = "UTF-16"
    if encoding:
        raise UnreadableTextError(
            f"{name} could not be read: it is {encoding}, and not UTF-8 text. Save it as UTF-8, or convert it: "
            f"iconv -f {encoding} -t UTF-8 FILE > NEW"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        place = line_and_column(data[: error.start].decode("utf-8", "replace"), error.start)
        raise UnreadableTextError(
            f"{name} could not be read: it is not UTF-8 text. The byte 0x{data[error.start]:02x} in {place} begins no "
            "character. Save it as UTF-8, or convert it, if it is in Latin-1: iconv -f LATIN1 -t UTF-8 FILE > NEW"
        ) from error


def check_whole(text: object, what: str = "The text") -> None:
    r"""Raise where a text holds half a character: a lone surrogate such as `\ud83d`, which no UTF-8 can hold.

    Args:
        text: Any text; from Python, anything may come.
        what: What it is, at the beginning of a sentence.

    Raises:
        UnreadableTextError: It does, or it is no text.
    """
    if not isinstance(text, str):
        raise UnreadableTextError(
            f"{what} has to be a str, and is of type {type(text).__name__}. Bytes become one by data.decode(), and a "
            "file by Path(name).read_text()."
        )
    half = HALF.search(text)
    if half is None:
        return
    code = ord(half.group())
    is_byte = 0xDC80 <= code <= 0xDCFF  # how Python keeps a byte that it could not decode
    told = f"a byte that is not UTF-8 (0x{code - 0xDC00:02x})" if is_byte else f"half a character (U+{code:04X})"
    raise UnreadableTextError(
        f"{what} holds {told} in {line_and_column(text, half.start())}, which no model can read and no file can hold. "
        "Nothing was changed. Delete it there, or write the whole character."
    )


def made_whole(text: str) -> str:
    """Return a text that a model may be shown: halves that make one character are joined, others are replaced."""
    if HALF.search(text) is None:
        return text
    return HALF.sub("\ufffd", _PAIR.sub(_joined, text))


def without_mark(text: str) -> str:
    """Return a text without the byte order mark that it begins with."""
    return text.removeprefix(BYTE_ORDER_MARK)


def _joined(pair: re.Match[str]) -> str:
    return pair.group().encode("utf-16", "surrogatepass").decode("utf-16")


def _is_utf16(data: bytes) -> bool:
    """Whether nearly every other byte is zero and no other is, as in Latin text that is UTF-16 without a mark."""
    halves = data[::2], data[1::2]
    zeros = [half.count(0) for half in halves]
    return len(data) > 3 and min(zeros) == 0 and max(zeros) * 4 > len(halves[1]) * 3
