"""What stands on the line of a magic, as options."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from fim_magic.errors import OptionError
from fim_magic.settings import Option


def type_of(option: Option) -> Callable[[str], Any]:
    """Return what reads an option's value from a magic's line, where IPython keeps the quotes around words."""
    return unquoted if option.type is str else option.type


def unquoted(text: str) -> str:
    quoted = re.fullmatch(r"""(["'])(.*)\1""", text)
    return quoted[2] if quoted else text


def read_line(parse: Callable[[str], Any], line: str) -> dict[str, Any]:
    """Return the options in a magic's line.

    Raises:
        OptionError: A quotation mark in it has no end.
        UsageError: IPython's, with what is wrong and how the line is to be typed.
    """
    try:
        return dict(vars(parse(line)))
    except ValueError as error:
        raise OptionError(
            f"The line cannot be read: {str(error).rstrip('.').lower()}. A value with blanks or quotation marks in it "
            "stands in quotation marks of the other kind, as in --check \"f('a') == 1\"."
        ) from error
