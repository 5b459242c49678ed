"""Which family a checkpoint belongs to, found from what it is and not from what it is called.

A row of the table fits a checkpoint whose architecture it names and whose tokenizer has its sentinels. Where two
families share both, a mark in the vocabulary or the configuration tells them apart, or the catalogue, or the user.
Where nothing does, the checkpoint completes left to right: a wrong prompt gives noise that looks like an answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from fim_magic.errors import ModelError
from fim_magic.formats.families import FAMILIES
from fim_magic.formats.family import Family
from fim_magic.tokenization import TextTokenizer

_LONGEST_NAME = 80  # characters of what a checkpoint calls its architecture


def family_of(config: Mapping[str, Any], tokenizer: TextTokenizer, ends: Sequence[str] = (), named: str = "") -> Family:
    """Return the family of a checkpoint, or one that only completes.

    Args:
        config: The checkpoint's config.json.
        tokenizer: The checkpoint's own.
        ends: The tokens that end a text by the checkpoint's own account. They end answers of every family.
        named: The family's name, where the catalogue or the user states it.

    Raises:
        ModelError: There is no family called `named`.
    """
    found = _named(named, config, tokenizer) if named else _recognised(config, tokenizer)
    family = found if found is not None else _unknown(config, tokenizer)
    return dataclasses.replace(family, stop=tuple(dict.fromkeys((*family.stop, *ends))))


def family_names() -> list[str]:
    """The names that a user can state, in the table's order."""
    return list(dict.fromkeys(family.name for family in FAMILIES))


def _recognised(config: Mapping[str, Any], tokenizer: TextTokenizer) -> Family | None:
    return next((row for row in FAMILIES if not row.by_name and _fits(row, config, tokenizer)), None)


def _fits(row: Family, config: Mapping[str, Any], tokenizer: TextTokenizer) -> bool:
    return (
        config.get("model_type") in row.model_types
        and _has(tokenizer, row.sentinels())
        and all(config.get(key) == value for key, value in row.config.items())
    )


def _has(tokenizer: TextTokenizer, tokens: Sequence[str]) -> bool:
    return all(tokenizer.sentinel(token) is not None for token in tokens)


def _named(name: str, config: Mapping[str, Any], tokenizer: TextTokenizer) -> Family | None:
    """The row that the catalogue or the user names. It has to fit by its sentinels, not by its architecture."""
    rows = [row for row in FAMILIES if row.name.lower() == name.lower()]
    if not rows:
        # The catalogue has models of architectures that need no row of their own.
        if name.lower() == str(config.get("model_type", "")).lower():
            return None
        raise ModelError(f"There is no family called {name!r}. It is one of {', '.join(family_names())}.")
    row = next((row for row in rows if config.get("model_type") in row.model_types), rows[0])
    if _has(tokenizer, row.sentinels()):
        return row
    missing = [token for token in row.sentinels() if tokenizer.sentinel(token) is None]
    return dataclasses.replace(
        row,
        psm=None,
        spm=None,
        complete=Family.complete,
        why_not=f"this checkpoint of {row.name} has no {missing[0]} in its vocabulary, so it was not trained to infill",
    )


def _unknown(config: Mapping[str, Any], tokenizer: TextTokenizer) -> Family:
    model_type = str(config.get("model_type", "unknown"))[:_LONGEST_NAME]
    infilling = [row for row in FAMILIES if row.can_infill and _has(tokenizer, row.sentinels())]
    names = list(dict.fromkeys(row.name for row in infilling))
    if not names:
        why_not = "its vocabulary has no fill-in-the-middle tokens"
    elif len(names) == 1:
        why_not = (
            f"it has the tokens of {names[0]} in another architecture ({model_type}), so how it was trained is not "
            f"known. If you know that it is the same, say so: --family {_quoted(names[0])}"
        )
    else:
        why_not = (
            f"it has the tokens of {', '.join(names)}, which were trained in different orders, and nothing in it tells "
            f"which one is right. If you know, say so: --family {_quoted(names[-1])}"
        )
    return Family(
        name=model_type,
        model_types=(model_type,),
        stop=("<|endoftext|>", "<|im_end|>", "</s>"),
        bos=None,
        source="no row: left to right only",
        why_not=why_not,
    )


def _quoted(name: str) -> str:
    return f'"{name}"' if " " in name else name
