"""What a model says at every place of a prompt and of its answer, computed in one way and in others.

A prompt is read in parts of many rows, and an answer token by token, as a request does: the two may run on other
kernels, so each has its figures. Nothing is generated: at every place all have read the same tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fim_magic.engines import SCORED_AT_ONCE, Destination, Engine
from fim_magic.engines.arithmetic import Logits
from fim_magic.errors import OptionError
from fim_magic.evaluate.exactness.divergence import agrees, divergence
from fim_magic.evaluate.exactness.prompts import Excerpt, Prompt, prompts_of
from fim_magic.progress import Meter, OnProgress

READ, WRITTEN = "read", "written"
"""The places of a prompt, which is read at once, and those of an answer, which is written token by token."""

PARTS = (READ, WRITTEN)


class LocalModel(Engine, Protocol):
    """An engine that computes in this process, and tells all that its model says."""

    def logits(self, prompt: Sequence[int], continuation: Sequence[int], at_once: int = ...) -> Iterator[Logits]: ...


@dataclass(frozen=True)
class Places:
    """The places of one prompt or answer.

    Attributes:
        divergences: Of the other's distribution from the reference's, in nats, for each place.
        agreed: Whether both have the same most probable token there.
    """

    divergences: tuple[float, ...]
    agreed: tuple[bool, ...]


@dataclass(frozen=True)
class Compared:
    """One prompt.

    Attributes:
        name: The prompt's.
        group: What it belongs to.
        places: By the name of the other, and by part.
    """

    name: str
    group: str
    places: Mapping[str, Mapping[str, Places]] = field(default_factory=dict)


def require_local(engine: Engine) -> None:
    """Refuse a server: what it tells of a distribution is a few tokens.

    Raises:
        OptionError: The engine is one.
    """
    if engine.info.destination is not Destination.PROCESS:
        raise OptionError(
            f"{engine.info.model} runs on a server, which tells a few probabilities of each place and never all. Name "
            "a model that is loaded here: fim-magic exactness --model qwen2.5-coder-0.5b --against engine=gguf"
        )


def compare(
    reference: LocalModel,
    others: Mapping[str, LocalModel],
    found: Sequence[Excerpt],
    done: list[Compared],
    on_progress: OnProgress,
) -> None:
    """Compare others with the reference on one excerpt after another, into `done`, where an interrupt leaves it.

    Raises:
        OptionError: Two have other tokens for the same text.
        ModelError: There is not enough memory.
    """
    prompts = prompts_of(reference, found)
    for name, other in others.items():
        if prompts_of(other, found) != prompts:
            raise OptionError(
                f"{name} has other tokens for the same text than the reference, so that nothing can be compared place "
                "by place. Name another form of the same model: fim-magic exactness --against engine=gguf"
            )
    meter = Meter(on_progress, "Comparing", len(prompts), unit="prompts")
    for number, prompt in enumerate(prompts, 1):
        done.append(_compared(reference, others, prompt))
        meter.report(number)


def _compared(reference: LocalModel, others: Mapping[str, LocalModel], prompt: Prompt) -> Compared:
    first, *rest = prompt.ids
    # What follows the prompt's last token is the first place of the answer.
    read = _parts(reference, others, [first], rest[:-1], SCORED_AT_ONCE)
    written = _parts(reference, others, prompt.ids, prompt.answer, 1)
    return Compared(prompt.name, prompt.group, {name: {READ: read[name], WRITTEN: written[name]} for name in others})


def _parts(
    reference: LocalModel,
    others: Mapping[str, LocalModel],
    prompt: Sequence[int],
    continuation: Sequence[int],
    at_once: int,
) -> dict[str, Places]:
    """All go on side by side, so that no more than `at_once` distributions of each are in memory."""
    divergences: dict[str, list[float]] = {name: [] for name in others}
    agreed: dict[str, list[bool]] = {name: [] for name in others}
    models = [reference, *others.values()]
    for expected, *rows in zip(*(model.logits(prompt, continuation, at_once) for model in models), strict=True):
        for name, row in zip(others, rows, strict=True):
            divergences[name].append(divergence(expected, row))
            agreed[name].append(agrees(expected, row))
    return {name: Places(tuple(divergences[name]), tuple(agreed[name])) for name in others}
