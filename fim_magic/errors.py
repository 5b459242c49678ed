"""Errors that are written for the user: what went wrong, and the line to type to mend it.

Everything that a user can cause is a [`FimError`][]. The magics and the command line print its text and nothing
else; the Python interface raises it. An exception of any other type is a bug of ours, and becomes a [`FaultError`][].
"""

from __future__ import annotations

import re

from fim_magic import proxies
from fim_magic.visible import plain_text

_LONG_WORD = re.compile(r"\S{1000}\S*")
_KEPT = 200  # characters of such a word
_MOST = 4000  # characters of a message: what is repeated in it may be a whole file, and the line to type is at its end
_END = 1000


_LEAST_HIDDEN = 4  # characters: what is shorter stands in any message, and is no key

_hidden: set[str] = set()


def hide(text: str) -> None:
    """Let no error of ours say a text from now on: a key, which a server may repeat in what it says."""
    if len(text) >= _LEAST_HIDDEN:
        _hidden.add(str(text))


def without_secrets(text: str) -> str:
    """Return a text without what is hidden, and without the secrets in the addresses of proxies."""
    for secret in sorted({*_hidden, *proxies.secrets()}, key=len, reverse=True):  # one may be a part of another
        if len(secret) >= _LEAST_HIDDEN:
            text = text.replace(secret, "…")
    return text


class FimError(Exception):
    """Something the user can mend. The message is one paragraph that says how.

    It may repeat what was typed; of what is no word any more, it keeps the beginning, and of what is no paragraph any
    more, the beginning and the end.
    """

    def __init__(self, message: str = "") -> None:
        message = without_secrets(message)
        message = _LONG_WORD.sub(lambda word: f"{word[0][:_KEPT]}…", message)
        super().__init__(message if len(message) <= _MOST else f"{message[: _MOST - _END]} … {message[-_END:]}")

    def __str__(self) -> str:
        """Return the message, fit to be shown wherever it is: a line end in a name begins no line of ours."""
        return plain_text(super().__str__())


class MarkerError(FimError):
    """The text has no cursor marker, or more than the request can use."""


class UnreadableTextError(FimError):
    """A text holds what is none: bytes that are not UTF-8, or half a character."""


class OptionError(FimError):
    """An option's value makes no sense."""


class ModelError(FimError):
    """The model is unknown, cannot do what is wanted, or could not be loaded."""


class FetchError(FimError):
    """A checkpoint could not be brought to this machine. Nothing half-made was left behind."""


class ServerError(FimError):
    """A server cannot be reached, refuses, or answers what cannot be used.

    Attributes:
        status: The HTTP status of its refusal; 0 where there is none.
    """

    status = 0


class NotAllowedError(FimError):
    """Text would go to a host that the user has not allowed. Nothing was sent."""


class BusyError(FimError):
    """The model is already generating for another request in this process."""


class FaultError(FimError):
    """What nobody has foreseen: a fault of fim-magic, or of a library that it uses. `in_words` makes it."""


def is_failure(error: BaseException) -> bool:
    """Whether `error` says that something failed, and not that it is to end, as KeyboardInterrupt and SystemExit do.

    A panic of a library in Rust, such as tokenizers, is no `Exception`, and one of the former all the same.
    """
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"
