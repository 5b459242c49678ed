"""Which request went to which model, and how it ended: the record that goes into a notebook with the diff."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from typing import Any

from fim_magic.candidate import Candidate, Check, Result
from fim_magic.context.redaction import redacted
from fim_magic.document import Document
from fim_magic.own_text import own_texts, own_trimmed
from fim_magic.version import __version__

_KINDS = frozenset({"parses", "names", "columns", "original", "doctests", "test"})
"""Names of checks that are no text of the user's."""

Record = dict[str, Any]
"""Of one request, as JSON holds it. Its `decision`, if any, is `what`, of which `candidate`, at what `time`."""


def record(result: Result) -> Record:
    """Return what a notebook keeps of a finished request, as JSON can hold it.

    That is: what the model wrote, whether it was kept or trimmed; names of the notebook's variables and paths of files
    that it was shown; the model's name, which may be a path or a server's address. Not the text that stands around a
    hole or between holes, nor what was checked (an expression of the user's) or found (which may tell a value). What
    looks like a secret is `…`, in all of it.
    """
    return {
        "fim_magic": __version__,
        "time": now(),
        "model": result.model,
        "revision": result.revision,
        **_server(result),
        **({"runs_on": result.runs_on} if result.runs_on else {}),
        "method": result.method,
        "order": result.order,
        "order_reason": result.order_reason,
        "prompt_sha256": result.prompt_sha256,
        "prompt_tokens": result.prompt_tokens,
        "reused_tokens": result.reused_tokens,
        "dropped_prefix_tokens": result.dropped_prefix_tokens,
        "dropped_suffix_tokens": result.dropped_suffix_tokens,
        **({} if result.max_prompt_tokens is None else {"max_prompt_tokens": result.max_prompt_tokens}),
        "max_new_tokens": result.max_new_tokens,
        "lines": result.lines,
        **_sampling(result),
        "answers": result.answers,
        "context": result.seen.summary() if result.context else {},
        **({"left_out": list(result.left_out)} if result.left_out else {}),
        "holes": result.holes,
        "tokens": result.tokens,
        "first_token_seconds": round(result.first_token_seconds, 3),
        "seconds": round(result.seconds, 3),
        "candidates": [_candidate(candidate, result.document) for candidate in result.candidates],
    }


def full_record(result: Result) -> Record:
    """Return the record of a request for whoever asked it, and not for a notebook: `--json` prints it.

    The answers are as they came, since they are what was asked for, and so are several holes with the user's text
    between them; checks are told in words, without what looks like a secret.
    """
    return {**record(result), "candidates": [_full(candidate, result.document) for candidate in result.candidates]}


def add_answer(record: Record, result: Result) -> None:
    """Add the one candidate of a further request for the same hole to the record of the first."""
    request = {**_sampling(result), "lines": result.lines, "seconds": round(result.seconds, 3)}
    record["candidates"].append({**_candidate(result.candidates[0], result.document), **request})


def decide(record: Record, what: str, index: int, *, imports: bool = True) -> None:
    """Put into a request's record what the user has decided of a candidate, and when; "undo" takes the decision away.

    Args:
        record: Of the request.
        what: The decision.
        index: Of the candidate.
        imports: Whether its imports, if it has any, were taken with it.
    """
    if what == "undo":
        record.pop("decision", None)
        return
    record["decision"] = {"what": what, "candidate": index + 1, "time": now()}
    if record.get("candidates", [{}] * (index + 1))[index].get("imports"):
        record["decision"]["imports"] = imports


def of_cell(record: Record, index: int) -> Record:
    """Return the metadata of an accepted cell: which model wrote a part of it, and how to make that again."""
    if "candidates" not in record:
        return {}
    candidate = record["candidates"][index]
    where = ("model", "revision", "server", "runs_on")
    kept = ("fim_magic", "time", *where, "method", "order", "prompt_sha256", "max_new_tokens")
    sampled = {name: candidate.get(name, record.get(name)) for name in ("seed", "temperature", "top_p", "lines")}
    return {
        **{name: record[name] for name in kept if name in record},
        **sampled,
        "candidate": index + 1,
        "tokens": candidate.get("tokens"),
        "trimmed": bool(candidate.get("trimmed")),
    }


def now() -> str:
    """Return the time in UTC, to the second, as ISO 8601 has it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _server(result: Result) -> dict[str, Any]:
    """Return what computed, where that is a server: its host, and what it says of itself."""
    server = result.server
    if server is None:
        return {}
    return {"server": {"host": server.host, "software": server.software, "model": server.model}}


def _sampling(result: Result) -> dict[str, Any]:
    sampling = result.sampling
    return {"seed": result.seed, "temperature": sampling.temperature, "top_p": sampling.top_p}


def _candidate(candidate: Candidate, document: Document) -> dict[str, Any]:
    texts = own_texts(candidate, document)
    return {
        **({"middles": list(texts)} if candidate.kept else {"middle": texts[0]}),
        "ending": candidate.ending.value,
        "cut_by": candidate.cut.rule if candidate.cut else None,
        "trimmed": own_trimmed(candidate, document),
        "tokens": len(candidate.token_ids),
        "mean_logprob": _rounded(candidate.mean_logprob),
        "read_logprob": _rounded(candidate.read_logprob),
        "suffix_logprob": _rounded(candidate.suffix_logprob),
        "checks": [_check(check) for check in candidate.checks],
        "imports": list(candidate.imports),
        "same": candidate.same,
        "reason": candidate.reason,
    }


def _full(candidate: Candidate, document: Document) -> dict[str, Any]:
    checks = [
        {**_check(check), "name": redacted(check.name), "said": redacted(check.detail)} for check in candidate.checks
    ]
    kept = _candidate(candidate, document)
    return {**kept, "middle": candidate.middle, "trimmed": candidate.trimmed, "checks": checks}


def _check(check: Check) -> dict[str, Any]:
    """Say how a check ended, without its text: the user's expressions are all called the same."""
    found = {"name": check.name if check.name in _KINDS else "expression", "passed": check.passed}
    return found if check.confined else {**found, "confined": False}


def _rounded(logprob: float | None) -> float | None:
    return None if logprob is None or not math.isfinite(logprob) else round(logprob, 4)  # JSON has no other numbers
