"""What Chinese prose on a page must not have."""

from __future__ import annotations

import re

_HALF_WIDTH = re.compile(r"[\u4e00-\u9fff] ?[,;:?!()]|[,;:?!(] ?[\u4e00-\u9fff]")
_BROKEN = re.compile(r"[\u3001-\u9fff\uff01-\uffef]\n(?![-\n])")


def faults(prose: str) -> list[str]:
    """Return half-width punctuation, and line breaks within a paragraph: a page shows these as spaces."""
    return [*_HALF_WIDTH.findall(prose), *_BROKEN.findall(prose)]
