"""Several answers to one question: the greedy one, and those that leave it where the model was least sure.

Each takes one token that the model found nearly as probable as the greedy one's, and goes on greedily from there. No
two begin alike, and each is the model's best for how it begins, while any token of a sampled answer may be an unlikely
one. (CoT decoding, arXiv 2402.10200, branches likewise, at the first token only.)

A right one is among them at least as often as among sampled ones: `.github/DECISIONS.md` has the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from fim_magic.candidate import Candidate
from fim_magic.engines import Beginning, TokenLogprob
from fim_magic.tokenization import TextTokenizer

_IMPOSSIBLE = -8.0  # less in log-probability than what the model says in its place
_LATER = 1.5  # of log-probability that each token counts by which another answer leaves a copy later


def read_tokens(first: Candidate) -> tuple[int, ...]:
    """Return the tokens of a candidate that say what was kept of it, and those before it that were generated again."""
    if first.cut is None:
        return first.token_ids
    kept = next((count for count, end in enumerate(first.token_ends, 1) if end >= first.cut.at), len(first.token_ids))
    return first.token_ids[: max(kept, sum(end == 0 for end in first.token_ends))]


def branching_tokens(first: Candidate) -> tuple[int, ...]:
    """Return the tokens of a candidate in whose places others may leave it: `read_tokens` less line ends at its end."""
    tokens = read_tokens(first)
    while tokens and first.cut is not None:
        start = first.token_ends[len(tokens) - 2] if len(tokens) > 1 else 0
        text = first.raw[start : first.token_ends[len(tokens) - 1]]
        if text.strip() or "\n" not in text:
            break
        tokens = tokens[:-1]
    return tokens


def beginnings(
    tokens: Sequence[int],
    top_logprobs: Sequence[Sequence[TokenLogprob]],
    begin: Beginning,
    tokenizer: TextTokenizer,
    stop_ids: AbstractSet[int],
    count: int,
    *,
    early: bool = False,
) -> list[tuple[int, ...]]:
    """Return how other answers than the greedy one begin, the most probable departure first.

    Args:
        tokens: The greedy answer's, as `branching_tokens` returns them.
        top_logprobs: The most probable tokens in the place of each of them, and in the place behind, falling.
        begin: How every answer has to begin.
        tokenizer: The model's.
        stop_ids: The tokens that end an answer; in one place they all come to the same, as do line ends where the
            answer ends with one.
        count: How many beginnings at most.
        early: Those first that depart near where the answer begins, if the model finds them possible at all: the
            answer is a copy, and what leaves it late copies most of it.
    """
    departures: list[tuple[float, tuple[int, ...]]] = []
    for position, choices in enumerate(top_logprobs):
        allowed = begin.allowed(tokens[:position], tokenizer)
        possible = [token for token in choices if allowed is None or token.id in allowed]
        own = tokens[position] if position < len(tokens) else next((token.id for token in possible), None)
        ends = set(stop_ids)
        if position == len(tokens) and own is not None and _is_line_end(own, tokenizer):
            ends.update(token.id for token in possible if _is_line_end(token.id, tokenizer))
        ended = own in ends
        for token in possible:
            if token.id == own or (ended and token.id in ends):
                continue
            ended = ended or token.id in ends
            departures.append((token.logprob - possible[0].logprob, (*tokens[:position], token.id)))
    if early:
        departures = [departure for departure in departures if departure[0] > _IMPOSSIBLE]
        departures.sort(key=lambda departure: _LATER * len(departure[1]) - departure[0])
    else:
        departures.sort(key=lambda departure: -departure[0])
    return [ids for _, ids in departures[:count]]


def known_logprobs(
    ids: Sequence[int], first: Candidate, top_logprobs: Sequence[Sequence[TokenLogprob]]
) -> tuple[float | None, ...]:
    """Return the log-probabilities of the tokens with which another answer begins; None for one that is not known.

    Args:
        ids: The tokens: those of the greedy answer, and behind them one with which it is left.
        first: The greedy answer.
        top_logprobs: As `beginnings` has them.
    """
    *copied, _ = ids
    left = (token.logprob for token in top_logprobs[len(copied)] if token.id == ids[-1])
    own = first.logprobs[: len(copied)]
    return (*own, *[None] * (len(copied) - len(own)), next(left, None))


def _is_line_end(token_id: int, tokenizer: TextTokenizer) -> bool:
    """Whether a token has line ends, and beside them only blanks."""
    text = tokenizer.decode([token_id])
    return "\n" in text and not text.strip()
