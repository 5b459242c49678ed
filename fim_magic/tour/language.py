"""Which language the tour speaks: that of the page, else that of the system."""

from __future__ import annotations

import locale
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

Language = Literal["en", "zh-TW"]

LANGUAGES: tuple[Language, ...] = ("en", "zh-TW")

# As browsers, JupyterLab and POSIX write it, and as Windows does: zh-TW, zh_TW.UTF-8, zh-Hant-HK, Chinese_Taiwan.
_TRADITIONAL = re.compile(r"(?:zh|chinese)\b.*\b(?:hant|traditional|tw|taiwan|hk|hong kong|mo|macao|macau)\b")


def typed_language(word: str) -> Language | None:
    """Return the language that a user has typed, in any spelling of its name; None where it is none of the tour's."""
    return next((each for each in LANGUAGES if each.lower() == word.lower().replace("_", "-")), None)


def language_for(of_page: Iterable[str], environment: Mapping[str, str] = os.environ) -> Language:
    """Return the language of a tour.

    Args:
        of_page: What the page says of its own language and of the browser's; nothing where there is no page.
        environment: The system's variables, for where there is none.
    """
    names = list(of_page) or list(_of_system(environment))
    return "zh-TW" if any(map(_is_traditional_chinese, names)) else "en"


def _is_traditional_chinese(name: str) -> bool:
    return _TRADITIONAL.match(re.sub(r"[-_.()]+", " ", name.lower())) is not None


def _of_system(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield the name of the language that programs speak here, as gettext finds it."""
    named = next(filter(None, map(environment.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), None)
    preferred = environment.get("LANGUAGE", "").partition(":")[0]
    if preferred and named not in ("C", "POSIX"):
        yield preferred
    elif named:
        yield named
    else:  # Windows has no such variables
        try:
            yield locale.getlocale()[0] or ""
        except ValueError:  # one that Python does not know
            return
