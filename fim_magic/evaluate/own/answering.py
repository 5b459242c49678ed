"""One request of a run on somebody's own files: asked as a front end asks, timed as whoever waits would time it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fim_magic.candidate import Result
from fim_magic.context import Context
from fim_magic.evaluate.answers import Answer, answer_of
from fim_magic.events import Finished, Offered
from fim_magic.generation import prompt_for
from fim_magic.interruption import interruptible
from fim_magic.pipeline import run
from fim_magic.request import Request

if TYPE_CHECKING:
    from fim_magic.engines import Engine


@dataclass(frozen=True)
class OwnAnswer:
    """What came of one request.

    Attributes:
        answer: The candidates, as they stood at the end.
        first: The first answer that could be accepted.
        first_seconds: From the request until that one was offered.
        last_seconds: From the request until nothing more was to come.
        shown: What the model saw beside the document.
        asked: All that the answer depends on beside the code, the model and the options, as a sha256.
    """

    answer: Answer
    first: str
    first_seconds: float
    last_seconds: float
    shown: str
    asked: str

    def to_json(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        return {**vars(self), "answer": self.answer.to_json()}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> OwnAnswer:
        """Read back what `to_json` returned."""
        return cls(**{**told, "answer": Answer.from_json(told["answer"])})

    def under(self, key: str, asked: str, arm: str) -> OwnAnswer:
        """Return it as the answer to the same question in another arm.

        Args:
            key: The other arm's.
            asked: Of the other arm's request.
            arm: Where it was asked.
        """
        return replace(self, asked=asked, answer=replace(self.answer, key=key, same_as=arm))


def digest_of(request: Request, engine: Engine) -> str:
    """Return a sha256 of what a request asks: the prompt, and the names that count as defined.

    Raises:
        FimError: It cannot be asked.
    """
    prompt = prompt_for(request, engine)
    told = (prompt.sha256, prompt.healed, sorted(request.known))
    return hashlib.sha256(repr(told).encode("utf-8", "surrogatepass")).hexdigest()


def answered(task: str, key: str, request: Request, engine: Engine) -> OwnAnswer:
    """Ask, and return what came.

    Args:
        task: The task's name.
        key: What the answer depends on beside what is asked.
        request: What is asked.
        engine: The loaded model.

    Raises:
        FimError: As `fim_magic.pipeline.run` says.
        KeyboardInterrupt: The user stopped it: half an answer must not count as one.
    """
    began = time.perf_counter()
    with interruptible() as stop:
        offered = [
            (time.perf_counter() - began, event.result)
            for event in run(request, engine, stop)
            if isinstance(event, Offered | Finished)
        ]
    if stop.is_set():
        raise KeyboardInterrupt
    (first_seconds, first), (last_seconds, last) = offered[0], offered[-1]
    return OwnAnswer(
        answer=answer_of(task, key, last),
        first=first.middle,
        first_seconds=first_seconds,
        last_seconds=last_seconds,
        shown=shown(last),
        asked=digest_of(request, engine),
    )


def shown(result: Result) -> str:
    """Return what the model saw beside the document."""
    return _text_of(result.seen)


def _text_of(context: Context) -> str:
    return "\n".join([*(file.text for file in context.files), context.above_text, context.below_text]).strip()


def same_question(request: Request, others: Mapping[str, tuple[Request, OwnAnswer]]) -> str:
    """Return the arm whose answer is the answer to `request` as well, or "".

    An arm that was left to decide how many answers there are, and found one enough, has answered also the one that
    asks for one.

    Args:
        request: What is to be asked.
        others: What other arms have asked, and the answers.
    """
    for arm, (asked, told) in others.items():
        one_was_enough = request.candidates == 1 and told.answer.samples == 1
        if asked == request or (one_was_enough and replace(asked, candidates=1) == request):
            return arm
    return ""
