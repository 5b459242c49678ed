"""The kinds of values that options have, and how each option is typed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import traitlets
from traitlets.config import Configurable

from fim_magic.errors import OptionError

_FLAG = re.compile(r"--[a-z][\w-]*")


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


def variable_of(name: str) -> str:
    """Return the environment variable that an option may come from."""
    return f"FIM_MAGIC_{name.upper()}"


@dataclass(frozen=True)
class OptionValues:
    """The options of one call, and where each comes from, so that an error names what the user can change.

    Attributes:
        values: Each by its name.
        typed: Those that came with the call.
        flags: Those that can be typed behind `--`.
        environment: What environment variables hold, by the option's name, whether it counts or not.
    """

    values: Mapping[str, Any]
    typed: frozenset[str] = frozenset()
    flags: frozenset[str] = frozenset()
    environment: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def origin(self, name: str, item: object = None) -> str:
        """Say what the user has to change: the environment variable, or the option as it was typed or configured.

        Args:
            name: The option's name.
            item: One of its values, where it has several: they may come from two places.
        """
        if name in self.typed:
            return "--" + name.replace("_", "-") if name in self.flags else name
        held = self.environment.get(name)
        if held is not None and (held == self[name] if item is None else item in held):
            return f"the environment variable {variable_of(name)}"
        return f"FimMagics.{name}"

    def refusal(self, name: str, rule: str) -> OptionError:
        """Return the error for a value that breaks a rule, which is half a sentence."""
        origin = self.origin(name)
        begin = origin.replace("the env", "The env", 1)  # a name stays as it is typed
        return OptionError(f"{begin} {rule}; {self[name]!r} is not.{mend(origin)}")

    def checked(self, name: str, valid: Callable[[Any], bool], rule: str) -> Any:
        """Return a value.

        Raises:
            OptionError: It is not valid, or of a type that cannot be.
        """
        try:
            fine = valid(self[name])
        except TypeError:
            fine = False
        if not fine:
            raise self.refusal(name, rule)
        return self[name]

    def one_of(self, name: str, known: Sequence[str], *, nothing: str) -> str | None:
        """Return a value as it is known, in whatever case it was typed; None for `nothing`.

        Raises:
            OptionError: It is none of those.
        """
        by_lower: dict[Any, str | None] = {word.lower(): word for word in known} | {nothing: None, None: None}
        value = self[name]
        typed = value.lower() if isinstance(value, str) else value
        self.checked(name, lambda _: typed in by_lower, f"is one of {', '.join((nothing, *known))}")
        return by_lower[typed]


def mend(origin: str) -> str:
    """Say behind an error how it is mended, if its value has come from an environment variable: nobody has typed it."""
    return " Change or unset it." if "FIM_MAGIC_" in origin else ""


def origin_note(settings: Any, message: str, typed: str) -> str:
    """Say of the options that an error names which of them nobody has typed: they come from environment variables.

    Args:
        settings: The `Settings` that count.
        message: Of the error. It may say what to omit.
        typed: What the user typed.
    """
    words = {word.partition("=")[0] for word in typed.split()}
    named = _FLAG.findall(message)
    found = []
    for name, trait in settings.traits(flags=lambda flags: flags is not None).items():
        option = f"--{name.replace('_', '-')}"
        counts = name in settings.environment and getattr(settings, name) == settings.environment[name]
        is_named = option in named and variable_of(name) not in message
        if counts and is_named and words.isdisjoint(trait.metadata["flags"]):
            found.append(f" {option} comes from the environment variable {variable_of(name)}; change or unset it.")
    return "".join(found)


def unreadable(trait: Any, name: str, value: str) -> OptionError:
    """Return the error for an environment variable that does not hold what its option can be."""
    words = f": it is one of {', '.join(map(str, trait.values or ()))}" if isinstance(trait, traitlets.Enum) else ""
    shown = "--" + name.replace("_", "-") if trait.metadata.get("flags") else name
    return OptionError(
        f"The environment variable {variable_of(name)} holds {value!r}, which {shown} cannot be{words}. Change or "
        "unset it."
    )
