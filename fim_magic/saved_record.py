"""The record of an infill as it was saved, in a notebook or for `%fim log`: read in one place, field by field.

A notebook may come from anybody, so nothing in it is taken to be what `provenance.record` has written.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fim_magic.errors import OptionError
from fim_magic.limits import MOST_ANSWERS, MOST_LINES, SEEDS, TEMPERATURE_RULE, TEMPERATURES, is_temperature

_MOST_CANDIDATES = 1000  # those of "Again" and "More" among them
_MOST_TOKENS = 2**31
_LONGEST_NAME = 4096  # characters: as long as a path may be
_LONGEST_TEXT = 2**20  # characters of one answer
_FINITE = sys.float_info.max
_SHOWN = 60  # characters of a value that is refused

_REQUIRED = object()


@dataclass(frozen=True)
class SavedAnswer:
    """One candidate of a record.

    Attributes:
        texts: What the model wrote, without what looks like a secret: for each hole, or in one text for all of them.
        is_further: Whether it came by "Again" or "More", and so from another request.
        mean_logprob: Of its tokens, or None.
        passed: What became of each of its checks.
        confined: Whether the system confined all of them while they ran.
    """

    texts: tuple[str, ...]
    is_further: bool
    mean_logprob: float | None
    passed: tuple[bool | None, ...]
    confined: bool


@dataclass(frozen=True)
class SavedRecord:
    """What a record says.

    Attributes:
        model: Its name, as the user has given it then.
        revision: Which version of it.
        method: "fim", "rank" or "complete".
        order: "psm", "spm" or "".
        prompt_sha256: Of the prompt's ids.
        max_new_tokens: The most tokens that an answer could have.
        max_prompt_tokens: The most tokens of the prompt; None where that is not said.
        lines: How many statements it was to have at least.
        temperature: Of the sampling.
        top_p: Likewise.
        seed: Likewise; None where nothing was sampled.
        count: How many answers there were.
        has_context: Whether the model saw cells or names beside the text.
        answers: The candidates.
        time: When it was made, as ISO 8601 has it, or "".
        decision: What the user has decided, or "".
        decided: Of which candidate, from 1.
        software: The server that ran it, and its version; "" where none did.
        served: As that server called the model.
        runs_on: Where and in what precision it was computed; "" where that is not said.
    """

    model: str
    revision: str
    method: str
    order: str
    prompt_sha256: str
    max_new_tokens: int
    max_prompt_tokens: int | None
    lines: int
    temperature: float
    top_p: float
    seed: int | None
    count: int
    has_context: bool
    answers: tuple[SavedAnswer, ...]
    time: str
    decision: str
    decided: int
    software: str = ""
    served: str = ""
    runs_on: str = ""


def read_record(saved: object) -> SavedRecord:
    """Read a record.

    Raises:
        OptionError: It says not enough, or something that no record of ours says.
    """
    fields = _Fields(saved, "")
    candidates = fields.list_of("candidates", most=_MOST_CANDIDATES)
    context = _Fields(fields.value("context", {}), "context.")
    decision = _Fields(fields.value("decision", {}), "decision.")
    server = _Fields(fields.value("server", {}), "server.")
    answers = tuple(_answer(_Fields(one, f"candidates[{number}].")) for number, one in enumerate(candidates))
    return SavedRecord(
        model=fields.text("model", least=1),
        revision=fields.text("revision", ""),
        method=fields.one_of("method", ("fim", "rank", "complete")),
        order=fields.one_of("order", ("psm", "spm", "", None)) or "",
        prompt_sha256=fields.text("prompt_sha256", ""),
        max_new_tokens=fields.whole("max_new_tokens", 0, _MOST_TOKENS),
        max_prompt_tokens=fields.optional("max_prompt_tokens", lambda name: fields.whole(name, 0, _MOST_TOKENS)),
        lines=fields.whole("lines", 1, MOST_LINES, default=1),
        temperature=fields.temperature("temperature"),
        top_p=fields.number("top_p", math.ulp(0.0), 1.0),
        seed=fields.optional("seed", lambda name: fields.whole(name, *SEEDS)),
        count=fields.whole("answers", 0, MOST_ANSWERS, default=min(len(answers), MOST_ANSWERS)),
        has_context=any(context.values()),
        answers=answers,
        time=fields.text("time", ""),
        decision=decision.text("what", ""),
        decided=decision.whole("candidate", 1, _MOST_CANDIDATES, default=1),
        software=server.text("software", ""),
        served=server.text("model", ""),
        runs_on=fields.text("runs_on", ""),
    )


def _answer(fields: _Fields) -> SavedAnswer:
    in_one = fields.value("middles", None) is None
    texts = [fields.text("middle", longest=_LONGEST_TEXT)] if in_one else fields.texts("middles")
    checks = [_Fields(check, "checks.") for check in fields.list_of("checks", most=_MOST_CANDIDATES, default=[])]
    return SavedAnswer(
        texts=tuple(texts),
        is_further="seed" in fields.given,
        mean_logprob=fields.optional("mean_logprob", lambda name: fields.number(name, -_FINITE, _FINITE)),
        passed=tuple(check.one_of("passed", (True, False, None)) for check in checks),
        confined=all(check.one_of("confined", (True, False), default=True) for check in checks),
    )


class _Fields:
    """Fields of an object that should be JSON's. Each method returns one, or raises an OptionError that names it."""

    def __init__(self, given: object, name: str) -> None:
        if not isinstance(given, Mapping):
            raise _refused(name.rstrip(".") or "it", given, "no object")
        self.given: Mapping[Any, Any] = given
        self._name = name

    def values(self) -> list[Any]:
        return list(self.given.values())

    def value(self, name: str, default: Any = _REQUIRED) -> Any:
        found = self.given.get(name, default)
        if found is _REQUIRED:
            raise OptionError(
                f"Its record does not say enough: it has no {self._name}{name}. It was made by an earlier version."
            )
        return found

    def text(self, name: str, default: Any = _REQUIRED, *, least: int = 0, longest: int = _LONGEST_NAME) -> str:
        found = self.value(name, default)
        if not isinstance(found, str) or not least <= len(found) <= longest:
            raise _refused(self._name + name, found, f"no text of {least} to {longest} characters")
        return found

    def texts(self, name: str) -> list[str]:
        found = self.list_of(name, most=_MOST_CANDIDATES)
        if not all(isinstance(text, str) for text in found) or sum(map(len, found)) > _LONGEST_TEXT:
            raise _refused(self._name + name, found, f"no list of texts of at most {_LONGEST_TEXT} characters")
        return found

    def list_of(self, name: str, *, most: int, default: Any = _REQUIRED) -> list[Any]:
        found = self.value(name, default)
        if not isinstance(found, list) or len(found) > most:
            raise _refused(self._name + name, found, f"no list of at most {most}")
        return found

    def whole(self, name: str, least: int, most: int, *, default: Any = _REQUIRED) -> int:
        found = self.value(name, default)
        if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= most:
            raise _refused(self._name + name, found, f"no whole number from {least} to {most}")
        return found

    def number(self, name: str, least: float, most: float) -> float:
        found = self.value(name)
        # A NaN compares as nothing: it is in no range.
        if not isinstance(found, int | float) or isinstance(found, bool) or not least <= found <= most:
            raise _refused(self._name + name, found, f"no number from {least:g} to {most:g}")
        return float(found)

    def temperature(self, name: str) -> float:
        found = self.number(name, 0.0, TEMPERATURES[1])
        if not is_temperature(found):
            raise _refused(self._name + name, found, f"none: it {TEMPERATURE_RULE}")
        return found

    def one_of(self, name: str, known: tuple[Any, ...], *, default: Any = _REQUIRED) -> Any:
        found = self.value(name, default)
        # Not `in`: to that, 1 is True.
        if not any(type(found) is type(value) and found == value for value in known):
            raise _refused(self._name + name, found, f"none of {', '.join(map(repr, known))}")
        return found

    def optional(self, name: str, read: Callable[[str], Any]) -> Any:
        return None if self.given.get(name) is None else read(name)


def _refused(name: str, found: object, not_this: str) -> OptionError:
    try:
        # ASCII: it is somebody else's text, on its way to a terminal.
        shown = ascii(found)
    except (RecursionError, ValueError):  # nested, or a number of more digits than Python writes
        shown = type(found).__name__
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    return OptionError(f"Its record cannot be read: {name} is {shown}, which is {not_this}. Fill the cell again.")
