"""What was found out about a candidate, in words: its checks, answers that say the same, why it stands where it does.

Each check has a sign, for those who look, and a word, for those who hear it read or see no difference between signs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from fim_magic.candidate import Candidate, Check
from fim_magic.review.text import clipped, columns_of, html_text, plain_text

_VERDICTS = {True: ("✓", "passed"), False: ("✗", "failed"), None: ("?", "not known")}
_MOST_TOLD = 2  # failed checks in a caption; all are below the diff
_MOST_COLUMNS = 80  # of each of them


def findings(candidate: Candidate) -> Iterator[str]:
    """Yield what is known of a candidate beside its text, for a caption or a label: a few words where all is well."""
    if candidate.checks:
        yield "; ".join([f"checks: {_score(candidate.checks)}", *_worries(candidate.checks)])
    if candidate.same > 1:
        yield f"{candidate.same:,} answers say the same"
    if candidate.reason:
        yield plain_text(candidate.reason)


def has_failed(candidate: Candidate) -> bool:
    """Whether a check says that the candidate is not as it should be."""
    return any(check.passed is False for check in candidate.checks)


def list_html(checks: Sequence[Check]) -> str:
    """Draw all checks as a list that can be unfolded; "" where there are none."""
    if not checks:
        return ""
    items = "".join(f'<li class="fim-check">{_item(check)}</li>' for check in checks)
    return (
        f'<details class="fim-other fim-checks"><summary><small>Checks: {_score(checks)} passed</small></summary>'
        f'<ul class="fim-list">{items}</ul></details>'
    )


def tally(passed: Sequence[bool | None]) -> str:
    """Say in a table's column how many checks passed; "" where there were none."""
    return f"{passed.count(True)}/{len(passed)}" if passed else ""


def _score(checks: Sequence[Check]) -> str:
    return f"{sum(check.passed is True for check in checks)} of {len(checks)}"


def _worries(checks: Sequence[Check]) -> Iterator[str]:
    """Yield the first checks that have not passed, those that failed before those of which nothing is known."""
    worst = sorted((check for check in checks if check.passed is not True), key=lambda check: check.passed is None)
    for check in islice(worst, _MOST_TOLD):
        sign, verdict = _VERDICTS[check.passed]
        yield _shortened(f"{sign} {verdict}: {_what(check)}")
    if len(worst) > _MOST_TOLD:
        yield f"and {len(worst) - _MOST_TOLD} more"


def _what(check: Check) -> str:
    """Say what was looked at and what was found, without the verdict."""
    name, said = plain_text(check.name), plain_text(check.said)
    return name if said in ("", _VERDICTS[check.passed][1]) else f"{name} ({said})"


def _item(check: Check) -> str:
    sign, verdict = _VERDICTS[check.passed]
    return f'<span aria-hidden="true">{sign} </span><b>{verdict}</b>: {html_text(_what(check))}'


def _shortened(text: str) -> str:
    return text if columns_of(text) <= _MOST_COLUMNS else clipped(text, _MOST_COLUMNS - 1) + "…"
