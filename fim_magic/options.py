"""The kinds of values that options have, and how each option is typed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import traitlets
from traitlets.config import Configurable


class Texts(traitlets.List[str]):
    """Texts; from the environment one text, which is no list of Python's."""

    def from_string(self, s: str) -> list[str] | None:
        """Read what an environment variable holds."""
        return [s]


class Markers(Texts):
    """Markers; from the environment those between its white space."""

    def from_string(self, s: str) -> list[str] | None:
        """Read what an environment variable holds. Raises ValueError where it holds none."""
        if not s.split():
            raise ValueError("there is no marker in it")
        return s.split()


class Hosts(Texts):
    """Hosts; from the environment those between its commas and white space."""

    def from_string(self, s: str) -> list[str]:
        """Read what an environment variable holds."""
        return s.replace(",", " ").split()


def number_or_word(text: str) -> int | str:
    """Read a number, or leave a word as it is."""
    return int(text) if text.isdecimal() else text


@dataclass(frozen=True)
class Option:
    """How an option is typed: in a magic's line and on the command line."""

    flags: tuple[str, ...]
    help: str
    type: Callable[[str], Any]
    repeats: bool = False

    @property
    def typed(self) -> dict[str, Any]:
        """The arguments for argparse beside its flags, its name and its type."""
        return {"help": self.help, **({"action": "append"} if self.repeats else {})}


def options_of(settings: type[Configurable]) -> dict[str, Option]:
    """Return the options that can be typed, by name."""
    kinds = {traitlets.Int: int, traitlets.Float: float, traitlets.Unicode: str, Texts: str, Markers: str}
    traits = settings.class_traits(flags=lambda flags: flags is not None)
    return {
        name: Option(
            trait.metadata["flags"],
            # argparse, which the magics use as well, reads a single % in a help text as a format.
            trait.help.replace("%", "%%"),
            trait.metadata.get("typed") or kinds[type(trait)],
            repeats=isinstance(trait, Texts),
        )
        for name, trait in traits.items()
    }
