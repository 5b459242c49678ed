"""What came of a candidate's checks, in words: in a few for the line below the diff, one by one for its details.

Each check has a sign, for those who look, and a word, for those who hear it read or see no difference between signs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from fim_magic.candidate import Candidate, Check
from fim_magic.review.text import counted, html_text
from fim_magic.visible import plain_text

_VERDICTS = {True: ("✓", "passed"), False: ("✗", "failed"), None: ("?", "not known")}
_PASSED = {"parses": "parses", "names": "names known", "doctests": "doctests pass"}
_REQUESTED = {"doctests": "doctests", "test": "your test"}
"""Checks that the user has asked for, in words; any other name is an expression: "your check"."""

_IN_OWN_WORDS = frozenset({"columns", "original"})
"""Checks whose detail is a sentence of its own."""

NOT_CONFINED = "not confined"
"""What stands beside checks that ran where the system could not hold them."""

_LINE = re.compile(r"\bline (\d+)")
_UNDEFINED = "undefined: "
_COUNTED = re.compile(r"\d+ of \d+ doctests")


def has_failed(candidate: Candidate) -> bool:
    """Whether a check says that the candidate is not as it should be."""
    return any(check.passed is False for check in candidate.checks)


def failures(checks: Sequence[Check]) -> list[str]:
    """Say in words what failed: `does not parse: line 3`, `your check failed: mean([1]) == 1`."""
    return [_failure(check) for check in checks if check.passed is False]


def unknowns(checks: Sequence[Check]) -> list[str]:
    """Say in words what could not be found out, and why."""
    return [_unknown(check) for check in checks if check.passed is None]


def unconfined(checks: Sequence[Check]) -> bool:
    """Whether something was run that the system did not confine."""
    return not all(check.confined for check in checks)


def passes(checks: Sequence[Check]) -> str:
    """Say in words what passed: `parses, names known`; "" where nothing did."""
    passed = [check.name for check in checks if check.passed]
    known = [_passed(check) for check in checks if check.passed and check.name in _PASSED]
    own = len(passed) - len(known)
    requested = "your check passes" if own == 1 else f"your {counted(own, 'check')} pass"
    remarks = dict.fromkeys(check.detail for check in checks if check.passed and check.name not in _PASSED)
    remark = plain_text("; ".join(text for text in remarks if text not in ("", _VERDICTS[True][1])))
    return ", ".join([*known, *([_with_reason(requested, remark)] if own else [])])


def verdicts(checks: Sequence[Check]) -> Iterator[str]:
    """Yield what came of each check, whole, with the verdict before it."""
    for check in checks:
        yield f"{_VERDICTS[check.passed][1]}: {_what(check)}"


def score(checks: Sequence[Check]) -> str:
    """Say how many checks passed."""
    passed = f"{sum(check.passed is True for check in checks)} of {len(checks)} passed"
    return f"{passed}, {NOT_CONFINED}" if unconfined(checks) else passed


def list_html(checks: Sequence[Check]) -> str:
    """Draw all checks as a list; "" where there are none."""
    items = "".join(f'<li class="fim-check">{_item(check)}</li>' for check in checks)
    return f'<ul class="fim-list">{items}</ul>' if items else ""


def tally(passed: Sequence[bool | None], *, confined: bool = True) -> str:
    """Say in a table's column how many checks passed; "" where there were none."""
    beside = "" if confined else f" {NOT_CONFINED}"
    return f"{passed.count(True)}/{len(passed)}{beside}" if passed else ""


def _passed(check: Check) -> str:
    adds = check.name == "names" and check.detail
    return plain_text(check.detail) if adds else _PASSED[check.name]


def _failure(check: Check) -> str:
    name, detail = plain_text(check.name), plain_text(check.detail)
    if name == "parses":
        lines = _LINE.findall(detail)
        return _with_reason("does not parse", f"line {lines[-1]}" if lines else detail)
    if name == "names":
        return _undefined(check)
    if name in _IN_OWN_WORDS:
        return detail
    if name == "doctests" and _COUNTED.match(detail):
        return f"passes {detail}"
    requested = _REQUESTED.get(name)
    return _with_reason(f"{requested} failed", detail) if requested else f"your check failed: {name}"


def _undefined(check: Check) -> str:
    detail = plain_text(check.detail)
    if not (check.names or detail.startswith(_UNDEFINED)):
        return detail or "names are not known"
    names = plain_text(", ".join(check.names)) or detail.removeprefix(_UNDEFINED).partition(";")[0]
    return f"{names} {'are' if ',' in names else 'is'} not defined"


def _unknown(check: Check) -> str:
    name, detail = plain_text(check.name), plain_text(check.detail)
    if name == "names":
        return detail or "names are not looked up"
    if name in _IN_OWN_WORDS:
        return detail
    if name == "parses":
        return _with_reason("not checked", detail)
    return _with_reason(f"{_REQUESTED.get(name, 'your check')} not known", detail)


def _with_reason(what: str, why: str) -> str:
    return f"{what}: {why}" if why else what


def _what(check: Check) -> str:
    """Say what was looked at and what was found, without the verdict."""
    name, detail = plain_text(check.name), plain_text(check.detail)
    found = [] if detail in ("", _VERDICTS[check.passed][1]) else [detail]
    found += [] if check.confined else [NOT_CONFINED]
    return f"{name} ({'; '.join(found)})" if found else name


def _item(check: Check) -> str:
    sign, verdict = _VERDICTS[check.passed]
    return f'<span aria-hidden="true">{sign} </span><b>{verdict}</b>: {html_text(_what(check))}'
