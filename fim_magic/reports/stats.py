"""What `%fim log --stats` prints: how many answers of each model were taken, over the sessions on this machine."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from fim_magic.columns import both_ends, table
from fim_magic.errors import FimError, OptionError
from fim_magic.outcomes import FATES, TALLY, Counts, stats_file
from fim_magic.visible import plain_text

_STATS, _FORGET = "--stats", "--forget"
_HEADINGS = ("model", "kind", "offered", "accepted", "in part", "rejected", "undecided")
_RIGHT = frozenset(_HEADINGS[2:])
_MODEL = 40  # columns
_WHAT = "counts by day, model, kind of request and front end, and nothing of your text"


def stats(words: Sequence[str], *, is_on: bool) -> str:
    """Do what stands behind `%fim log`: print the counts, or delete them.

    Args:
        words: "--stats", and "--forget" if they are to be deleted.
        is_on: Whether answers are counted now.

    Raises:
        OptionError: There are other words.
        FimError: The counts cannot be read or deleted.
    """
    if _STATS not in words or not set(words) <= {_STATS, _FORGET}:
        raise OptionError(
            f"%fim log takes the number of a request, --stats, or --stats --forget; {' '.join(words)!r} is neither."
        )
    try:
        if _FORGET in words:
            return _forgotten(is_on=is_on)
        return "\n".join(map(plain_text, _lines(TALLY.read(), is_on=is_on)))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FimError(
            f"The counts in {stats_file()} cannot be read or deleted ({reason}). Delete that file yourself, or set the "
            "environment variable FIM_MAGIC_CACHE to a folder of your own."
        ) from error


def _forgotten(*, is_on: bool) -> str:
    deleted = "The counts are deleted." if TALLY.forget() else "There were no counts to delete."
    return f"{deleted} Answers are still counted; %config FimMagics.stats = False ends that." if is_on else deleted


def _lines(counts: Counts, *, is_on: bool) -> Iterator[str]:
    rows = list(_rows(counts))
    if rows:
        yield from table([_HEADINGS, *rows], _RIGHT).split("\n")
        first = min(subject.day for subject in counts)
        yield f"Since {first}, in all sessions here. They are kept in a file that you can read:"
        yield str(stats_file())
        yield f"It holds {_WHAT}; %fim log --stats --forget deletes it."
    if is_on and not rows:
        yield f"No answer has been counted yet. {stats_file()} will hold {_WHAT}."
    if is_on:
        yield "%config FimMagics.stats = False ends the counting."
    else:
        yield (
            "Answers are not counted. %config FimMagics.stats = True, or the environment variable FIM_MAGIC_STATS=1, "
            f"has it counted on this machine how many you take. One file holds {_WHAT}."
        )
    if TALLY.failure:
        yield f"What is counted cannot be written ({TALLY.failure}), and is lost when this process ends."


def _rows(counts: Counts) -> Iterator[tuple[str, ...]]:
    """Yield a line for each model and kind of request, by name."""
    totals: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for subject, counted in counts.items():
        totals[subject.model, subject.kind].update(counted)
    for (model, kind), total in sorted(totals.items()):
        if total["offered"] <= 0:  # deleted while its buttons were still there
            continue
        fates = [max(total[fate], 0) for fate in FATES]
        undecided = max(total["offered"] - sum(fates), 0)
        yield (both_ends(plain_text(model), _MODEL), plain_text(kind), *map(str, (total["offered"], *fates, undecided)))
