"""How a command of the shell ends: quietly when nobody reads on, with a paragraph when nothing can be written."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from fim_magic.errors import OptionError, is_failure
from fim_magic.faults import in_words
from fim_magic.streams import failure_of, is_tty
from fim_magic.visible import notify

INTERRUPTED = 130
"""What a shell reports for a program that Ctrl-C ended."""

PIPE_CLOSED = 141
"""What a shell reports for a program that was ended since nobody reads its output any more."""


def run(command: Callable[[], int]) -> int:
    """Run a command to its exit status, and say on standard error why it failed."""
    _hold_closed_streams()
    with _buffered_output(), _every_character(), _noted_interrupts() as interrupts:
        try:
            return _flushed(command)
        except BaseException as error:
            return _status_of(error, interrupted=bool(interrupts))


def _status_of(error: BaseException, *, interrupted: bool) -> int:
    """Say why a command has failed, and return its exit status. What ends the process goes on doing so."""
    if isinstance(error, BrokenPipeError):  # `| head`: it has what it wants
        _discard_output()
        return PIPE_CLOSED
    # An import that Ctrl-C has ended may fail in the library's own words.
    if isinstance(error, KeyboardInterrupt) or (interrupted and is_failure(error)):
        notify("\nfim-magic: interrupted")
        return INTERRUPTED
    if not is_failure(error):
        raise error
    notify(f"fim-magic: {_of_output(error) or in_words(error)}")
    return 1


@contextmanager
def _noted_interrupts() -> Iterator[list[int]]:
    """Note each Ctrl-C inside the block, which raises KeyboardInterrupt as ever."""
    noted: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield noted
        return

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


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
    if _output_is_closed():
        raise OptionError("Standard output is closed, so that the answer would be lost. Send it to a file: > FILE")


def _output_is_closed() -> bool:
    return sys.stdout is None or getattr(sys.stdout, "closed", False)


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
        status = command()
    finally:
        if not _output_is_closed():
            sys.stdout.flush()
    lost = failure_of(sys.stdout)  # what had no room in the buffer, or has none, has failed by now
    if lost is not None:
        raise lost
    return status


@contextmanager
def _buffered_output() -> Iterator[None]:
    """Put a buffer before a standard output that has none (`python -u`), as long as it is no terminal.

    Of what a full disk or a pipe takes only a part of, Python would forget the rest without a word.
    """
    unbuffered = sys.stdout
    raw = getattr(unbuffered, "buffer", None)
    if not isinstance(raw, io.RawIOBase) or is_tty(unbuffered):
        yield
        return
    lines = io.TextIOWrapper(io.BufferedWriter(raw), unbuffered.encoding, unbuffered.errors, line_buffering=True)
    sys.stdout = lines
    try:
        yield
    finally:
        sys.stdout = unbuffered
        with suppress(Exception):  # what is left by now has been told of
            lines.detach().detach()


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
