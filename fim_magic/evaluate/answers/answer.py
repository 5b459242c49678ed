"""What the model answered, in a form that a file can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from fim_magic.candidate import Candidate, Check, Cut, Ending, Result

_DIGITS = 4  # of a log-probability


@dataclass(frozen=True)
class StoredAnswer:
    """One request's answer."""

    task: str  # the task's name
    key: str  # all that it depends on beside task and prompt
    prompt: str  # the sha256 of the prompt's ids
    candidates: tuple[Candidate, ...]  # in the order in which they would be offered
    prompt_tokens: int  # how long the prompt was
    reused_tokens: int  # how many of them an earlier request had read already
    first_token_seconds: float  # until the first token
    seconds: float  # until the last token
    order: str  # "psm", "spm" or ""
    at: str  # when it was made, in UTC
    same_as: str = ""  # the request that had the same prompt and so was not made again, or ""
    # the natural log-probability of what stood in the hole, after this prompt; None where it was not read
    canonical_logprob: float | None = None

    @property
    def digest(self) -> str:
        return self.prompt

    @property
    def tokens(self) -> int:
        """How many tokens were generated, over all candidates."""
        return sum(len(candidate.token_ids) for candidate in self.candidates)

    @property
    def samples(self) -> int:
        """How many answers there were before those that say the same became one."""
        return sum(candidate.same for candidate in self.candidates)

    def to_json(self) -> dict[str, Any]:
        facts = {name: value for name, value in vars(self).items() if name != "candidates"}
        facts["canonical_logprob"] = _rounded(self.canonical_logprob)
        return facts | {"candidates": [_to_json(candidate) for candidate in self.candidates]}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> StoredAnswer:
        return cls(**{**row, "candidates": tuple(map(_from_json, row["candidates"]))})


def answer_of(task: str, key: str, result: Result) -> StoredAnswer:
    """Return a result as the answer to a task."""
    return StoredAnswer(
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


def _to_json(candidate: Candidate) -> dict[str, Any]:
    return asdict(candidate) | {
        "logprobs": [_rounded(logprob) for logprob in candidate.logprobs],
        "ending": candidate.ending.value,
        "read_logprob": _rounded(candidate.read_logprob),
        "suffix_logprob": _rounded(candidate.suffix_logprob),
        "checks": [_check_to_json(check) for check in candidate.checks],
    }


def _check_to_json(check: Check) -> dict[str, Any]:
    row = asdict(check)
    if row.pop("confined"):
        return {"said": row.pop("detail"), **row}  # as files of before have it
    return {"said": row.pop("detail"), **row, "confined": False}


def _check_from_json(row: Mapping[str, Any]) -> Check:
    rest = {name: value for name, value in row.items() if name not in ("said", "names")}
    return Check(detail=row["said"], names=tuple(row.get("names", ())), **rest)


def _rounded(logprob: float | None) -> float | None:
    return None if logprob is None else round(logprob, _DIGITS)


def _from_json(row: Mapping[str, Any]) -> Candidate:
    cut = row["cut"]
    return Candidate(
        raw=row["raw"],
        ending=Ending(row["ending"]),
        cut=None if cut is None else Cut(**cut),
        token_ids=tuple(row["token_ids"]),
        logprobs=tuple(row["logprobs"]),
        token_ends=tuple(row["token_ends"]),
        read_logprob=row["read_logprob"],
        suffix_logprob=row["suffix_logprob"],
        checks=tuple(map(_check_from_json, row["checks"])),
        same=row["same"],
        reason=row["reason"],
        kept=tuple((start, end) for start, end in row["kept"]),
        imports=tuple(row.get("imports", ())),
    )
