"""How long a server asks to wait, by the `Retry-After` of its answer: in seconds, or until a date."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

_LONGEST = 86_400.0  # seconds: who asks for more may as well not be waited for


def wanted_seconds(headers: Mapping[str, str]) -> float | None:
    """Return for how many seconds a server asks not to be asked; None where it does not say it, or not so."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        return float(min(int(text[:9]), _LONGEST))
    try:
        then = parsedate_to_datetime(text)
        then = then.replace(tzinfo=then.tzinfo or timezone.utc)
        return min(max((then - datetime.now(timezone.utc)).total_seconds(), 0.0), _LONGEST)
    except (ValueError, TypeError, OverflowError):  # none, or no date
        return None
