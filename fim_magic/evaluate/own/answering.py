"""One request of a run on the user's own files: asked as a front end asks, timed as the user would."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fim_magic.candidate import Result
from fim_magic.evaluate.answers.answer import StoredAnswer, answer_of
from fim_magic.evaluate.answers.asking import Asking
from fim_magic.generation import prompt_for
from fim_magic.request import Request

if TYPE_CHECKING:
    from fim_magic.engines import Engine


@dataclass(frozen=True)
class OwnAnswer:
    """What came of one request."""

    answer: StoredAnswer  # the candidates, as they stood at the end
    first: str  # the first answer that could be accepted
    first_seconds: float  # from the request until that one was offered
    last_seconds: float  # from the request until nothing more was to come
    shown: str  # what the model saw beside the document
    asked: str  # all that the answer depends on beside the code, the model and the options, as a sha256

    @property
    def task(self) -> str:
        return self.answer.task

    @property
    def digest(self) -> str:
        return self.asked

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "answer": self.answer.to_json()}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> OwnAnswer:
        return cls(**{**row, "answer": StoredAnswer.from_json(row["answer"])})

    def under(self, key: str, digest: str, arm: str) -> OwnAnswer:
        """Return it as the answer to the same question in another arm; `arm` is the one that was asked."""
        return replace(self, asked=digest, answer=replace(self.answer, key=key, same_as=arm))


def digest_of(request: Request, engine: Engine) -> str:
    """Return a sha256 of what a request asks: the prompt, and the names that count as defined."""
    prompt = prompt_for(request, engine)
    facts = (prompt.sha256, prompt.healed, sorted(request.known))
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogatepass")).hexdigest()


def answered(task: str, key: str, request: Request, asking: Asking) -> OwnAnswer:
    """Ask, and return what came; a KeyboardInterrupt where the user stopped it."""
    offered = asking.ask(request)
    (first_seconds, first), (last_seconds, last) = offered[0], offered[-1]
    return OwnAnswer(
        answer=answer_of(task, key, last),
        first=first.middle,
        first_seconds=first_seconds,
        last_seconds=last_seconds,
        shown=_shown(last),
        asked=digest_of(request, asking.engine),
    )


def _shown(result: Result) -> str:
    """What the model saw beside the document."""
    seen = result.seen
    return "\n".join([*(file.text for file in seen.files), seen.above_text, seen.below_text]).strip()


def same_question(request: Request, others: Mapping[str, tuple[Request, OwnAnswer]]) -> str:
    """Return the arm of `others` whose answer is the answer to `request` as well, or "".

    An arm that was left to decide how many answers there are, and found one enough, has answered also the one that
    asks for one.
    """
    for arm, (other, answer) in others.items():
        one_was_enough = request.candidates == 1 and answer.answer.samples == 1
        if other == request or (one_was_enough and replace(other, candidates=1) == request):
            return arm
    return ""
