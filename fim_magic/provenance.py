"""What was asked, of which model, and how it ended: the record that goes into a notebook with the diff."""

from __future__ import annotations

from typing import Any

from fim_magic import __version__
from fim_magic.candidate import Candidate, Result


def record(result: Result) -> dict[str, Any]:
    """Return everything about a result that JSON can hold, without the user's own text.

    Args:
        result: Of a finished request.
    """
    return {
        "fim_magic": __version__,
        "model": result.model,
        "revision": result.revision,
        "method": result.method,
        "order": result.order,
        "order_reason": result.order_reason,
        "reused_tokens": result.reused_tokens,
        "seed": result.seed,
        "prompt_tokens": result.prompt_tokens,
        "dropped_prefix_tokens": result.dropped_prefix_tokens,
        "dropped_suffix_tokens": result.dropped_suffix_tokens,
        "tokens": result.tokens,
        "first_token_seconds": round(result.first_token_seconds, 3),
        "seconds": round(result.seconds, 3),
        "candidates": [_candidate(candidate) for candidate in result.candidates],
    }


def _candidate(candidate: Candidate) -> dict[str, Any]:
    mean = candidate.mean_logprob
    return {
        "middle": candidate.middle,
        "ending": candidate.ending.value,
        "cut_by": candidate.cut.rule if candidate.cut else None,
        "trimmed": candidate.trimmed,
        "tokens": len(candidate.token_ids),
        "mean_logprob": None if mean is None else round(mean, 4),
    }
