"""How much longer a tokenizer makes a text before it looks for its pieces: by its file, before it sees a text.

Each step of a tokenizer.json may write more than it reads, and the steps come one after another: twenty that write a
letter twice make a million of each, and fifty that write bytes as characters take all memory there is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tokenizers import Tokenizer

MOST_GROWTH = 500
"""Times the bytes of a text. The vendors' tokenizers come to 50 at most: what Unicode composes, and a space as `▁`."""
MOST_STEPS = 100

_BY_ITSELF = {
    **dict.fromkeys(("NFC", "NFD", "NFKC", "NFKD", "Precompiled"), 12.0),  # U+FDFA has three bytes, and then 33
    **dict.fromkeys(("Lowercase", "BertNormalizer", "StripAccents", "Nmt", "Strip"), 3.0),
}
"""Steps that change nothing more where they come again."""
_EACH_TIME = {"ByteLevel": 2.0, "Metaspace": 5.0}


def require_bounded(backend: Tokenizer) -> None:
    """Refuse a tokenizer that may make a text longer than `MOST_GROWTH` times, or that has too many steps.

    Raises:
        ValueError: It is one.
    """
    steps = [step for part in (backend.normalizer, backend.pre_tokenizer) for step in _steps(_written(part))]
    if len(steps) > MOST_STEPS:
        raise ValueError(f"it changes a text in {len(steps)} steps, and {MOST_STEPS} are the most that are taken")
    growth = 1.0
    for kind in {str(step.get("type")) for step in steps} & _BY_ITSELF.keys():
        growth *= _BY_ITSELF[kind]
    for step in steps:
        growth *= _growth_of(step)
    if growth > MOST_GROWTH:
        raise ValueError(f"its {len(steps)} steps may make a text {growth:.3g} times as long")


def _written(part: Any) -> Any:
    return {} if part is None else json.loads(part.__getstate__())


def _steps(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if part.get("type") != "Sequence":
        yield part
        return
    for inner in part.get("normalizers") or part.get("pretokenizers") or ():
        yield from _steps(inner)


def _growth_of(step: Mapping[str, Any]) -> float:
    if step.get("type") == "Prepend":  # once in a text, which may have one character
        return 1.0 + len(step["prepend"].encode())
    if step.get("type") != "Replace":
        return _EACH_TIME.get(str(step.get("type")), 1.0)
    written, pattern = len(step["content"].encode()), step["pattern"].get("String", "")
    return max(1.0, written / len(pattern.encode())) if pattern else 1.0 + written  # a Regex may match nothing
