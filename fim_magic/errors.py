"""Errors that are written for the user: what went wrong, and the line to type to mend it.

Everything that a user can cause is a [`FimError`][]. The magics and the command line print its text and nothing
else; the Python interface raises it. An exception of any other type is a bug of ours.
"""

from __future__ import annotations

from fim_magic.visible import plain_lines


class FimError(Exception):
    """Something the user can mend. The message is one paragraph that says how, fit to be shown wherever it is."""

    def __str__(self) -> str:
        return plain_lines(super().__str__())


class MarkerError(FimError):
    """The text has no cursor marker, or more than the request can use."""


class OptionError(FimError):
    """An option's value makes no sense."""


class ModelError(FimError):
    """The model is unknown, cannot do what is wanted, or could not be loaded."""


class FetchError(FimError):
    """A checkpoint could not be brought to this machine. Nothing half-made was left behind."""


class BusyError(FimError):
    """The model is already generating for another request in this process."""
