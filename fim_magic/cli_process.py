"""How a command of the shell ends: quietly when nobody reads on, with a paragraph when nothing can be written."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from fim_magic.errors import FimError, OptionError, is_failure
from fim_magic.faults import in_words
from fim_magic.visible import notify

INTERRUPTED = 130
"""What a shell reports for a program that Ctrl-C ended."""

PIPE_CLOSED = 141
"""What a shell reports for a program that was ended since nobody reads its output any more."""


def run(command: Callable[[], int]) -> int:
    """Run a command to its exit status, and say on standard error why it failed."""
    _hold_closed_streams()
    with _every_character():
        try:
            status = _flushed(command)
        except FimError as error:
            notify(f"fim-magic: {error}")
            status = 1
        except KeyboardInterrupt:
            notify("\nfim-magic: interrupted")
            status = INTERRUPTED
        except BrokenPipeError:  # `| head`: it has what it wants
            _discard_output()
            status = PIPE_CLOSED
        except BaseException as error:
            if not is_failure(error):
                raise
            notify(f"fim-magic: {_of_output(error) or in_words(error)}")
            status = 1
    return status


def _of_output(error: BaseException) -> str:
    """Say that the output cannot be written, if that is what an error is about."""
    if not isinstance(error, OSError) or error.filename is not None:  # of a file, and not of what is written here
        return ""
    _discard_output()
    return f"The output could not be written: {error.strerror or error}. Send it elsewhere."


def require_output() -> None:
    """Raise if there is nowhere to write to: before a model works for minutes.

    Raises:
        OptionError: Standard output is closed.
    """
    if sys.stdout is None or getattr(sys.stdout, "closed", False):
        raise OptionError("Standard output is closed, so that the answer would be lost. Send it to a file: > FILE")


def _hold_closed_streams() -> None:
    """Open what a shell has closed (`>&-`) on nothing: the next file, a model's, would else take its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)


def _flushed(command: Callable[[], int]) -> int:
    """Run a command, and then write what is still waiting to be: the end of the process can only complain of that."""
    try:
        return command()
    finally:
        if sys.stdout is not None and not getattr(sys.stdout, "closed", False):
            sys.stdout.flush()


@contextmanager
def _every_character() -> Iterator[None]:
    """Write what the encoding of a standard stream lacks as escapes, instead of failing."""
    changed: list[tuple[Any, str]] = []
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # None, closed, or no stream of Python's
            errors = stream.errors
            if errors in ("strict", "surrogateescape"):
                stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
                changed.append((stream, errors))
    try:
        yield
    finally:
        for stream, errors in changed:
            with suppress(Exception):
                stream.reconfigure(errors=errors)


def _discard_output() -> None:
    """Let what is still to be written go nowhere: Python writes it once more at its end, and would complain."""
    with suppress(Exception):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
