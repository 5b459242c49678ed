"""The folder that the process works in, which may be gone: deleted, moved to a bin, or on a disk that is not there."""

from __future__ import annotations

import os

from fim_magic.errors import OptionError


def require_working_folder() -> None:
    """Raise where the process's folder is gone: before torch is imported, whose library ends the process then.

    Raises:
        OptionError: It is.
    """
    try:
        os.getcwd()
    except OSError as error:
        raise OptionError(
            f"The folder that this works in is gone ({error.strerror or error}): it was deleted or moved since. Go to "
            "another one, and try again: cd ~ in a shell, %cd ~ in a notebook."
        ) from error
