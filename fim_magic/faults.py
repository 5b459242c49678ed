"""What nobody has foreseen, in words: the last net at each door, behind all that is refused with a reason.

An error that is not ours becomes one paragraph. Its traceback is for those who mend it: it goes to the log, and into a
file that a report can bring along.
"""

from __future__ import annotations

import errno
import logging
import os
import tempfile
import traceback
from contextlib import suppress

from fim_magic.errors import FaultError, FimError, OptionError, without_secrets
from fim_magic.version import __version__
from fim_magic.visible import plain_lines
from fim_magic.working_folder import require_working_folder

_log = logging.getLogger(__name__)

REPORT = "https://github.com/fim-magic/fim-magic/issues"

_MOST_SHOWN = 200  # characters of a library's message; the first line of some is a whole file
_NO_MEMORY = ("cannot allocate memory", "failed to map segment", "out of memory", "can't start new thread", "bad_alloc")
_OF_THE_SYSTEM = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EIO}
    | {errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EFBIG}
)


def in_words(error: BaseException) -> FimError:
    """Return what to tell the user of an error that reached a door: one paragraph, with what to do about it.

    Args:
        error: If it is a `FimError`, it is returned as it is; what it came from is made fit to be shown.
    """
    _make_causes_plain(error)
    if isinstance(error, FimError):
        return error
    # Not as an error: where nobody has set logging up, Python would print it all below the paragraph.
    _log.info("An error that nobody has foreseen: %s", type(error).__name__, exc_info=error)
    if _is_lack_of_memory(error):
        return FaultError(
            "There is not enough memory for this, or less than this process may take. Close what else uses it, restart "
            "the kernel, or take a smaller model (%fim models says which fit). Nothing was changed."
        )
    if isinstance(error, FileNotFoundError):  # which may be the folder itself, in a library's own words
        try:
            require_working_folder()
        except OptionError as gone:
            return gone
    if isinstance(error, OSError) and error.errno in _OF_THE_SYSTEM:
        where = f": {error.filename}" if error.filename else ""
        return FaultError(
            f"The system does not let this be done ({error.strerror}{where}). Make room or check who may read and "
            "write there, and try again. Nothing was changed."
        )
    kept = _keep(error)
    with_file = f" and with the file {kept}, which has the details (look through it first)" if kept else ""
    return FaultError(
        f"This did not work: {_summary(error)}. It is a fault of fim-magic that it cannot say more. Nothing was "
        f"changed, and you can go on. Please report it with this line{with_file}: {REPORT}"
    )


def _make_causes_plain(error: BaseException) -> None:
    """Make what others say in an error, and in those that it came from, fit for a traceback on a terminal."""
    seen: set[int] = set()
    links: list[BaseException | None] = [error]
    while links:
        link = links.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        links += [link.__cause__, link.__context__]
        for name in ("args", "__notes__"):  # notes are of Python 3.11
            with suppress(Exception):  # of a class that somebody else has written
                said = getattr(link, name, ())
                shown = [plain_lines(without_secrets(each)) if isinstance(each, str) else each for each in said]
                if shown != list(said):
                    setattr(link, name, tuple(shown) if name == "args" else shown)


def _summary(error: BaseException) -> str:
    """Return an error's type and the first line of its message."""
    try:
        first = (str(error).strip().splitlines() or [""])[0]
    except Exception:  # of a class that somebody else has written
        first = ""
    shown = first if len(first) <= _MOST_SHOWN else f"{first[:_MOST_SHOWN]}…"
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__


def _is_lack_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    message = _summary(error).lower()
    return isinstance(error, ImportError | OSError | RuntimeError) and any(words in message for words in _NO_MEMORY)


def _keep(error: BaseException) -> str:
    """Write the traceback into a file of the user's own; return its path, or "" where none can be written."""
    try:
        text = without_secrets("".join(traceback.format_exception(error)))
        handle, path = tempfile.mkstemp(prefix="fim-magic-fault-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(plain_lines(f"fim-magic {__version__}\n{text}"))  # to be looked through, on a terminal too
    except Exception:
        _log.info("The details of an error could not be kept.", exc_info=True)
        return ""
    return path
