"""What the model answered, in a form that a file can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from fim_magic.candidate import Candidate, Check, Cut, Ending, Result

_DIGITS = 4  # of a log-probability


@dataclass(frozen=True)
class Answer:
    """One request's answer.

    Attributes:
        task: The task's name.
        key: All that it depends on beside task and prompt.
        prompt: The sha256 of the prompt's ids.
        candidates: In the order in which they would be offered.
        prompt_tokens: How long the prompt was.
        reused_tokens: How many of them an earlier request had read already.
        first_token_seconds: Until the first token.
        seconds: Until the last token.
        order: "psm", "spm" or "".
        at: When it was made, in UTC.
        same_as: The request that had the same prompt and so was not made again, or "".
        canonical_logprob: The natural log-probability of what stood in the hole, after this prompt; None where nobody
            asked for it.
    """

    task: str
    key: str
    prompt: str
    candidates: tuple[Candidate, ...]
    prompt_tokens: int
    reused_tokens: int
    first_token_seconds: float
    seconds: float
    order: str
    at: str
    same_as: str = ""
    canonical_logprob: float | None = None

    @property
    def tokens(self) -> int:
        """How many tokens were generated, over all candidates."""
        return sum(len(candidate.token_ids) for candidate in self.candidates)

    @property
    def samples(self) -> int:
        """How many answers there were before those that say the same became one."""
        return sum(candidate.same for candidate in self.candidates)

    def to_json(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        told = {name: value for name, value in vars(self).items() if name != "candidates"}
        told["canonical_logprob"] = _rounded(self.canonical_logprob)
        return told | {"candidates": [_told(candidate) for candidate in self.candidates]}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Answer:
        """Read back what `to_json` returned."""
        return cls(**{**told, "candidates": tuple(_candidate(each) for each in told["candidates"])})


def answer_of(task: str, key: str, result: Result) -> Answer:
    """Return a result as the answer to a task."""
    return Answer(
        task=task,
        key=key,
        prompt=result.prompt_sha256,
        candidates=result.candidates,
        prompt_tokens=result.prompt_tokens,
        reused_tokens=result.reused_tokens,
        first_token_seconds=result.first_token_seconds,
        seconds=result.seconds,
        order=result.order,
        at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _told(candidate: Candidate) -> dict[str, Any]:
    told = asdict(candidate)
    told["logprobs"] = [round(each, _DIGITS) for each in candidate.logprobs]
    told["ending"] = candidate.ending.value
    for name in ("read_logprob", "suffix_logprob"):
        told[name] = _rounded(told[name])
    return told


def _rounded(logprob: float | None) -> float | None:
    return None if logprob is None else round(logprob, _DIGITS)


def _candidate(told: Mapping[str, Any]) -> Candidate:
    cut = told["cut"]
    return Candidate(
        raw=told["raw"],
        ending=Ending(told["ending"]),
        cut=None if cut is None else Cut(**cut),
        token_ids=tuple(told["token_ids"]),
        logprobs=tuple(told["logprobs"]),
        token_ends=tuple(told["token_ends"]),
        read_logprob=told["read_logprob"],
        suffix_logprob=told["suffix_logprob"],
        checks=tuple(Check(**{**each, "names": tuple(each.get("names", ()))}) for each in told["checks"]),
        same=told["same"],
        reason=told["reason"],
        kept=tuple((start, end) for start, end in told["kept"]),
        imports=tuple(told.get("imports", ())),
    )
