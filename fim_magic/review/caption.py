"""What stands below the diff of a candidate: one short line, and all there is to know as labels and texts.

HTML, plain text and a terminal draw the same facts. What is returned has its control characters by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from fim_magic.candidate import Candidate, Ending, Result
from fim_magic.columns import columns_of, shortened
from fim_magic.progress import Progress
from fim_magic.review.checks import NOT_CONFINED, failures, passes, unconfined, unknowns
from fim_magic.review.text import counted
from fim_magic.visible import plain_text

COLUMNS = 80
"""The most columns of the line below a diff."""

Fact = tuple[str, str]
"""A label, and the text that belongs to it."""

Which = tuple[int, int]
"""A candidate's number, from 1, and how many there are."""

_BETWEEN = " · "
_LEAST_NAME = 8  # columns of a model's name
_LEAST_NEWS = 18  # columns of what a check has found, or of a note
_MOST_HOST = 28  # columns
_REVISION_LENGTH = 10
_SHORTENED = "prompt shortened"
_UNFINISHED = {
    Ending.INTERRUPTED: "partial: interrupted",
    Ending.BROKEN_OFF: "partial: broke off",
    Ending.LENGTH: "cut at the token limit",
}
_WHOLE = (_SHORTENED, *_UNFINISHED.values())  # or not at all


def line(
    result: Result,
    candidate: Candidate | None = None,
    notes: Sequence[str] = (),
    *,
    which: Which | None = None,
    whole: bool = False,
) -> str:
    """Say in one line of at most `COLUMNS` columns what matters of a candidate: model, time, and the worst news first.

    Args:
        result: The finished request.
        candidate: Which of its candidates; the first if None.
        notes: More to say about this candidate.
        which: Its number and how many there are, where they come from several requests.
        whole: Leave nothing out, however long the line becomes.
    """
    candidate = candidate or result.candidates[0]
    number, count = which or _place(result, candidate)
    fixed = [f"{number} of {count}"] if count > 1 else []
    fixed.append(f"{result.seconds:.1f} s")
    fixed += [f"checks {NOT_CONFINED}"] if unconfined(candidate.checks) else []
    news = [*_news(result, candidate, whole=whole), *notes]
    passed = passes(candidate.checks)
    if passed and (whole or not failures(candidate.checks)):
        news.append(passed)
    name, host = (result.model, "") if result.server is None else (result.server.model, result.server.host)
    if whole:
        return plain_text(_BETWEEN.join([name + (f" on {host}" if host else ""), *fixed, *news]))
    return _fitted(name, fixed, news, host)


def progress_line(model: str, tokens: int, seconds: float, holes: int = 1) -> str:
    """Say in one such line how far a request has come."""
    filled = "the hole" if holes == 1 else counted(holes, "hole")
    return _fitted(model, [f"filling {filled}… {counted(tokens, 'token')}, {seconds:.1f} s"], ())


def waiting_line(model: str, pause: Progress) -> str:
    """Say in one such line what a request waits for, and for how many seconds more."""
    return _fitted(model, [f"{pause.what}, {pause.total - pause.done} s"], ())


def stopped_line(model: str, reason: str) -> str:
    """Say in one such line why there is no answer."""
    return _fitted(model, (), [reason])


def about(candidate: Candidate) -> str:
    """Say in words what tells a candidate from the others: for a label that is read aloud, or shown for a moment."""
    parts = [*failures(candidate.checks), *unknowns(candidate.checks), passes(candidate.checks), _ending(candidate)]
    parts += [f"checks {NOT_CONFINED}"] if unconfined(candidate.checks) else []
    return "; ".join(filter(None, [*parts, _agreement(candidate), plain_text(candidate.reason)]))


def title_of_other(candidate: Candidate, notes: Sequence[str], which: Which) -> str:
    """Say above the folded diff of a candidate that is not shown what it is."""
    number, count = which
    parts = (f"Candidate {number} of {count}", counted(len(candidate.token_ids), "token"), about(candidate), *notes)
    return plain_text(_BETWEEN.join(parts))


def facts(
    result: Result, candidate: Candidate | None = None, notes: Sequence[str] = (), *, which: Which | None = None
) -> tuple[Fact, ...]:
    """Return all there is to say of how a candidate came about. Arguments as of [`line`][].

    Its checks, what was trimmed from it and how sure the model was of each token are drawn by `details`.
    """
    candidate = candidate or result.candidates[0]
    number, count = which or _place(result, candidate)
    revision = f" ({result.revision[:_REVISION_LENGTH]})" if result.revision else ""
    pairs = (
        ("Model", result.model + revision),
        ("Runs on", result.runs_on),
        ("Server", "" if result.server is None else f"{result.server.model}, run by {result.server.describe()}"),
        ("Candidate", f"{number} of {count}" if count > 1 else ""),
        ("Why there", candidate.reason if count > 1 else ""),
        ("Answers", _agreement(candidate)),
        ("Adds", "; ".join(candidate.imports)),
        ("Note", "; ".join(notes)),
        ("Holes", f"{result.document.holes}" if result.document.holes > 1 else ""),
        ("Length", _length(result, candidate)),
        ("Ending", candidate.describe_ending()),
        ("Server", result.broken_off),
        ("Log-probability", _logprobs(candidate)),
        ("Order", _order(result)),
        ("Context", result.context),
        ("Left out", "; ".join(result.left_out)),
        ("Prompt", _prompt(result)),
    )
    return tuple((label, plain_text(text)) for label, text in pairs if text)


def _place(result: Result, candidate: Candidate) -> Which:
    return [other is candidate for other in result.candidates].index(True) + 1, len(result.candidates)


def _news(result: Result, candidate: Candidate, *, whole: bool) -> Iterator[str]:
    """Yield what the user should know before anything is accepted, the worst first."""
    failed = failures(candidate.checks)
    if candidate.ending is Ending.BROKEN_OFF:  # why it fails, if it does
        yield _UNFINISHED[candidate.ending]
    if whole:
        yield from failed
    elif failed:
        yield failed[0] + (f", and {len(failed) - 1} more" if len(failed) > 1 else "")
    if candidate.ending in _UNFINISHED and candidate.ending is not Ending.BROKEN_OFF:
        yield _UNFINISHED[candidate.ending]
    dropped = result.dropped_prefix_tokens + result.dropped_suffix_tokens
    if dropped:
        yield _SHORTENED if result.max_prompt_tokens is None else f"{_SHORTENED} by {counted(dropped, 'token')}"
    yield from unknowns(candidate.checks)


def _fitted(model: str, fixed: Sequence[str], news: Sequence[str], host: str = "") -> str:
    """Join the parts; where they take too many columns, clip the model's name, then long news, then drop the last.

    The host that it runs on stays, where it is a server.
    """
    name, news = plain_text(model), list(map(plain_text, news))
    where = f" on {shortened(plain_text(host), _MOST_HOST)}" if host else ""
    room = COLUMNS - _width(fixed) - columns_of(where)
    least = min(columns_of(name), _LEAST_NAME)
    for kept in range(len(news), -1, -1):
        shown = _squeezed(news[:kept], room - least)
        if _width(shown) <= room - least:
            break
    return _BETWEEN.join([_clipped_name(name, room - _width(shown)) + where, *fixed, *shown])


def _squeezed(news: Sequence[str], room: int) -> list[str]:
    """Shorten what may be shortened and is long, the longest first, until all have room or nothing is long."""
    shown = list(news)
    while (over := _width(shown) - room) > 0:
        long = [
            index for index, part in enumerate(shown) if not part.startswith(_WHOLE) and columns_of(part) > _LEAST_NEWS
        ]
        if not long:
            break
        longest = max(long, key=lambda index: columns_of(shown[index]))
        shorter = shortened(shown[longest], max(columns_of(shown[longest]) - over, _LEAST_NEWS))
        if shorter == shown[longest]:
            break
        shown[longest] = shorter
    return shown


def _width(parts: Sequence[str]) -> int:
    return sum(columns_of(_BETWEEN + part) for part in parts)


def _clipped_name(name: str, room: int) -> str:
    """Shorten a model's name; of a path, its end tells more than its folders."""
    if columns_of(name) <= room:
        return name
    return shortened(re.split(r"[/\\]", name.rstrip("/\\"))[-1], room)


def _agreement(candidate: Candidate) -> str:
    return f"{candidate.same:,} answers say the same" if candidate.same > 1 else ""


def _ending(candidate: Candidate) -> str:
    mean = candidate.mean_logprob
    return candidate.describe_ending() + ("" if mean is None else f", mean log-probability {mean:.2f}")


def _length(result: Result, candidate: Candidate) -> str:
    length = f"{counted(len(candidate.token_ids), 'token')} in {result.seconds:.1f} s"
    rate = result.tokens_per_second
    together = "" if len(result.candidates) == 1 else " over all"
    return f"{length} ({rate:.1f} tokens/s{together})" if rate else length


def _logprobs(candidate: Candidate) -> str:
    means = (
        ("mean of its tokens", candidate.mean_logprob),
        ("mean as read from left to right", candidate.read_logprob),
        ("what follows, in all", candidate.suffix_logprob),
    )
    return ", ".join(f"{what} {logprob:.2f}" for what, logprob in means if logprob is not None)


def _order(result: Result) -> str:
    if result.method == "rank":
        return "left to right, ranked by how probable it makes what follows"
    if not result.order:
        return "left to right"
    return result.order.upper() + (f" ({result.order_reason})" if result.order_reason else "")


def _prompt(result: Result) -> str:
    length = counted(result.prompt_tokens, "token")
    left_out = ((result.dropped_prefix_tokens, "start"), (result.dropped_suffix_tokens, "end"))
    dropped = [f"{count:,} at its {where}" for count, where in left_out if count]
    if not dropped:
        return length
    limit = "to fit" if result.max_prompt_tokens is None else f"to {result.prompt_limit}"
    more = "" if result.max_prompt_tokens is None else "; --max-prompt-tokens N asks for more"
    return f"{length}, shortened {limit}: tokens left out: {', '.join(dropped)}{more}"
